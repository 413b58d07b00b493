"""The table of the audit log, and of its digests."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

import asyncpg
import msgspec
from fleet_bus.auditing import acted
from fleet_chassis.ids import new_id
from fleet_contracts.audit import AdminActed, Change

from .domain import NOTHING_BEFORE, Digest, Entry

BATCH = 1_000
"""Rows read at once when all of the log is: about 1 MB."""
_ENTRY = """
number, event_id, service, actor, action, target, changes, reason, request_id, acted_at, recorded_at, address, hash
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries; None takes all."""

    service: str | None
    actor: str | None
    action: str | None
    target: str | None


@dataclass(frozen=True, slots=True)
class Kept:
    """An entry as its row says, and the hash beside it."""

    entry: Entry
    hash: bytes


class AuditLog:
    """The end of the log, to which one at a time adds; `now` is when the transaction of the connection began."""

    def __init__(self, connection: asyncpg.Connection, now: datetime) -> None:
        self.now = now
        self._connection = connection

    async def note(self, action: str, target: str, *changes: Change, actor: str) -> None:
        """An act in auth itself. The last thing its transaction does, so that others wait for this only."""
        await self.add(acted(action, target, *changes, by=actor, at=self.now), service="auth", event_id=new_id())

    async def add(self, told: AdminActed, *, service: str, event_id: UUID) -> None:
        """Told twice, it is kept once."""
        number, previous = await self.end()
        if await self._connection.fetchval("SELECT true FROM audit_log WHERE event_id = $1", event_id):
            return
        entry = Entry(
            number=number + 1,
            event_id=event_id,
            service=service,
            actor=told.actor,
            action=told.action,
            target=told.target,
            changes=told.changes,
            reason=told.reason,
            request_id=told.request_id,
            acted_at=told.at,
            recorded_at=self.now,
            address=told.address,
        )
        await self._connection.execute(
            f"INSERT INTO audit_log ({_ENTRY}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",  # noqa: S608
            *msgspec.structs.astuple(entry),
            entry.hash_after(previous),
        )

    async def end(self) -> tuple[int, bytes]:
        """Number and hash of the last entry, which stays the last until this transaction is over."""
        await self._connection.execute("LOCK TABLE audit_log IN SHARE ROW EXCLUSIVE MODE")
        row = await self._connection.fetchrow("SELECT number, hash FROM audit_log ORDER BY number DESC LIMIT 1")
        return (0, NOTHING_BEFORE) if row is None else (row["number"], row["hash"])

    async def first_day(self) -> date | None:
        """The day of the first entry, UTC."""
        found: datetime | None = await self._connection.fetchval(
            "SELECT recorded_at FROM audit_log ORDER BY number LIMIT 1"
        )
        return None if found is None else found.date()

    async def last_digest(self) -> tuple[date, int] | None:
        """Its day, and how far it goes."""
        row = await self._connection.fetchrow("SELECT day, last_number FROM audit_digests ORDER BY day DESC LIMIT 1")
        return None if row is None else (row["day"], row["last_number"])

    async def add_digest(self, digest: Digest, token: str) -> None:
        await self._connection.execute(
            "INSERT INTO audit_digests (day, last_number, token) VALUES ($1, $2, $3)",
            digest.day,
            digest.last_number,
            token,
        )


async def entries_page(
    connection: asyncpg.Connection, wanted: Wanted, *, before: int | None, limit: int
) -> Sequence[Kept]:
    """The last first."""
    rows = await connection.fetch(
        f"""
        SELECT {_ENTRY} FROM audit_log
        WHERE ($1::text IS NULL OR service = $1) AND ($2::text IS NULL OR actor = $2)
            AND ($3::text IS NULL OR action = $3) AND ($4::text IS NULL OR target = $4)
            AND ($5::bigint IS NULL OR number < $5)
        ORDER BY number DESC LIMIT $6
        """,  # noqa: S608  constants, here and below
        wanted.service,
        wanted.actor,
        wanted.action,
        wanted.target,
        before,
        limit,
    )
    return [_kept(row) for row in rows]


async def all_entries(connection: asyncpg.Connection) -> AsyncIterator[Kept]:
    """The first first."""
    last = -1
    while True:
        rows = await connection.fetch(
            f"SELECT {_ENTRY} FROM audit_log WHERE number > $1 ORDER BY number LIMIT $2",  # noqa: S608
            last,
            BATCH,
        )
        for row in rows:
            yield _kept(row)
        if len(rows) < BATCH:
            return
        last = rows[-1]["number"]


async def all_digests(connection: asyncpg.Connection) -> Sequence[tuple[date, str]]:
    """Each day with its token."""
    rows = await connection.fetch("SELECT day, token FROM audit_digests ORDER BY day")
    return [(row["day"], row["token"]) for row in rows]


def _kept(row: asyncpg.Record) -> Kept:
    return Kept(msgspec.convert(dict(row), Entry), row["hash"])
