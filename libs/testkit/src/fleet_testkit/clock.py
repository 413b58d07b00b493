"""Clocks that a test moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class FakeClock:
    """Stands still at `at` until it is advanced or set; a `fleet_chassis.clock.Clock`."""

    def __init__(self, at: datetime = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)) -> None:
        self._now = at

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta | None = None, *, seconds: float = 0.0) -> datetime:
        self._now += (by or timedelta()) + timedelta(seconds=seconds)
        return self._now

    def set(self, at: datetime) -> None:
        if at.tzinfo is None:
            raise ValueError(f"a clock needs an aware time, was {at}")
        self._now = at


class ShiftedClock:
    """The machine's clock, moved by as much as a test says."""

    def __init__(self) -> None:
        self.shift = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.shift
