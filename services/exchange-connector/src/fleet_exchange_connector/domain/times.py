"""Market time as integer nanoseconds inside the books and as aware datetimes outside, exact to the microsecond."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
MINUTE = timedelta(minutes=1)
INSTANT = _MICROSECOND
"""The grid of time."""


def to_ns(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND * 1000


def from_ns(ns: int) -> datetime:
    return _EPOCH + timedelta(microseconds=ns // 1000)


def minute_of(at: datetime) -> int:
    """Minutes since 1970 that have begun at `at`."""
    return (at - _EPOCH) // MINUTE


def minute_start(minute: int) -> datetime:
    return _EPOCH + minute * MINUTE


def next_midnight(at: datetime) -> datetime:
    """The end of the UTC day that `at` lies in: of the session of a market that trades round the clock."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)


def is_midnight(at: datetime) -> bool:
    return next_midnight(at - INSTANT) == at
