"""Three kinds of failure: *down* waits, *not yet* waits in `parked`, everything else is *bad* and parks its key."""

import time

import asyncpg
from aiokafka.errors import KafkaError
from fleet_chassis import database


class NotYet(Exception):
    """Something that another topic will bring is not there yet, for example `NotYet("instrument AAPL/USD")`."""


class Conflict(Exception):
    """Another process moved this key while we worked on it; what we did is rolled back and done again."""


def is_down(error: BaseException) -> bool:
    """Whether trying again later, with nothing changed, is what helps."""
    if isinstance(error, asyncpg.InterfaceError):
        # asyncpg's word for a lost connection, but also for an argument that does not fit its column (a ValueError too).
        return not isinstance(error, ValueError)
    return database.is_down(error) or isinstance(error, KafkaError | OSError | database.CommitOutcomeUnknown | Conflict)


class Streak:
    """Failures in a row: how long to wait after each, and which to log, so that an hour without Kafka is not a flood."""

    def __init__(self, *, first_s: float, most_s: float, tell_every_s: float = 60.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._tell_every_s = tell_every_s
        self._told_at: float | None = None
        self.count = 0

    def failed(self) -> tuple[float, bool]:
        """The pause before the next try, twice as long each time up to a bound; and whether to log this one."""
        now = time.monotonic()
        is_told = self._told_at is None or now - self._told_at >= self._tell_every_s
        if is_told:
            self._told_at = now
        self.count += 1
        return min(self._first_s * 2.0 ** min(self.count - 1, 20), self._most_s), is_told

    def ended(self) -> bool:
        """It works again; True if it had not."""
        had_failed = self.count > 0
        self.count, self._told_at = 0, None
        return had_failed
