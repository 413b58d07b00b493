"""When a symbol is traded. What session it is in is a fact: the machine never looks at a clock."""

from datetime import datetime
from typing import Final

import msgspec
from fleet_calendars import last_session

SESSION: Final = "session"
"""The kind of the fact."""


class Session(msgspec.Struct, frozen=True, array_like=True):
    """The session that began last: its day, whether it is still open, and since when that has been so."""

    symbol: str
    day: str
    is_open: bool
    since: datetime


class Ending(msgspec.Struct, frozen=True, array_like=True):
    """A session is over and its day orders are being taken out; if the next one `opens`, its auction is held then.

    `reference` is the auction's, in ticks."""

    since_ns: int
    market_at: datetime
    opens: bool
    reference: int | None


def session(calendar: str, symbol: str, now: datetime) -> Session:
    """Of the symbol that is traded by this calendar; round the clock a session is a UTC day. Raises OutsideCalendar."""
    found = last_session(calendar, now)
    is_open = now < found.closes_at
    return Session(symbol, found.day.isoformat(), is_open, found.opens_at if is_open else found.closes_at)
