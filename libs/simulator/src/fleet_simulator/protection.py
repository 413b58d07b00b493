"""Price protection and reservation: what an order may cost at most, and where it stops. Decimals, for the edges."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from fleet_simulator.fees import EXACT, fee
from fleet_simulator.orders import OrderType, Side

_FLOOR = Context(prec=80, rounding=ROUND_FLOOR)
_CEILING = Context(prec=80, rounding=ROUND_CEILING)


def protection_price(side: Side, reference: Decimal, factor: Decimal, tick: Decimal) -> Decimal:
    """The worst price at which an order without limit may fill; `reference` is protection_reference's.

    A buy's is reference x factor, rounded down to the tick; a sell's reference x (2 - factor), rounded up: with 1.05
    five percent either way, and never further for the rounding. It is at least one tick.
    """
    if reference <= 0 or tick <= 0:
        raise ValueError(f"reference and tick are above 0, was {reference} and {tick}")
    if factor < 1:
        raise ValueError(f"a protection factor is at least 1, was {factor}")
    if side is Side.BUY:
        ticks = _FLOOR.divide(EXACT.multiply(reference, factor), tick).to_integral_value(ROUND_FLOOR)
    else:
        ticks = _CEILING.divide(EXACT.multiply(reference, 2 - factor), tick).to_integral_value(ROUND_CEILING)
    return EXACT.multiply(max(ticks, Decimal(1)), tick)


def is_protected(side: Side, type: OrderType) -> bool:  # noqa: A002  the field's name everywhere
    """Whether an order has a protection price: one without limit, but for a stop that sells.

    That one gets out of a position, wherever the market has gone, and nothing is reserved by its price.
    """
    return not type.has_limit and not (side is Side.SELL and type.is_stop)


def protection_reference(
    side: Side,
    type: OrderType,  # noqa: A002  the field's name everywhere
    market_price: Decimal | None,
    *,
    stop_price: Decimal | None = None,
    trail_amount: Decimal | None = None,
    trail_percent: Decimal | None = None,
) -> Decimal | None:
    """What the protection price of an order is measured from; None: it has a limit, or nothing to be measured from.

    `market_price` of a market order, the stop price of one that waits for it. A trailing stop's is where it stands as
    it is accepted: a buy's never rises from there and a sell's never falls.
    """
    if type.has_limit:
        return None
    if type is not OrderType.TRAILING_STOP:
        return stop_price if type.is_triggered else market_price
    if market_price is None:
        return None
    percent = EXACT.multiply(market_price, (trail_percent or Decimal(0)).scaleb(-2))
    trail = percent if trail_amount is None else trail_amount
    stop = EXACT.add(market_price, trail) if side is Side.BUY else EXACT.subtract(market_price, trail)
    return stop if stop > 0 else None


def selling_price(
    type: OrderType,  # noqa: A002  the field's name everywhere
    market_price: Decimal | None,
    *,
    limit_price: Decimal | None,
    stop_price: Decimal | None,
) -> Decimal | None:
    """What a sell is measured by where its worth is bounded: about what it brings; None if no price is known.

    One that is limited far below the market is one at the market. Only a stop sells when the market has fallen to it,
    which is the less."""
    waits_below = type.is_stop and stop_price is not None
    known = (limit_price, stop_price, None if waits_below else market_price)
    return max((price for price in known if price is not None), default=None)


def reservation(
    side: Side,
    type: OrderType,  # noqa: A002  the field's name everywhere
    quantity: Decimal,
    *,
    limit_price: Decimal | None,
    protection_price: Decimal | None,
    fee_rate: Decimal,
    filled_notional: Decimal = Decimal(0),
) -> Decimal:
    """What an open order still needs: of the quote currency for a buy, of the base currency for a sell.

    `quantity` is what is still open, `filled_notional` what its fills have cost so far, `fee_rate` the highest that
    may apply. A buy: quantity x worst price + the fee that is still to come, the worst price being the limit, or the
    protection price of an order without one. A sell: the quantity; its fee is taken from the proceeds.
    Nothing open reserves nothing.
    """
    if side is Side.SELL or not quantity:
        return quantity
    worst = limit_price if type.has_limit else protection_price
    if worst is None:
        raise ValueError(f"a {type} buy reserves at its {'limit' if type.has_limit else 'protection'} price")
    notional = EXACT.multiply(quantity, worst)
    fee_at_most = fee(EXACT.add(filled_notional, notional), fee_rate)
    return EXACT.add(notional, EXACT.subtract(fee_at_most, fee(filled_notional, fee_rate)))
