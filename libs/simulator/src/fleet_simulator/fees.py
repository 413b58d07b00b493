"""Fees: a model of an order's cumulative execution, rounded once, so that how an order was cut into fills is no matter.

The fee of a fill is `fee(what has executed with it) - fee charged so far`. The rule of rounding, the only one in the
fleet's money: **half up at the precision of the quote currency, 8 decimals for every currency**. Eight holds the
smallest unit in use (a satoshi); whole shares at a tick of 0.0001 and a rate of 0.1 % come out exact. Notional itself
is never rounded. Fees grow with what executes, so what was reserved for the largest notional covers every fill.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple, Protocol

CURRENCY_PRECISION = 8
"""Decimals of a fee, in every currency."""

EXACT = Context(prec=80, traps=[Inexact])
"""Arithmetic that raises instead of rounding; 80 digits are more than any price times quantity times rate has."""

_ROUNDING = Context(prec=80)
FEE_UNIT = Decimal(1).scaleb(-CURRENCY_PRECISION)
"""The smallest step of a fee: two fees on the same notional, one rounded in parts, differ by no more for each part."""


def fee(cumulative_notional: Decimal, rate: Decimal) -> Decimal:
    """The whole fee of an order whose fills so far have this notional (quote currency), half up at 8 decimals."""
    return EXACT.multiply(cumulative_notional, rate).quantize(FEE_UNIT, ROUND_HALF_UP, _ROUNDING)


class Executed(NamedTuple):
    """What an order has executed so far, as maker and as taker: lots, and ticks x lots."""

    maker_quantity: int
    maker_notional: int
    taker_quantity: int
    taker_notional: int

    @property
    def quantity(self) -> int:
        return self.maker_quantity + self.taker_quantity

    @property
    def notional(self) -> int:
        return self.maker_notional + self.taker_notional


class FeeModel(Protocol):
    def total(self, executed: Executed) -> int:
        """The whole fee of an order that has executed this, in fee units (1e-8 of the quote currency).

        Never negative, and never less than for less of the same order.
        """


@dataclass(frozen=True, slots=True)
class FeeSchedule:
    """The same rule in integers: `units_per_notional` fee units (1e-8 of the currency) for one tick x lot."""

    units_per_notional: Fraction

    @classmethod
    def of(cls, rate: Decimal, *, tick: Decimal, lot: Decimal) -> "FeeSchedule":
        """Of a rate (0.001 is 0.1 %) on an instrument of this tick and lot size."""
        return cls(_units_per_notional(rate, tick, lot))

    def fee(self, cumulative_notional: int) -> int:
        """Of a notional in ticks x lots, in fee units, half up."""
        return _half_up(cumulative_notional * self.units_per_notional)

    def total(self, executed: Executed) -> int:
        return self.fee(executed.notional)


@dataclass(frozen=True, slots=True)
class MakerTaker:
    """One rate for what an order gives, one for what it takes, each in fee units for one tick x lot.

    The defaults are the first step of Kraken Pro's spot schedule: 0.25 % maker, 0.40 % taker (kraken.com, fee schedule).
    """

    maker_units_per_notional: Fraction
    taker_units_per_notional: Fraction

    @classmethod
    def of(
        cls, maker: Decimal = Decimal("0.0025"), taker: Decimal = Decimal("0.0040"), *, tick: Decimal, lot: Decimal
    ) -> "MakerTaker":
        return cls(_units_per_notional(maker, tick, lot), _units_per_notional(taker, tick, lot))

    def total(self, executed: Executed) -> int:
        return _half_up(
            executed.maker_notional * self.maker_units_per_notional
            + executed.taker_notional * self.taker_units_per_notional
        )


@dataclass(frozen=True, slots=True)
class PerShare:
    """An amount for each lot, in fee units.

    The default is Interactive Brokers' fixed price for US stocks, 0.005 USD a share; its minimum of 1 USD an order and
    its cap of 1 % of the trade's value are those of `BoundedFee` (interactivebrokers.com, Commissions Stocks).
    """

    units_per_lot: Fraction

    @classmethod
    def of(cls, amount: Decimal = Decimal("0.005"), *, lot: Decimal) -> "PerShare":
        """Of an amount in the quote currency for one whole share on an instrument of this lot size."""
        return cls(_units_per_notional(amount, Decimal(1), lot))

    def total(self, executed: Executed) -> int:
        return _half_up(executed.quantity * self.units_per_lot)


@dataclass(frozen=True, slots=True)
class TieredFee:
    """Rates that change with an order's cumulative notional, each on the part of it that lies in its tier.

    Marginal, as Interactive Brokers applies its volume tiers ("applied on a marginal basis"), so that a larger order
    never pays less. `tiers`: (notional in ticks x lots from which the rate is charged, fee units for one tick x lot),
    from 0 up. The default rates: 0.35 % up to 10,000, 0.20 % up to 100,000, 0.10 % above, in the quote currency.
    """

    tiers: tuple[tuple[int, Fraction], ...]

    def __post_init__(self) -> None:
        starts = [start for start, _ in self.tiers]
        if not starts or starts[0] != 0 or any(a >= b for a, b in pairwise(starts)):
            raise ValueError(f"tiers start at 0 and rise, was {starts}")

    @classmethod
    def of(
        cls,
        tiers: Sequence[tuple[Decimal, Decimal]] = (
            (Decimal(0), Decimal("0.0035")),
            (Decimal(10_000), Decimal("0.0020")),
            (Decimal(100_000), Decimal("0.0010")),
        ),
        *,
        tick: Decimal,
        lot: Decimal,
    ) -> "TieredFee":
        """Of (notional in the quote currency, rate). A start between two grid points counts from the next one."""
        one = Fraction(tick) * Fraction(lot)
        return cls(tuple((-(-Fraction(start) // one), _units_per_notional(rate, tick, lot)) for start, rate in tiers))

    def total(self, executed: Executed) -> int:
        ends = [start for start, _ in self.tiers[1:]] + [executed.notional]
        parts = (
            (max(0, min(executed.notional, end) - start), rate)
            for (start, rate), end in zip(self.tiers, ends, strict=True)
        )
        return _half_up(sum((part * rate for part, rate in parts), Fraction(0)))


@dataclass(frozen=True, slots=True)
class BoundedFee:
    """Another model with a minimum for the order, and a share of the notional that it never exceeds.

    Where the two meet the cap wins, as at Interactive Brokers, whose 1 USD and 1 % are the defaults of `of`.
    """

    model: FeeModel
    minimum: int
    cap_per_notional: Fraction

    @classmethod
    def of(
        cls,
        model: FeeModel,
        minimum: Decimal = Decimal(1),
        cap: Decimal = Decimal("0.01"),
        *,
        tick: Decimal,
        lot: Decimal,
    ) -> "BoundedFee":
        units = _half_up(Fraction(minimum) * 10**CURRENCY_PRECISION)
        return cls(model, units, _units_per_notional(cap, tick, lot))

    def total(self, executed: Executed) -> int:
        if not executed.quantity:
            return 0
        return min(max(self.model.total(executed), self.minimum), _half_up(executed.notional * self.cap_per_notional))


def _units_per_notional(rate: Decimal, tick: Decimal, lot: Decimal) -> Fraction:
    if rate < 0:
        raise ValueError(f"a fee rate is not negative, was {rate}")
    units: Fraction = Fraction(rate) * Fraction(tick) * Fraction(lot) * 10**CURRENCY_PRECISION
    return units


def _half_up(units: Fraction) -> int:
    return (2 * units.numerator + units.denominator) // (2 * units.denominator)
