"""Sessions and business days, against tables read the naive way and days that are known."""

import zoneinfo
from datetime import UTC, date, datetime, time, timedelta
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from fleet_calendars import (
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
from fleet_calendars.table import Table, load
from hypothesis import given
from hypothesis import strategies as st

TABLES = [name for name in names() if name != ROUND_THE_CLOCK]


def all_sessions(calendar: str) -> list[Session]:
    """Every day of the table, one after the other."""
    table = load(calendar)
    days = [table.first_day + timedelta(days=n) for n in range((table.last_day - table.first_day).days + 1)]
    return [session for day in days if (session := session_of(calendar, day)) is not None]


SESSIONS = {calendar: all_sessions(calendar) for calendar in TABLES}


@given(st.sampled_from(TABLES), st.data())
def test_the_sessions_around_a_time_are_those_of_a_search_through_all(calendar: str, data: st.DataObject) -> None:
    sessions = SESSIONS[calendar]
    within = st.datetimes(sessions[0].opens_at.replace(tzinfo=None), sessions[-1].opens_at.replace(tzinfo=None))
    edges = st.sampled_from(sessions).flatmap(lambda one: st.sampled_from([one.opens_at, one.closes_at]))
    at = min(data.draw(st.one_of(within.map(lambda found: found.replace(tzinfo=UTC)), edges)), sessions[-1].opens_at)
    assert session_at(calendar, at) == next((one for one in sessions if one.opens_at <= at < one.closes_at), None)
    assert next_session(calendar, at) == next(one for one in sessions if at < one.closes_at)
    assert last_session(calendar, at) == [one for one in sessions if one.opens_at <= at][-1]


@given(st.sampled_from(TABLES), st.data(), st.integers(0, 5))
def test_business_days_are_counted_along_the_sessions(calendar: str, data: st.DataObject, days: int) -> None:
    trading = [session.day for session in SESSIONS[calendar]]
    day = data.draw(st.dates(trading[0], trading[-10]))
    first = next(n for n, one in enumerate(trading) if one >= day)
    assert business_day(calendar, day, days) == trading[first + days]


@pytest.mark.parametrize(
    ("calendar", "day", "opens_at", "closes_at"),
    [
        ("XNYS", "2024-03-08", "2024-03-08T14:30Z", "2024-03-08T21:00Z"),
        ("XNYS", "2024-03-11", "2024-03-11T13:30Z", "2024-03-11T20:00Z"),  # daylight saving has begun
        ("XNYS", "2024-07-03", "2024-07-03T13:30Z", "2024-07-03T17:00Z"),  # closes early
        ("XNYS", "2001-09-11", None, None),
        ("XNYS", "2012-10-30", None, None),  # a hurricane
        ("XNYS", "2026-07-03", None, None),
        ("XNYS", "2024-07-06", None, None),
        ("XCAI", "2026-11-22", "2026-11-22T07:30Z", "2026-11-22T13:00Z"),  # a Sunday
        ("XCAI", "2025-07-06", "2025-07-06T07:00Z", "2025-07-06T11:30Z"),
        ("XCAI", "2025-03-02", "2025-03-02T08:00Z", "2025-03-02T11:30Z"),  # Ramadan
        ("XCAI", "2026-11-20", None, None),
        ("XADS", "2026-11-20", "2026-11-20T06:00Z", "2026-11-20T11:00Z"),  # a Friday
        ("XADS", "2026-12-02", None, None),
        ("XCAI", "2027-01-03", "2027-01-03T07:30Z", "2027-01-03T13:00Z"),
        ("XCAI", "2027-02-08", "2027-02-08T08:00Z", "2027-02-08T11:30Z"),  # Ramadan
        ("XCAI", "2027-05-19", None, None),
        ("XADS", "2027-03-11", None, None),
        ("XADS", "2027-03-12", "2027-03-12T06:00Z", "2027-03-12T11:00Z"),
    ],
)
def test_days_that_are_known(calendar: str, day: str, opens_at: str | None, closes_at: str | None) -> None:
    session = session_of(calendar, date.fromisoformat(day))
    if opens_at is None or closes_at is None:
        assert session is None
        return
    assert session is not None
    assert session.opens_at == datetime.fromisoformat(opens_at)
    assert session.closes_at == datetime.fromisoformat(closes_at)


def test_round_the_clock_a_session_is_the_utc_day_and_never_ends() -> None:
    at = datetime(2099, 12, 31, 23, 59, tzinfo=ZoneInfo("Asia/Dubai"))
    session = session_at(ROUND_THE_CLOCK, at)
    assert session is not None and (session.day, session.closes_at) == (
        date(2099, 12, 31),
        datetime(2100, 1, 1, tzinfo=UTC),
    )
    assert business_day(ROUND_THE_CLOCK, date(2099, 12, 31), 2) == date(2100, 1, 2)
    assert last_day(ROUND_THE_CLOCK) is None


@pytest.mark.parametrize("calendar", TABLES)
def test_past_its_last_day_a_calendar_says_so_and_guesses_nothing(calendar: str) -> None:
    end = last_day(calendar)
    assert end is not None
    with pytest.raises(OutsideCalendar, match=f"{calendar} covers .* to {end}, was"):
        session_at(calendar, datetime.combine(end + timedelta(days=2), time(12), UTC))
    with pytest.raises(OutsideCalendar):
        next_session(calendar, SESSIONS[calendar][-1].closes_at)
    with pytest.raises(OutsideCalendar):
        business_day(calendar, end, 2)


@pytest.mark.parametrize("calendar", TABLES)
def test_the_days_that_are_left_are_counted_by_the_exchanges_own_date(calendar: str) -> None:
    end, zone = load(calendar).last_day, load(calendar).zoneinfo
    assert days_left(calendar, datetime.combine(end - timedelta(days=60), time(), zone)) == 60
    assert days_left(calendar, datetime.combine(end, time(23, 59), zone)) == 0
    assert days_left(calendar, datetime.combine(end + timedelta(days=1), time(), zone)) == -1
    assert days_left(ROUND_THE_CLOCK, datetime.combine(end, time(), zone)) is None


@pytest.mark.parametrize("name", ["XXXX", "../table", "", "24/8"])
def test_a_name_that_is_no_calendar_is_unknown(name: str) -> None:
    with pytest.raises(UnknownCalendar):
        session_at(name, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize("calendar", TABLES)
def test_a_table_says_where_it_is_from_and_lists_no_weekend_as_a_holiday(calendar: str) -> None:
    table = load(calendar)
    assert table.sources
    unneeded = [day for day in table.holidays if f"{day:%a}".lower() not in table.weekdays]
    assert not unneeded


def test_time_zones_are_those_of_the_package_whatever_the_machine_knows(tmp_path: Path) -> None:
    (tmp_path / "Africa").mkdir()
    (tmp_path / "Africa" / "Cairo").write_bytes((files("tzdata") / "zoneinfo" / "UTC").read_bytes())
    noon = datetime(2026, 7, 1, 12)  # noqa: DTZ001
    try:
        zoneinfo.reset_tzpath([tmp_path])
        ZoneInfo.clear_cache()
        assert ZoneInfo("Africa/Cairo").utcoffset(noon) == timedelta(0)
        assert load("XCAI").zoneinfo.utcoffset(noon) == timedelta(hours=3)
    finally:
        zoneinfo.reset_tzpath()
        ZoneInfo.clear_cache()


def test_a_table_that_contradicts_itself_is_refused() -> None:
    table = load("XADS")
    with pytest.raises(ValueError, match="lies outside"):
        Table(
            **{name: getattr(table, name) for name in table.__struct_fields__}
            | {"holidays": frozenset({date(2030, 1, 1)})}
        )
