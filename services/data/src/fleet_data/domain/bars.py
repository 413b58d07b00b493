"""Series of bars, and when a step of the market is over."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


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
        """Whether the last bar of each of its symbols has been stored."""
        return all((at := position_of(series)) is not None and at >= self.market_at for series in self.series)
