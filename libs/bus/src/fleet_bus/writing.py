"""What a transaction writes, sent as one statement: a round trip costs more than the writing itself."""

import re
from functools import lru_cache

import asyncpg

from .failures import Conflict

_PLACEHOLDER = re.compile(r"\$(\d+)")


class Writing:
    """INSERTs, UPDATEs and DELETEs that become the parts of one WITH.

    All parts see the database as it was before: none sees what another wrote, and no two may change the same row."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection
        self._parts: list[tuple[str, str, int, bool]] = []
        self._values: list[object] = []
        self._expected: list[int] = []

    def add(self, statement: str, *values: object, name: str = "", expects: int | None = None) -> None:
        """Adds a part with its values $1, $2 …; a later part may read what it is RETURNING under its `name`."""
        self._parts.append((statement, name, len(values), expects is not None))
        self._values.extend(values)
        if expects is not None:
            self._expected.append(expects)

    async def execute(self) -> None:
        """Sends all parts. Raises Conflict where a part returned other than the rows it expects."""
        if not self._parts:
            return
        counts = await self._connection.fetchrow(_composed(tuple(self._parts)), *self._values)
        expected, self._expected = self._expected, []
        self._parts.clear()
        self._values.clear()
        if counts is None or list(counts)[1:] != expected:
            raise Conflict("another process has changed the same rows")


@lru_cache(maxsize=1024)
def _composed(parts: tuple[tuple[str, str, int, bool], ...]) -> str:
    """The one statement; there are as many as combinations of parts, each prepared once."""
    queries: list[str] = []
    counts = ["true"]
    first = 0
    for place, (statement, given_name, values, is_counted) in enumerate(parts):
        name = given_name or f"part_{place}"
        queries.append(f"{name} AS ({_renumbered(statement, first)})")
        first += values
        if is_counted:
            counts.append(f"(SELECT count(*) FROM {name})")  # noqa: S608  our own names
    return f"WITH {', '.join(queries)} SELECT {', '.join(counts)}"


def _renumbered(statement: str, first: int) -> str:
    return _PLACEHOLDER.sub(lambda found: f"${int(found[1]) + first}", statement)
