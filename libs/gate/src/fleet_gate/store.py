"""The states in the database: one row for each scope and target, replaced by newer ones only."""

from collections.abc import Sequence

import asyncpg
from fleet_chassis.database import Database
from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.vocabulary import StateScope, TradingStateWord

_KEEP = """
INSERT INTO trading_state AS held (scope, target, state, epoch, version, changed_by, reason, changed_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[],
                     $8::timestamptz[])
ON CONFLICT (scope, target) DO UPDATE
SET state = excluded.state, epoch = excluded.epoch, version = excluded.version, changed_by = excluded.changed_by,
    reason = excluded.reason, changed_at = excluded.changed_at
WHERE (held.epoch, held.version) < (excluded.epoch, excluded.version)
"""


async def keep(database: Database, changes: Sequence[TradingStateChanged]) -> None:
    """Keeps the newest of each scope and target; `changes` names each scope and target once."""
    # Sorted, so that two instances that keep the same states at once do not wait for each other in a circle.
    ordered = sorted(changes, key=lambda change: (change.scope, change.target or ""))
    async with database.connection() as connection:
        await connection.execute(
            _KEEP,
            [change.scope.value for change in ordered],
            [change.target for change in ordered],
            [change.state.value for change in ordered],
            [change.epoch for change in ordered],
            [change.version for change in ordered],
            [change.by for change in ordered],
            [change.reason for change in ordered],
            [change.changed_at for change in ordered],
        )


async def load(database: Database) -> list[TradingStateChanged]:
    """What was kept."""
    async with database.connection() as connection:
        rows = await connection.fetch("SELECT * FROM trading_state")
    return [change_of(row) for row in rows]


def change_of(row: asyncpg.Record) -> TradingStateChanged:
    """A row of `trading_state`."""
    return TradingStateChanged(
        scope=StateScope(row["scope"]),
        target=row["target"],
        state=TradingStateWord(row["state"]),
        epoch=row["epoch"],
        version=row["version"],
        by=row["changed_by"],
        reason=row["reason"],
        changed_at=row["changed_at"],
    )
