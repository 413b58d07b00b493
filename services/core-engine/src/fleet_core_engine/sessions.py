"""Which session of an exchange is open, as far as its calendar can say."""

from datetime import date, datetime

from fleet_calendars import OutsideCalendar, Session, UnknownCalendar, days_left, last_day, names, session_at
from fleet_chassis.logging import get_logger

WARN_DAYS = 60
"""Exchanges publish a year some weeks before it begins; a release with the table takes its time too."""

log = get_logger("fleet_core_engine")


class Sessions:
    """A calendar that has ended or that nobody knows is closed: loudly, once a calendar and day."""

    def __init__(self) -> None:
        self._told: dict[str, date] = {}

    def open_at(self, calendar: str, at: datetime) -> Session | None:
        try:
            return session_at(calendar, at)
        except (OutsideCalendar, UnknownCalendar) as error:
            if self._told.get(calendar) != at.date():
                self._told[calendar] = at.date()
                log.error("calendar_without_sessions", calendar=calendar, error=str(error))
            return None


def warning_of(calendar: str, at: datetime) -> str | None:
    """What is to be done about a calendar that ends soon, or has ended."""
    left = days_left(calendar, at)
    if left is None or left >= WARN_DAYS:
        return None
    return f"the calendar ends with {last_day(calendar)}, {left} days from now: its next year has to be added"


def warn_of_ends(at: datetime) -> None:
    """At the start, of every calendar there is: which of them instruments have is known later."""
    for calendar in names():
        if (warning := warning_of(calendar, at)) is not None:
            log.warning("calendar_ends_soon", calendar=calendar, warning=warning)
