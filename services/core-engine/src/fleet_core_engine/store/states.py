"""The trading state: its changes, and what holds now."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from fleet_bus import Transaction, tell_acted
from fleet_contracts.audit import Change
from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.topics import CORE_ENGINE_AUDIT, CORE_ENGINE_STATE
from fleet_contracts.vocabulary import StateScope
from fleet_gate import States, change_of, state_key

from fleet_core_engine.domain.pace import Pace
from fleet_core_engine.domain.signals import Word

_NEXT_VERSION = """
UPDATE trading_state_version SET version = version + 1
RETURNING (SELECT epoch FROM bus_writer) AS epoch, version
"""
_COUNT_FROM = "UPDATE trading_state_version SET version = greatest(version, $1)"
_HELD = "SELECT * FROM trading_state WHERE scope = $1 AND target IS NOT DISTINCT FROM $2"
_HELD_BY_OTHERS = """
SELECT * FROM trading_state_changes WHERE scope = $1 AND target IS NOT DISTINCT FROM $2 AND changed_by <> $3
ORDER BY version DESC LIMIT 1
"""
_SAVE = """
WITH said AS (
    INSERT INTO trading_state_changes (scope, target, state, epoch, version, changed_by, reason, changed_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
    ON CONFLICT (version) DO NOTHING -- one told without us may have the number of one that it did not know of
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

    async def lock(self, _ids: object) -> None:
        """For who decides on what is held before a version is taken."""
        await self.count_from(0)

    async def flush(self) -> None:
        """All is written when it is saved."""

    @property
    def now(self) -> datetime:
        return self._tx.now

    async def next_version(self) -> tuple[int, int]:
        row = await self._tx.connection.fetchrow(_NEXT_VERSION)
        assert row is not None
        return row["epoch"], row["version"]

    async def count_from(self, version: int) -> None:
        await self._tx.connection.execute(_COUNT_FROM, version)

    async def held(self, scope: StateScope, target: str | None) -> TradingStateChanged | None:
        row = await self._tx.connection.fetchrow(_HELD, scope.value, target)
        return None if row is None else change_of(row)

    async def held_by_others(self, scope: StateScope, target: str | None, by: str) -> TradingStateChanged | None:
        row = await self._tx.connection.fetchrow(_HELD_BY_OTHERS, scope.value, target, by)
        return None if row is None else change_of(row)

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

    def tell_acted(self, action: str, change: TradingStateChanged, before: TradingStateChanged | None) -> None:
        state = Change(name="state", before=None if before is None else before.state.value, after=change.state.value)
        target = state_key(change.scope, change.target)
        tell_acted(self._tx, CORE_ENGINE_AUDIT, action, target, state, by=change.by, reason=change.reason)


_PACE = "SELECT * FROM signal_pace WHERE deployment_id = ANY($1::uuid[]) ORDER BY deployment_id FOR UPDATE"
_ADD_PACE = """
INSERT INTO signal_pace (deployment_id, minute, accepted, recent)
SELECT id, 'epoch', 0, '{}' FROM unnest($1::uuid[]) AS id ON CONFLICT DO NOTHING
"""
_SAVE_PACE = "UPDATE signal_pace SET minute = $2, accepted = $3, recent = $4 WHERE deployment_id = $1"


class PostgresSignalUnitOfWork:
    """The trading states that signals are judged by, and the pace of the deployments, locked, whose ids are touched."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self._states = States()
        self._paces: dict[UUID, Pace] = {}

    @property
    def now(self) -> datetime:
        return self.transaction.now

    async def lock(self, ids: Sequence[str]) -> None:
        connection = self.transaction.connection
        self._states = await restrictions(connection)
        deployments = [UUID(identity) for identity in ids]
        rows = await connection.fetch(_PACE, deployments) if deployments else []
        if len(rows) < len(deployments):
            await connection.execute(_ADD_PACE, deployments)
            rows = await connection.fetch(_PACE, deployments)
        self._paces = {row["deployment_id"]: Pace(row["minute"], row["accepted"], row["recent"]) for row in rows}

    def pace(self, deployment_id: UUID) -> Pace:
        return self._paces[deployment_id]

    def word(self, symbol: str, venue: str | None, account_id: UUID) -> Word:
        return Word(self._states.strictest(symbol=symbol, venue=venue, account_id=account_id).value)

    async def flush(self) -> None:
        if self._paces:
            rows = [(deployment, one.minute, one.accepted, one.recent) for deployment, one in self._paces.items()]
            await self.transaction.connection.executemany(_SAVE_PACE, rows)


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
