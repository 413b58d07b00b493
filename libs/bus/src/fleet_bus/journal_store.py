"""A journal's rows: who owns a partition, the facts between its records, and its snapshots."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from fleet_chassis.database import Database, columns

CHUNK_BYTES = 4 << 20
"""A transaction each: a snapshot of a million orders stays far from `transaction_timeout`."""
KEPT_SNAPSHOTS = 2
"""The newest, and the one before it for whoever finds the newest wanting."""

_TAKE_OVER = """
INSERT INTO journal AS j (topic, partition, epoch, claimed_offset) VALUES ($1, $2, 1, $3)
ON CONFLICT (topic, partition) DO UPDATE SET epoch = j.epoch + 1
RETURNING epoch, claimed_offset
"""
# The claim and the facts before it in one statement: either this epoch still owns the partition, or nothing is written.
# Saying the same again after a lost answer changes nothing.
_CLAIM = """
WITH mine AS (
    UPDATE journal SET claimed_offset = $4 WHERE topic = $1 AND partition = $2 AND epoch = $3 RETURNING 1
), kept AS (
    INSERT INTO journal_facts (topic, partition, after_offset, number, at, kind, payload)
    SELECT $1, $2, f.* FROM mine, unnest($5::bigint[], $6::bigint[], $7::timestamptz[], $8::text[], $9::bytea[]) AS f
    ON CONFLICT DO NOTHING
)
SELECT EXISTS (SELECT FROM mine)
"""
_FACTS = """
SELECT after_offset, number, at, kind, payload FROM journal_facts
WHERE topic = $1 AND partition = $2 AND (after_offset, number) > ($3, $4) ORDER BY after_offset, number
"""
_SNAPSHOTS = """
SELECT after_offset, number, epoch, chunks FROM journal_snapshots
WHERE topic = $1 AND partition = $2 ORDER BY after_offset DESC, number DESC, epoch DESC
"""
_CHUNK = """
SELECT content FROM journal_snapshot_chunks
WHERE topic = $1 AND partition = $2 AND after_offset = $3 AND number = $4 AND epoch = $5 AND place = $6
"""
_ADD_CHUNK = """
INSERT INTO journal_snapshot_chunks (topic, partition, after_offset, number, epoch, place, content)
VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING
"""
_ADD_SNAPSHOT = """
INSERT INTO journal_snapshots (topic, partition, after_offset, number, epoch, chunks, taken_at)
SELECT $1, $2, $3, $4, $5, $6, $7 FROM journal WHERE topic = $1 AND partition = $2 AND epoch = $5
ON CONFLICT DO NOTHING
"""
_FORGET = (
    """
DELETE FROM journal_snapshots WHERE topic = $1 AND partition = $2 AND (after_offset, number) < ($3, $4)
""",
    """
DELETE FROM journal_snapshot_chunks WHERE topic = $1 AND partition = $2 AND (after_offset, number) < ($3, $4)
""",
    """
DELETE FROM journal_facts WHERE topic = $1 AND partition = $2 AND (after_offset, number) <= ($3, $4)
""",
)


class Place(NamedTuple):
    """Where a journal stands: after the records below `offset`, and after so many of the facts that follow them."""

    offset: int
    number: int


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that changes the machine and is no record of the log."""

    kind: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class StoredFact:
    place: Place
    """`number` is the fact's own, counted from 1 at each offset."""
    at: datetime
    fact: Fact


class JournalStore:
    """One partition's rows."""

    def __init__(self, database: Database, topic: str, partition: int) -> None:
        self._database = database
        self.place = (topic, partition)

    async def take_over(self) -> tuple[int, int]:
        """Raises the epoch; from now on nobody else can claim. Answers (epoch, claimed offset)."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(_TAKE_OVER, *self.place, 0)
        assert row is not None
        return row["epoch"], row["claimed_offset"]

    async def claim(self, epoch: int, claimed_offset: int, facts: Sequence[StoredFact]) -> bool:
        """Makes these facts, and then the records below `claimed_offset`, part of the journal. False: fenced off."""
        rows = [(*fact.place, fact.at, fact.fact.kind, fact.fact.payload) for fact in facts]
        async with self._database.transaction() as connection:
            return bool(await connection.fetchval(_CLAIM, *self.place, epoch, claimed_offset, *columns(rows, 5)))

    async def facts_after(self, place: Place) -> list[StoredFact]:
        async with self._database.connection() as connection:
            rows = await connection.fetch(_FACTS, *self.place, *place)
        return [
            StoredFact(Place(row["after_offset"], row["number"]), row["at"], Fact(row["kind"], row["payload"]))
            for row in rows
        ]

    async def newest_snapshot(self) -> bytes | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_SNAPSHOTS + "LIMIT 1", *self.place)
            if row is None:
                return None
            place = (*self.place, row["after_offset"], row["number"], row["epoch"])
            parts = [await connection.fetchval(_CHUNK, *place, number) for number in range(row["chunks"])]
        return b"".join(parts)

    async def add_snapshot(self, epoch: int, place: Place, content: bytes, taken_at: datetime) -> None:
        """Chunk by chunk, and its row last: what has no row is no snapshot. Nothing is added once fenced off."""
        chunks = [content[start : start + CHUNK_BYTES] for start in range(0, len(content), CHUNK_BYTES)]
        for number, chunk in enumerate(chunks):
            await self._execute(_ADD_CHUNK, *place, epoch, number, chunk)
            await asyncio.sleep(0)
        await self._execute(_ADD_SNAPSHOT, *place, epoch, len(chunks), taken_at)

    async def forget_before_snapshots(self) -> int:
        """Forgets what lies behind the kept snapshots. Answers the offset before which the log is not needed."""
        async with self._database.connection() as connection:
            kept = await connection.fetch(_SNAPSHOTS + "LIMIT $3", *self.place, KEPT_SNAPSHOTS)
        if len(kept) < KEPT_SNAPSHOTS:
            return 0
        oldest = kept[-1]
        for statement in _FORGET:
            await self._execute(statement, oldest["after_offset"], oldest["number"])
        return int(oldest["after_offset"])

    async def _execute(self, statement: str, *values: object) -> None:
        async with self._database.transaction() as connection:
            await connection.execute(statement, *self.place, *values)


async def writer_epoch(database: Database) -> int:
    """Of what this database says: 1, and one more after each restore."""
    async with database.connection() as connection:
        return int(await connection.fetchval("SELECT epoch FROM bus_writer"))
