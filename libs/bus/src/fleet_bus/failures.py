"""Three kinds of failure: *down* waits, *not yet* waits in `parked`, everything else is *bad* and parks its key."""

import asyncpg
from aiokafka.errors import KafkaError
from fleet_chassis import database


class NotYet(Exception):
    """Something that another topic will bring is not there yet, for example `NotYet("instrument AAPL/USD")`."""


class Conflict(Exception):
    """Another process moved this key while we worked on it; what we did is rolled back and done again."""


def is_down(error: BaseException) -> bool:
    """Whether trying again later, with nothing changed, is what helps."""
    return database.is_down(error) or isinstance(
        error, KafkaError | OSError | asyncpg.InterfaceError | database.CommitOutcomeUnknown | Conflict
    )
