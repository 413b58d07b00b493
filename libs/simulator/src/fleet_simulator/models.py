"""What a market assumes, by name: one line of text a model, as settings of a venue and arguments of a run give it."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import TypeVar

from fleet_simulator.fees import BoundedFee, FeeModel, FeeSchedule, MakerTaker, PerShare, TieredFee
from fleet_simulator.latency import ConstantLatency, Latency, LogNormalLatency
from fleet_simulator.market import BarPath, Market
from fleet_simulator.slippage import HalfSpread, Slippage, SquareRootImpact, VolumeShare

M = TypeVar("M")

NONE = "none"
FLAT = "flat:0.001"
"""0.1 % a side."""
_MS = 1_000_000
_MOST_MS = 60_000

SLIPPAGES = "none, half_spread[:spread], volume_share[:impact,limit], square_root[:coefficient,volatility]"
LATENCIES = "none, constant[:ms], log_normal[:median_ms,floor_ms,sigma]"
FEES = "flat:rate, maker_taker[:maker,taker], per_share[:amount,minimum,cap], tiered[:from=rate,...]"


class UnknownModel(ValueError):
    """A text that names no model, or figures that are none of its."""

    def __init__(self, what: str, forms: str, text: str) -> None:
        super().__init__(f"{what} is one of {forms}, was {text!r}")


@dataclass(frozen=True, slots=True)
class Fees:
    """A fee model before an instrument's grid is known. No order costs more than these shares of its notional."""

    maker: Decimal
    taker: Decimal
    of: Callable[[Decimal, Decimal], FeeModel]
    """Of a tick and a lot."""

    @property
    def highest(self) -> Decimal:
        return max(self.maker, self.taker)


@dataclass(frozen=True, slots=True)
class Models:
    """All that a market assumes beside its prices."""

    fees: Fees
    volume_share: Fraction | None = None
    slippage: Slippage | None = None
    latency: Latency | None = None
    path: BarPath = BarPath.NEARER_EXTREME

    def market(self, symbol: str, *, tick: Decimal, lot: Decimal) -> Market:
        return Market(
            symbol,
            self.fees.of(tick, lot),
            volume_share=self.volume_share,
            slippage=self.slippage,
            latency=self.latency,
            path=self.path,
        )


def models_of(
    *,
    fees: str = FLAT,
    volume_share: str | Fraction | None = None,
    slippage: str | Slippage | None = None,
    latency: str | Latency | None = None,
    bar_path: str = BarPath.NEARER_EXTREME,
    seed: int = 0,
) -> Models:
    """Each by name, `none` for none, or as the model itself. `seed` is that of a latency that is drawn.

    A rate, spread, impact or share is a share of one (0.001 is 0.1 %), money is in the quote currency. What is left out
    after a name has its model's default. Raises UnknownModel.
    """
    try:
        path = BarPath(bar_path)
    except ValueError:
        raise UnknownModel("bar path", ", ".join(BarPath), bar_path) from None
    return Models(
        fees=_read("fees", FEES, fees, _fees),
        volume_share=_volume_share(volume_share),
        slippage=_read("slippage", SLIPPAGES, slippage, _slippage) if isinstance(slippage, str) else slippage,
        latency=_read("latency", LATENCIES, latency, lambda name, figures: _latency(name, figures, seed))
        if isinstance(latency, str)
        else latency,
        path=path,
    )


def _read(what: str, forms: str, text: str, make: Callable[[str, str], M]) -> M:
    name, _, figures = text.strip().partition(":")
    try:
        return make(name, figures)
    except (KeyError, TypeError, ValueError, InvalidOperation) as error:
        raise UnknownModel(what, forms, text) from error


def _volume_share(share: str | Fraction | None) -> Fraction | None:
    if share is None or share == NONE:
        return None
    try:
        found = Fraction(share)
    except (ValueError, ZeroDivisionError) as error:
        raise UnknownModel("volume share", _SHARES, str(share)) from error
    if not 0 < found <= 1:
        raise UnknownModel("volume share", _SHARES, str(share))
    return found


_SHARES = "none, a number above 0 and up to 1"


def _slippage(name: str, figures: str) -> Slippage | None:
    shares = [Fraction(each) for each in _rates(figures, most=100)]
    match name:
        case "none" if not shares:
            return None
        case "half_spread":
            return HalfSpread(*shares)
        case "volume_share":
            return VolumeShare(*shares)
        case "square_root":
            return SquareRootImpact(*shares)
        case _:
            raise KeyError(name)


def _latency(name: str, figures: str, seed: int) -> Latency | None:
    found = _rates(figures, most=_MOST_MS)
    match name, found:
        case "none", []:
            return None
        case "constant", [] | [_]:
            return ConstantLatency(*(int(each * _MS) for each in found))
        case "log_normal", [] | [_] | [_, _] | [_, _, _]:
            median, floor, sigma = (*found, *_LOG_NORMAL[len(found) :])
            return LogNormalLatency(seed, int(floor * _MS), int(median * _MS), float(sigma))
        case _:
            raise KeyError(name)


_LOG_NORMAL = Decimal(20), Decimal(1), Decimal("0.5")


def _fees(name: str, figures: str) -> Fees:
    match name:
        case "flat":
            (rate,) = _rates(figures)
            return Fees(rate, rate, lambda tick, lot: FeeSchedule.of(rate, tick=tick, lot=lot))
        case "maker_taker":
            maker, taker = _rates(figures) or (Decimal("0.0025"), Decimal("0.0040"))
            return Fees(maker, taker, lambda tick, lot: MakerTaker.of(maker, taker, tick=tick, lot=lot))
        case "per_share":
            # Without a cap nobody could reserve what an order may cost.
            amount, minimum, cap = _rates(figures, most=10**6) or (Decimal("0.005"), Decimal(1), Decimal("0.01"))
            if cap >= 1:
                raise ValueError(cap)
            return Fees(
                cap,
                cap,
                lambda tick, lot: BoundedFee.of(PerShare.of(amount, lot=lot), minimum, cap, tick=tick, lot=lot),
            )
        case "tiered":
            tiers = [_tier(each) for each in figures.split(",")] if figures else _TIERS
            highest = max(rate for _, rate in tiers)
            TieredFee.of(tiers, tick=Decimal(1), lot=Decimal(1))  # refuses tiers that do not rise from 0
            return Fees(highest, highest, lambda tick, lot: TieredFee.of(tiers, tick=tick, lot=lot))
        case _:
            raise KeyError(name)


_TIERS = [
    (Decimal(0), Decimal("0.0035")),
    (Decimal(10_000), Decimal("0.0020")),
    (Decimal(100_000), Decimal("0.0010")),
]


def _tier(text: str) -> tuple[Decimal, Decimal]:
    start, _, rate = text.partition("=")
    (found,) = _rates(rate)
    return Decimal(start), found


def _rates(figures: str, *, most: int = 1) -> list[Decimal]:
    """Exact numbers from 0 to below `most`."""
    found = [Decimal(each) for each in figures.split(",")] if figures else []
    if not all(each.is_finite() and 0 <= each < most for each in found):
        raise ValueError(figures)
    return found
