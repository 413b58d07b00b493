"""When a symbol is traded. What session it is in is a fact: the machine never looks at a clock."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

SESSION: Final = "session"
"""The kind of the fact."""

_FORM: Final = re.compile(r"(\d\d:\d\d)-(\d\d:\d\d) (\S+)")
_SATURDAY: Final = 5


class Session(msgspec.Struct, frozen=True, array_like=True):
    """The session that began last: its day, whether it is still open, and since when that has been so."""

    symbol: str
    day: str
    is_open: bool
    since: datetime


@dataclass(frozen=True, slots=True)
class Schedule:
    """From `opens` to `closes` of each weekday in `zone`; without times round the clock, a session being a UTC day.

    Holidays are no part of it: on them nobody's price moves the book but the orders in it."""

    opens: time = time(0)
    closes: time | None = None
    zone: tzinfo = UTC

    @classmethod
    def parse(cls, text: str) -> "Schedule":
        """Of `09:30-16:00 America/New_York`."""
        found = _FORM.fullmatch(text)
        if found is None:
            raise ValueError(f"a session is given as `09:30-16:00 America/New_York`, was {text!r}")
        try:
            opens, closes = (time.fromisoformat(part) for part in found.group(1, 2))
            schedule = cls(opens, closes, ZoneInfo(found.group(3)))
        except (ValueError, ZoneInfoNotFoundError) as error:
            raise ValueError(f"a session has two times of day and a zone, was {text!r}") from error
        if opens >= closes:
            raise ValueError(f"a session closes after it opens, on the same day, was {text!r}")
        return schedule

    def session(self, symbol: str, now: datetime) -> Session:
        day = now.astimezone(self.zone).date()
        while True:
            opens_at = datetime.combine(day, self.opens, self.zone).astimezone(UTC)
            if opens_at <= now and (self.closes is None or day.weekday() < _SATURDAY):
                break
            day -= timedelta(days=1)
        closes_at = None if self.closes is None else datetime.combine(day, self.closes, self.zone).astimezone(UTC)
        if closes_at is None or now < closes_at:
            return Session(symbol, day.isoformat(), True, opens_at)
        return Session(symbol, day.isoformat(), False, closes_at)


ROUND_THE_CLOCK: Final = Schedule()
