"""TWAP: an order in equal parts, evenly over time. Pure: what time and fills it is fed with is all that it knows.

Whether the market may be gone to at all is asked for all algorithms alike, by what works their orders (working.py)."""

from datetime import datetime, timedelta
from decimal import Decimal

from msgspec import Struct
from msgspec.structs import replace


class Refusals(Struct, frozen=True):
    """How often in a row its venue has refused to cancel the part that is there. Before `again_at` time does not ask again."""

    count: int
    again_at: datetime


class Twap(Struct, frozen=True):
    """`paused` is how long it stood still so far, not counting a pause that lasts.

    Part n of N (from 0) begins at n/N of the duration; from then on (n + 1)/N of the quantity should be done, rounded
    down to the lot, so what a part did not get filled is in the next. The last part ends with the duration.

    `refusals`, of the part that is at the venue, do not belong to the schedule, and are kept with it."""

    started_at: datetime
    duration_s: int
    slices: int
    lot: Decimal
    paused: timedelta = timedelta(0)
    paused_at: datetime | None = None
    refusals: Refusals | None = None

    def wanted(self, *, now: datetime, quantity: Decimal, filled: Decimal) -> Decimal:
        """How much may be at the venue now: of the quantity, whatever is filled of it taken off. Never below 0."""
        if self.paused_at is not None or self.has_ended(now):
            return Decimal(0)
        begun = self.begun(now)
        upto = quantity if begun == self.slices else int(quantity // self.lot) * begun // self.slices * self.lot
        return max(upto - filled, Decimal(0))

    def begun(self, now: datetime) -> int:
        """So many parts have begun."""
        return min(self._elapsed(now) * self.slices // timedelta(seconds=self.duration_s) + 1, self.slices)

    def next_at(self, now: datetime) -> datetime | None:
        """When to look again; None while it is paused and after its end."""
        if self.paused_at is not None or self.has_ended(now):
            return None
        return self.started_at + self.paused + timedelta(seconds=self.duration_s) * self.begun(now) / self.slices

    def has_ended(self, now: datetime) -> bool:
        return self._elapsed(now) >= timedelta(seconds=self.duration_s)

    def pause(self, now: datetime) -> "Twap":
        return self if self.paused_at is not None else replace(self, paused_at=now)

    def resume(self, now: datetime) -> "Twap":
        if self.paused_at is None:
            return self
        return replace(self, paused_at=None, paused=self.paused + (now - self.paused_at))

    def _elapsed(self, now: datetime) -> timedelta:
        return max((self.paused_at or now) - self.started_at - self.paused, timedelta(0))
