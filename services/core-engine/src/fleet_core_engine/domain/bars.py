"""Which bars go on to the strategies, and when a step of the market is over."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

HALTED = "halted"
DUPLICATE_CLOSE = "duplicate_close"
OUT_OF_ORDER = "out_of_order"
STALE = "stale"


@dataclass(frozen=True, slots=True, order=True)
class Series:
    """The bars of one symbol in one timeframe."""

    symbol: str
    timeframe: str


@dataclass(frozen=True, slots=True)
class Step:
    """The end of all bars of one market time."""

    timeframe: str
    market_at: datetime
    step: int
    symbols: tuple[str, ...]
    replay_id: UUID | None

    @property
    def series(self) -> tuple[Series, ...]:
        return tuple(Series(symbol, self.timeframe) for symbol in self.symbols)

    def is_over(self, position_of: Callable[[Series], datetime | None]) -> bool:
        """Whether the last bar of each of its symbols has been dealt with: released, or withheld."""
        return all((at := position_of(series)) is not None and at >= self.market_at for series in self.series)


def reason_to_withhold(
    close_at: datetime, *, position: datetime | None, is_halted: bool, is_stale: bool = False
) -> str | None:
    """None lets the bar go. `position` is the last close of its series: a strategy sees time move forward only. `is_stale`:
    the symbol's quotes have stopped, so nothing that follows from the bar could be traded."""
    if position is not None and close_at == position:
        return DUPLICATE_CLOSE
    if position is not None and close_at < position:
        return OUT_OF_ORDER
    if is_halted:
        return HALTED
    return STALE if is_stale else None
