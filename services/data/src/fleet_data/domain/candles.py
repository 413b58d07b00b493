"""Candles: bars as the API shows them, of any timeframe, the last one perhaps still open."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

TIMEFRAME_MINUTES = {"1m": 1, "5m": 5, "15m": 15, "1h": 60, "4h": 240, "1d": 1440}
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
"""Where intervals are counted from, so that a day is the UTC day."""


class CandleState(StrEnum):
    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Candle:
    open_at: datetime
    close_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int | None
    state: CandleState = CandleState.CLOSED

    def followed_by(self, later: "Candle") -> "Candle":
        """One candle over both, of this one's interval."""
        known = self.trades is not None and later.trades is not None
        return replace(
            self,
            high=max(self.high, later.high),
            low=min(self.low, later.low),
            close=later.close,
            volume=self.volume + later.volume,
            trades=(self.trades or 0) + (later.trades or 0) if known else None,
        )


def interval_of(timeframe: str) -> timedelta:
    return timedelta(minutes=TIMEFRAME_MINUTES[timeframe])


def interval_start(at: datetime, timeframe: str) -> datetime:
    """The start of the interval that the moment lies in."""
    return at - (at - EPOCH) % interval_of(timeframe)


def next_start(at: datetime, timeframe: str) -> datetime:
    """The first start of an interval at or after the moment."""
    start = interval_start(at, timeframe)
    return start if start == at else start + interval_of(timeframe)


def with_state(candles: Iterable[Candle], as_of: datetime) -> list[Candle]:
    """An interval that has not ended is open, however many of its bars are there."""
    return [
        replace(candle, state=CandleState.OPEN if candle.close_at > as_of else CandleState.CLOSED) for candle in candles
    ]


def with_running(closed: Sequence[Candle], running: Candle | None, timeframe: str) -> list[Candle]:
    """The candles with what was traded since the last stored bar; `running` lies within one interval."""
    if running is None:
        return list(closed)
    start = interval_start(running.open_at, timeframe)
    if closed and closed[-1].open_at == start:
        return [*closed[:-1], closed[-1].followed_by(running)]
    return [*closed, replace(running, open_at=start, close_at=start + interval_of(timeframe))]
