"""Fees: a rate on an order's cumulative notional, rounded once, so that how an order was cut into fills is no matter.

The fee of a fill is `fee(cumulative notional with it) - fee charged so far`. The rule of rounding, the only one in the
fleet's money: **half up at the precision of the quote currency, 8 decimals for every currency**. Eight holds the
smallest unit in use (a satoshi); whole shares at a tick of 0.0001 and a rate of 0.1 % come out exact. Notional itself
is never rounded. `fee` grows with the notional, so what was reserved for the largest notional covers every fill.
"""

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact
from fractions import Fraction

CURRENCY_PRECISION = 8
"""Decimals of a fee, in every currency."""

EXACT = Context(prec=80, traps=[Inexact])
"""Arithmetic that raises instead of rounding; 80 digits are more than any price times quantity times rate has."""

_ROUNDING = Context(prec=80)
_FEE_UNIT = Decimal(1).scaleb(-CURRENCY_PRECISION)


def fee(cumulative_notional: Decimal, rate: Decimal) -> Decimal:
    """The whole fee of an order whose fills so far have this notional (quote currency), half up at 8 decimals."""
    return EXACT.multiply(cumulative_notional, rate).quantize(_FEE_UNIT, ROUND_HALF_UP, _ROUNDING)


@dataclass(frozen=True, slots=True)
class FeeSchedule:
    """The same rule in integers: `units_per_notional` fee units (1e-8 of the currency) for one tick x lot."""

    units_per_notional: Fraction

    @classmethod
    def of(cls, rate: Decimal, *, tick: Decimal, lot: Decimal) -> "FeeSchedule":
        """Of a rate (0.001 is 0.1 %) on an instrument of this tick and lot size."""
        if rate < 0:
            raise ValueError(f"a fee rate is not negative, was {rate}")
        return cls(Fraction(rate) * Fraction(tick) * Fraction(lot) * 10**CURRENCY_PRECISION)

    def fee(self, cumulative_notional: int) -> int:
        """Of a notional in ticks x lots, in fee units, half up."""
        numerator, denominator = self.units_per_notional.numerator, self.units_per_notional.denominator
        return (2 * cumulative_notional * numerator + denominator) // (2 * denominator)
