"""Bars as the venue publishes them, and the steps of a replay that they make."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import groupby
from zoneinfo import ZoneInfo

NEW_YORK = ZoneInfo("America/New_York")
"""Where the real daily bars were traded: a session is 09:30 to 16:00 there."""


@dataclass(frozen=True, slots=True)
class Bar:
    symbol: str
    open_at: datetime
    close_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """All bars of one market time, in alphabetical order of their symbols."""

    market_at: datetime
    bars: tuple[Bar, ...]

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(bar.symbol for bar in self.bars)


def as_instant(when: date | datetime) -> datetime:
    """A day begins at midnight in New York; an instant is itself."""
    if isinstance(when, datetime):
        return when
    return datetime(when.year, when.month, when.day, tzinfo=NEW_YORK)


def steps(bars: Mapping[str, Sequence[Bar]], symbols: Iterable[str], start: datetime, end: datetime) -> list[Step]:
    """The steps whose bars open at or after `start` and close at or before `end`, oldest first."""
    chosen = [bar for symbol in symbols for bar in bars[symbol] if start <= bar.open_at and bar.close_at <= end]
    chosen.sort(key=lambda bar: (bar.close_at, bar.symbol))
    return [Step(at, tuple(found)) for at, found in groupby(chosen, key=lambda bar: bar.close_at)]
