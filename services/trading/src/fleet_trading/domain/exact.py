"""Quotients of money, to more decimals than any currency has; sums and products are fleet_simulator.fees.EXACT's."""

from decimal import ROUND_HALF_EVEN, Context, Decimal

WIDE = Context(prec=80)
_ONE = Decimal(1)


def share(total: Decimal, part: Decimal, whole: Decimal, *, places: int = 12) -> Decimal:
    """total x part / whole, half even at so many decimals."""
    return WIDE.divide(WIDE.multiply(total, part), whole).quantize(_ONE.scaleb(-places), ROUND_HALF_EVEN, WIDE)


def average(total: Decimal, quantity: Decimal) -> Decimal:
    """total / quantity at 12 decimals."""
    return tidy(share(total, _ONE, quantity))


def tidy(value: Decimal) -> Decimal:
    """The same number without the zeros at its end."""
    stripped = value.normalize(WIDE)
    return stripped if stripped.as_tuple().exponent <= 0 else stripped.quantize(_ONE, None, WIDE)  # type: ignore[operator]
