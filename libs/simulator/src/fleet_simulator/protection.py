"""Price protection and reservation: what an order may cost at most, and where it stops. Decimals, for the edges."""

from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal

from fleet_simulator.fees import EXACT, fee
from fleet_simulator.orders import OrderType, Side

_FLOOR = Context(prec=80, rounding=ROUND_FLOOR)
_CEILING = Context(prec=80, rounding=ROUND_CEILING)


def protection_price(side: Side, reference: Decimal, factor: Decimal, tick: Decimal) -> Decimal:
    """The worst price at which a market order may fill.

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
    may apply. A buy: quantity x worst price + the fee that is still to come, the worst price being the limit, or a
    market order's protection price. A sell: the quantity; its fee is taken from the proceeds.
    Nothing open reserves nothing.
    """
    if side is Side.SELL or not quantity:
        return quantity
    worst = limit_price if type is OrderType.LIMIT else protection_price
    if worst is None:
        raise ValueError(f"a {type} buy reserves at its {'limit' if type is OrderType.LIMIT else 'protection'} price")
    notional = EXACT.multiply(quantity, worst)
    fee_at_most = fee(EXACT.add(filled_notional, notional), fee_rate)
    return EXACT.add(notional, EXACT.subtract(fee_at_most, fee(filled_notional, fee_rate)))
