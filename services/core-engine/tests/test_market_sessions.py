"""What core-engine says of calendars that end."""

from datetime import UTC, datetime, timedelta

from fleet_calendars import session_at
from fleet_core_engine.sessions import WARN_DAYS, Sessions, warn_of_ends, warning_of
from structlog.testing import capture_logs

END = datetime(2027, 12, 31, 12, tzinfo=UTC)


def test_a_calendar_without_sessions_is_closed_and_said_once_a_day() -> None:
    sessions, past = Sessions(), END + timedelta(days=2)
    with capture_logs() as told:
        for hour in range(30):
            assert sessions.open_at("XADS", past + timedelta(hours=hour)) is None
            assert sessions.open_at("XXXX", past + timedelta(hours=hour)) is None
    days = [entry["calendar"] for entry in told if entry["event"] == "calendar_without_sessions"]
    assert days == ["XADS", "XXXX"] * 2, "noon and 29 hours more: two days"
    assert {entry["log_level"] for entry in told} == {"error"}


def test_an_open_session_is_that_of_the_calendar() -> None:
    at = datetime(2026, 11, 23, 7, tzinfo=UTC)
    assert Sessions().open_at("XADS", at) == session_at("XADS", at)
    assert Sessions().open_at("XADS", at - timedelta(days=1)) is None  # a Sunday


def test_a_calendar_warns_before_it_ends() -> None:
    assert warning_of("XADS", END - timedelta(days=WARN_DAYS)) is None
    warning = warning_of("XADS", END - timedelta(days=WARN_DAYS - 1))
    assert warning == "the calendar ends with 2027-12-31, 59 days from now: its next year has to be added"
    assert warning_of("24/7", END) is None
    with capture_logs() as told:
        warn_of_ends(END)
    assert [(entry["event"], entry["calendar"]) for entry in told] == [
        ("calendar_ends_soon", "XADS"),
        ("calendar_ends_soon", "XCAI"),
    ]
