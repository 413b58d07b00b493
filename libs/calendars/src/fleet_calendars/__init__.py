"""When exchanges trade."""

from .calendar import (
    ROUND_THE_CLOCK,
    OutsideCalendar,
    Session,
    UnknownCalendar,
    business_day,
    days_left,
    last_day,
    last_session,
    names,
    next_session,
    session_at,
    session_of,
)

__all__ = [
    "ROUND_THE_CLOCK",
    "OutsideCalendar",
    "Session",
    "UnknownCalendar",
    "business_day",
    "days_left",
    "last_day",
    "last_session",
    "names",
    "next_session",
    "session_at",
    "session_of",
]
