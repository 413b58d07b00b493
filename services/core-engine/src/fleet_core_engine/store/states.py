"""The trading state: its changes, and what holds now."""

from datetime import datetime
from uuid import UUID

import asyncpg
from fleet_bus import Transaction
from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.topics import CORE_ENGINE_STATE
from fleet_gate import States, change_of, state_key

from fleet_core_engine.domain.signals import Word

_NEXT_VERSION = """
UPDATE trading_state_version SET version = version + 1
RETURNING (SELECT epoch FROM bus_writer) AS epoch, version
"""
_SAVE = """
WITH said AS (
    INSERT INTO trading_state_changes (scope, target, state, epoch, version, changed_by, reason, changed_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
)
INSERT INTO trading_state (scope, target, state, epoch, version, changed_by, reason, changed_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (scope, target) DO UPDATE
SET state = excluded.state, epoch = excluded.epoch, version = excluded.version, changed_by = excluded.changed_by,
    reason = excluded.reason, changed_at = excluded.changed_at
"""


class PostgresStateUnitOfWork:
    """The trading state under the lock of its version."""

    def __init__(self, transaction: Transaction) -> None:
        self._tx = transaction

    @property
    def now(self) -> datetime:
        return self._tx.now

    async def next_version(self) -> tuple[int, int]:
        row = await self._tx.connection.fetchrow(_NEXT_VERSION)
        assert row is not None
        return row["epoch"], row["version"]

    async def save(self, change: TradingStateChanged) -> None:
        await self._tx.connection.execute(
            _SAVE,
            change.scope.value,
            change.target,
            change.state.value,
            change.epoch,
            change.version,
            change.by,
            change.reason,
            change.changed_at,
        )
        self._tx.publish(CORE_ENGINE_STATE, state_key(change.scope, change.target), change)


class PostgresSignalUnitOfWork:
    """The trading states that signals are judged by. Nothing of core-engine's own changes with a signal."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self._states = States()

    @property
    def now(self) -> datetime:
        return self.transaction.now

    async def lock(self, _ids: object) -> None:
        self._states = await restrictions(self.transaction.connection)

    def word(self, symbol: str, account_id: UUID) -> Word:
        return Word(self._states.strictest(symbol=symbol, account_id=account_id).value)

    async def flush(self) -> None:
        """There is nothing to write: what is decided is published."""


async def restrictions(connection: asyncpg.Connection) -> States:
    """The states that restrict anything: a handful, mostly none, however many there have been."""
    states = States()
    for row in await connection.fetch("SELECT * FROM trading_state WHERE state <> 'active'"):
        states.obey(change_of(row))
    return states


async def current_states(connection: asyncpg.Connection) -> list[TradingStateChanged]:
    """The newest change of every scope and target there was one of, the system's first."""
    rows = await connection.fetch("SELECT * FROM trading_state ORDER BY scope <> 'system', scope, target")
    return [change_of(row) for row in rows]
