"""Slippage: how many ticks worse than the price it was shown an order fills that takes liquidity.

Each model answers for one fill: `price` in ticks, `quantity` in lots, `volume` in lots what traded in the bar, or what
the quote showed. Never negative, and never less for a larger quantity; rounded up to the tick, against the order.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import ceil, isqrt
from typing import Protocol


class Slippage(Protocol):
    def ticks(self, price: int, quantity: int, volume: int) -> int: ...


@dataclass(frozen=True, slots=True)
class HalfSpread:
    """Half a spread that is a fixed share of the price: who takes crosses from the mid to the other side.

    Source: H. Demsetz, The Cost of Transacting (1968), the spread as the price of immediacy. `spread` of 0.0005 is 5
    basis points, a liquid large stock's.
    """

    spread: Fraction = Fraction(5, 10_000)

    def __post_init__(self) -> None:
        _not_negative(self.spread)

    def ticks(self, price: int, quantity: int, volume: int) -> int:
        return ceil(price * self.spread / 2)


@dataclass(frozen=True, slots=True)
class VolumeShare:
    """The square of the order's share of the volume, times `impact`, of the price; the share counts up to `limit`.

    Source: zipline's and LEAN's VolumeShareSlippage, with their defaults. Without volume the share is the limit's.
    """

    impact: Fraction = Fraction(1, 10)
    limit: Fraction = Fraction(25, 1000)

    def __post_init__(self) -> None:
        _not_negative(self.impact)
        _not_negative(self.limit)

    def ticks(self, price: int, quantity: int, volume: int) -> int:
        share = min(Fraction(quantity, volume), self.limit) if volume else self.limit
        return ceil(price * self.impact * share * share)


@dataclass(frozen=True, slots=True)
class SquareRootImpact:
    """`coefficient` x volatility x the square root of quantity / volume, of the price.

    Source: B. Tóth et al., Anomalous Price Impact and the Critical Nature of Liquidity (2011), with a coefficient of
    the order of one; `volatility` is that of the time over which `volume` traded, 2 % for a stock's day. Without volume
    the quantity counts as all of it.
    """

    coefficient: Fraction = Fraction(1)
    volatility: Fraction = Fraction(2, 100)

    def __post_init__(self) -> None:
        _not_negative(self.coefficient)
        _not_negative(self.volatility)

    def ticks(self, price: int, quantity: int, volume: int) -> int:
        squared = (price * self.coefficient * self.volatility) ** 2 * Fraction(quantity, volume or max(quantity, 1))
        whole = ceil(squared)
        root = isqrt(whole)
        return root if root * root == whole else root + 1


def _not_negative(share: Fraction) -> None:
    if share < 0:
        raise ValueError(f"a share is not negative, was {share}")
