"""One PostgreSQL transaction with its outbox: what is published in it is numbered and stored just before COMMIT."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

import asyncpg
from fleet_chassis.database import Database, columns
from fleet_chassis.ids import new_id
from fleet_contracts import Message, Topic, encode_cut
from fleet_contracts.partitioning import partition

from .received import TOMBSTONE
from .tracing import current_traceparent
from .writing import Writing

ClockName = Literal["wall", "market"]

MOST_BYTES = 900_000
"""The longest payload of a record, by a CHECK of the outbox."""

# The sequences of the (topic, key)s are raised in sorted order, which locks them in that order, and rows are inserted in
# the order of publishing once every sequence is held: both are parts of one statement.
_RAISE = """
INSERT INTO outbox_sequences AS s (topic, key, sequence)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) AS k (topic, key, n) ORDER BY topic, key
ON CONFLICT (topic, key) DO UPDATE SET sequence = s.sequence + excluded.sequence
RETURNING topic, key, sequence
"""
_STORE = """
INSERT INTO outbox (topic, partition, key, type, event_id, epoch, sequence, occurred_at, market_at, traceparent, payload)
SELECT m.topic, m.partition, m.key, m.type, m.event_id, (SELECT epoch FROM bus_writer), raised.sequence - m.behind,
       $1, m.market_at, m.traceparent, m.payload
FROM unnest($2::text[], $3::int[], $4::text[], $5::text[], $6::uuid[], $7::bigint[], $8::timestamptz[], $9::text[],
            $10::bytea[])
     WITH ORDINALITY AS m (topic, partition, key, type, event_id, behind, market_at, traceparent, payload, place)
JOIN raised ON raised.topic = m.topic AND raised.key = m.key
ORDER BY m.place
"""
_SCHEDULE = """
INSERT INTO due (kind, aggregate_id, sequence, clock, due_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[], $5::timestamptz[])
ON CONFLICT (kind, aggregate_id, sequence) DO UPDATE SET clock = excluded.clock, due_at = excluded.due_at, attempts = 0
"""
_UNSCHEDULE = """
DELETE FROM due USING unnest($1::text[], $2::text[], $3::bigint[]) AS gone (kind, aggregate_id, sequence)
WHERE due.kind = gone.kind AND due.aggregate_id = gone.aggregate_id AND due.sequence = gone.sequence
"""


@dataclass(frozen=True, slots=True)
class _Published:
    topic: Topic
    key: str
    type: str
    event_id: UUID
    market_at: datetime | None
    traceparent: str | None
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class Woken:
    """What a committed transaction left for the background tasks: rows to send, and of each kind the earliest due row."""

    outbox: bool
    due: Mapping[str, datetime]


class Transaction:
    """Opened by libs/bus, the group committer and `api.py` only; a use case works inside the one it is given."""

    def __init__(self, connection: asyncpg.Connection, now: datetime) -> None:
        self.connection = connection
        self.now = now
        self._published: list[_Published] = []
        self._scheduled: dict[tuple[str, str, int], tuple[ClockName, datetime]] = {}
        self._unscheduled: set[tuple[str, str, int]] = set()
        self._before_commit: list[Callable[[], Awaitable[None]]] = []
        self._writing = Writing(connection)
        self._after_commit: list[Callable[[], None]] = []
        self._after_rollback: list[Callable[[], None]] = []

    def publish(self, topic: Topic, key: str, message: Message, *, market_at: datetime | None = None) -> None:
        """Sends the message if and only if this transaction commits. `market_at` is the market's time of what it says.

        What is too long for one record becomes several of the same key, each a valid message by itself."""
        if type(message) not in topic.messages:
            raise TypeError(f"{topic.name} does not carry {message.type_name()}")
        for payload in encode_cut(message, MOST_BYTES):
            self._collect(topic, key, message.type_name(), market_at, payload)

    def publish_tombstone(self, topic: Topic, key: str) -> None:
        """Takes the key out of a compacted topic."""
        if not topic.compacted:
            raise TypeError(f"{topic.name} is not compacted")
        self._collect(topic, key, TOMBSTONE, None, None)

    def _collect(
        self, topic: Topic, key: str, type_name: str, market_at: datetime | None, payload: bytes | None
    ) -> None:
        # The trace is that of whoever publishes, not of whoever commits.
        self._published.append(_Published(topic, key, type_name, new_id(), market_at, current_traceparent(), payload))

    def schedule(self, kind: str, aggregate_id: str, sequence: int, clock: ClockName, due_at: datetime) -> None:
        """Lets time cause something: the row (kind, aggregate_id, sequence) is due at `due_at` by this clock."""
        self._unscheduled.discard((kind, aggregate_id, sequence))
        self._scheduled[(kind, aggregate_id, sequence)] = (clock, due_at)

    def unschedule(self, kind: str, aggregate_id: str, sequence: int) -> None:
        self._scheduled.pop((kind, aggregate_id, sequence), None)
        self._unscheduled.add((kind, aggregate_id, sequence))

    def write(self, statement: str, *values: object, expects: int | None = None) -> None:
        """Leaves an INSERT, UPDATE or DELETE for the last moment, when all of them go out as one statement.

        They do not see each other's rows, and no two may change the same one. `expects`: so many rows are RETURNING,
        else Conflict."""
        self._writing.add(statement, *values, expects=expects)

    def before_commit(self, step: Callable[[], Awaitable[None]]) -> None:
        """Runs just before what was published is numbered; may itself publish and schedule."""
        self._before_commit.append(step)

    def after_commit(self, step: Callable[[], None]) -> None:
        self._after_commit.append(step)

    def after_rollback(self, step: Callable[[], None]) -> None:
        self._after_rollback.append(step)

    async def finish(self) -> Woken:
        """Writes what was collected; the last thing before COMMIT."""
        for step in self._before_commit:
            await step()
        if self._unscheduled:
            self.write(_UNSCHEDULE, *columns(sorted(self._unscheduled), 3))
        if self._scheduled:
            rows = [(*due, clock, due_at) for due, (clock, due_at) in sorted(self._scheduled.items())]
            self.write(_SCHEDULE, *columns(rows, 5))
        if self._published:
            self._store_published()
        await self._writing.execute()
        earliest: dict[str, datetime] = {}
        for (kind, _, _), (_, due_at) in self._scheduled.items():
            earliest[kind] = min(due_at, earliest.get(kind, due_at))
        return Woken(bool(self._published), earliest)

    def committed(self) -> None:
        self._end(self._after_commit)

    def rolled_back(self) -> None:
        self._end(self._after_rollback)

    def _end(self, steps: Sequence[Callable[[], None]]) -> None:
        """Whoever left a step here holds this transaction: were they not let go, all that it touched would lie in memory
        until the collector of cycles comes by, which took a fifth of the CPU of an order."""
        for step in steps:
            step()
        for left in (self._before_commit, self._after_commit, self._after_rollback):
            left.clear()

    def _store_published(self) -> None:
        counts: dict[tuple[str, str], int] = {}
        places: list[int] = []
        for message in self._published:
            place = (message.topic.name, message.key)
            counts[place] = counts.get(place, 0) + 1
            places.append(counts[place])
        rows = [
            (
                m.topic.name,
                partition(m.key, m.topic.partitions),
                m.key,
                m.type,
                m.event_id,
                counts[(m.topic.name, m.key)] - nth,
                m.market_at,
                m.traceparent,
                m.payload,
            )
            for m, nth in zip(self._published, places, strict=True)
        ]
        raised = [(topic, key, count) for (topic, key), count in sorted(counts.items())]
        self._writing.add(_RAISE, *columns(raised, 3), name="raised")
        self._writing.add(_STORE, self.now, *columns(rows, 9))


@contextlib.asynccontextmanager
async def open_transaction(
    database: Database, now: datetime, woken: Callable[[Woken], None]
) -> AsyncIterator[Transaction]:
    """A transaction that is committed when the block ends; `woken` hears what it left for the background tasks."""
    transaction: Transaction | None = None
    try:
        async with database.transaction() as connection:
            transaction = Transaction(connection, now)
            yield transaction
            left = await transaction.finish()
    except BaseException:
        if transaction is not None:
            transaction.rolled_back()
        raise
    transaction.committed()
    woken(left)
