"""Fills of an order: what they come to, and those that stand in for what its venue cannot name any more. Pure."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Context, Decimal

from .values import Filled, Totals

EXACT = Context(prec=100)
"""Wide enough that sums and products of prices and quantities are never rounded."""


def totals(fills: Iterable[Filled]) -> Totals:
    """What they come to."""
    known = tuple(fills)
    return Totals(
        sum((fill.last_quantity for fill in known), Decimal(0)),
        sum((EXACT.multiply(fill.last_quantity, fill.last_price) for fill in known), Decimal(0)),
        sum((fill.fee for fill in known), Decimal(0)),
    )


SYNTHETIC = "synthetic:"
"""How the trade ids begin of fills that we had to make up; no venue's do."""


def stand_ins(
    symbol: str, side: str, fills: tuple[Filled, ...], venue: Totals, *, market_at: datetime, now: datetime
) -> tuple[Filled, ...]:
    """Fills for what the venue counts and cannot name any more: one for each gap in the quantity, at one price.

    With them quantity, average price and P&L are the venue's to the last digit: the price is rounded to 12 decimals, and
    what that leaves is in the last one's fee. Their names say which part of the order they are, so that they are the same
    whenever they are made."""
    known = totals(fills)
    quantity = venue.quantity - known.quantity
    gaps = _gaps(fills, venue.quantity)
    if quantity <= 0 or sum(upto - start for start, upto in gaps) != quantity:
        return ()
    notional, fees = venue.notional - known.notional, venue.fees - known.fees
    price = EXACT.divide(notional, quantity).quantize(Decimal(1).scaleb(-12), context=EXACT).normalize(EXACT)
    rounded_off = EXACT.subtract(notional, EXACT.multiply(price, quantity))
    fee = EXACT.add(fees, rounded_off if side == "buy" else rounded_off.copy_negate())
    return tuple(
        Filled(
            market_at,
            f"{SYNTHETIC}{start:f}-{upto:f}",
            upto - start,
            price,
            upto,
            fee if n == len(gaps) else Decimal(0),
            venue.fee_currency or (fills[-1].fee_currency if fills else symbol.partition("/")[2]),
            "taker",
            now,
        )
        for n, (start, upto) in enumerate(gaps, start=1)
    )


def _gaps(fills: tuple[Filled, ...], upto: Decimal) -> list[tuple[Decimal, Decimal]]:
    """The parts of the order up to this quantity that no fill covers."""
    found: list[tuple[Decimal, Decimal]] = []
    reached = Decimal(0)
    for fill in sorted(fills, key=lambda fill: fill.cumulative_quantity):
        start = fill.cumulative_quantity - fill.last_quantity
        if start > reached:
            found.append((reached, start))
        reached = max(reached, fill.cumulative_quantity)
    if upto > reached:
        found.append((reached, upto))
    return found
