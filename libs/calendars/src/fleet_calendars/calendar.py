"""Sessions of an exchange: which is open at a time, which began last, which comes next; and its business days.

`24/7` is the calendar of what trades round the clock: its sessions are the UTC days. Every other calendar is a table
that ends: past its last day nothing is guessed, `OutsideCalendar` is raised."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

from .table import Table, load, table_names

ROUND_THE_CLOCK: Final = "24/7"
_DAY: Final = timedelta(days=1)


class UnknownCalendar(LookupError):
    def __init__(self, calendar: str) -> None:
        super().__init__(f"there is no calendar of this name, was {calendar}")
        self.calendar = calendar


class OutsideCalendar(LookupError):
    """The table of the calendar does not cover the day: its next year has to be added before anything is decided."""

    def __init__(self, calendar: str, day: date, first_day: date, last_day: date) -> None:
        super().__init__(f"calendar {calendar} covers {first_day} to {last_day}, was {day}")
        self.calendar = calendar
        self.day = day
        self.last_day = last_day


@dataclass(frozen=True, slots=True)
class Session:
    """Open from `opens_at` (inclusive) to `closes_at` (exclusive), both UTC; `day` is the exchange's own date."""

    calendar: str
    day: date
    opens_at: datetime
    closes_at: datetime


def names() -> tuple[str, ...]:
    """Every calendar there is."""
    return (ROUND_THE_CLOCK, *table_names())


def last_day(calendar: str) -> date | None:
    """The last day the calendar covers; None: it never ends."""
    return None if calendar == ROUND_THE_CLOCK else _table(calendar).last_day


def days_left(calendar: str, at: datetime) -> int | None:
    """How many days after that of `at` the calendar still covers; negative: it has ended; None: it never ends."""
    end = last_day(calendar)
    return None if end is None else (end - _local_day(calendar, at)).days


def session_at(calendar: str, at: datetime) -> Session | None:
    """The session that is open at `at`; None: the market is closed."""
    session = session_of(calendar, _local_day(calendar, at))
    return session if session is not None and session.opens_at <= at < session.closes_at else None


def next_session(calendar: str, at: datetime) -> Session:
    """The first session that is open at or after `at`: a DAY order accepted at `at` ends with it."""
    day = _local_day(calendar, at)
    while (session := session_of(calendar, day)) is None or session.closes_at <= at:
        day += _DAY
    return session


def last_session(calendar: str, at: datetime) -> Session:
    """The session that began last, at or before `at`; it may be over."""
    day = _local_day(calendar, at)
    while (session := session_of(calendar, day)) is None or session.opens_at > at:
        day -= _DAY
    return session


def business_day(calendar: str, day: date, days: int) -> date:
    """The day of the `days`-th session after `day`; 0: `day` itself, or the next that has one."""
    while session_of(calendar, day) is None:
        day += _DAY
    for _ in range(days):
        day += _DAY
        while session_of(calendar, day) is None:
            day += _DAY
    return day


@lru_cache(maxsize=4096)
def session_of(calendar: str, day: date) -> Session | None:
    """The session of the exchange's own date; None: a holiday or a weekend."""
    if calendar == ROUND_THE_CLOCK:
        opens_at = datetime(day.year, day.month, day.day, tzinfo=UTC)
        return Session(calendar, day, opens_at, opens_at + _DAY)
    table = _table(calendar)
    if not table.first_day <= day <= table.last_day:
        raise OutsideCalendar(calendar, day, table.first_day, table.last_day)
    times = table.times(day)
    if times is None:
        return None
    opens, closes = (datetime.combine(day, at, table.zoneinfo).astimezone(UTC) for at in times)
    return Session(calendar, day, opens, closes)


def _local_day(calendar: str, at: datetime) -> date:
    return at.astimezone(UTC if calendar == ROUND_THE_CLOCK else _table(calendar).zoneinfo).date()


def _table(calendar: str) -> Table:
    try:
        return load(calendar)
    except FileNotFoundError as error:
        raise UnknownCalendar(calendar) from error
