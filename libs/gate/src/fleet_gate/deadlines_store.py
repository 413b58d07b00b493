"""Deadlines in the database: one row for each account that has ever set one."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
from fleet_chassis.database import Database, columns
from fleet_contracts.trading import CancelAfterSet

# Whoever sets it holds its row, so that `set_at` rises, whatever the clocks of two replicas say.
_SET = """
INSERT INTO cancel_after AS held (account_id, user_id, set_at, cancel_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (account_id) DO UPDATE
SET user_id = excluded.user_id, cancel_at = excluded.cancel_at,
    set_at = greatest(excluded.set_at, held.set_at + interval '1 microsecond'),
    passed_at = CASE WHEN held.cancel_at <= excluded.set_at THEN held.cancel_at ELSE held.passed_at END
RETURNING account_id, user_id, set_at, cancel_at, passed_at
"""
_KEEP = """
INSERT INTO cancel_after AS held (account_id, user_id, set_at, cancel_at, passed_at)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[])
ON CONFLICT (account_id) DO UPDATE
SET user_id = excluded.user_id, set_at = excluded.set_at, cancel_at = excluded.cancel_at, passed_at = excluded.passed_at
WHERE held.set_at < excluded.set_at
"""


async def set_cancel_after(
    connection: asyncpg.Connection, account_id: UUID, user_id: UUID, *, now: datetime, timeout: timedelta | None
) -> CancelAfterSet:
    """Sets it, in trading's database, for this long from now; None: nothing is ahead any more."""
    (row,) = await connection.fetch(_SET, account_id, user_id, now, None if timeout is None else now + timeout)
    return CancelAfterSet(**row)


async def keep(database: Database, told: Sequence[CancelAfterSet]) -> None:
    """Keeps the newest of each account; `told` names each once."""
    # Sorted, so that two instances that keep the same at once do not wait for each other in a circle.
    ordered = sorted(told, key=lambda one: one.account_id)
    rows = [(one.account_id, one.user_id, one.set_at, one.cancel_at, one.passed_at) for one in ordered]
    async with database.connection() as connection:
        await connection.execute(_KEEP, *columns(rows, 5))


async def load(database: Database) -> list[CancelAfterSet]:
    """What was kept."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT account_id, user_id, set_at, cancel_at, passed_at FROM cancel_after")
    return [CancelAfterSet(**row) for row in rows]
