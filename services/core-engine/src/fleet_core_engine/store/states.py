"""The trading state: its changes, and what holds now."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from fleet_bus import Transaction, tell_acted
from fleet_chassis.database import columns
from fleet_contracts.audit import Change
from fleet_contracts.core_engine import Alert, TradingStateChanged
from fleet_contracts.topics import CORE_ENGINE_ALERTS, CORE_ENGINE_AUDIT, CORE_ENGINE_STATE
from fleet_contracts.vocabulary import StateScope
from fleet_gate import States, change_of, state_key

from fleet_core_engine.domain.pace import Pace
from fleet_core_engine.domain.signals import Word

_COUNT_FROM = """
UPDATE trading_state_version SET version = greatest(version, $1)
RETURNING (SELECT epoch FROM bus_writer) AS epoch, version
"""
_HELD = "SELECT * FROM trading_state WHERE scope = $1 AND target IS NOT DISTINCT FROM $2"
_HELD_OF_ACCOUNTS = "SELECT * FROM trading_state WHERE scope = 'account' AND target = ANY($1::text[])"
_HELD_BY_OTHERS = """
SELECT * FROM trading_state_changes WHERE scope = $1 AND target IS NOT DISTINCT FROM $2 AND changed_by <> $3
ORDER BY version DESC LIMIT 1
"""
_SAY = """
INSERT INTO trading_state_changes (scope, target, state, epoch, version, changed_by, reason, changed_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[],
                     $8::timestamptz[])
ON CONFLICT (version) DO NOTHING -- one told without us may have the number of one that it did not know of
"""
_HOLD = """
INSERT INTO trading_state (scope, target, state, epoch, version, changed_by, reason, changed_at)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[], $6::text[], $7::text[],
                     $8::timestamptz[])
ON CONFLICT (scope, target) DO UPDATE
SET state = excluded.state, epoch = excluded.epoch, version = excluded.version, changed_by = excluded.changed_by,
    reason = excluded.reason, changed_at = excluded.changed_at
"""


class PostgresStateUnitOfWork:
    """The trading state under the lock of its version. What is saved is written together, just before COMMIT: when a market
    crashes, risk restricts hundreds of accounts in one transaction, and the halt of the system waits for this lock."""

    def __init__(self, transaction: Transaction) -> None:
        self._tx = transaction
        self._number: tuple[int, int] | None = None
        self._read: dict[str, TradingStateChanged | None] = {}
        self._said: list[TradingStateChanged] = []
        self._held: dict[str, TradingStateChanged] = {}
        transaction.before_commit(self._write)

    async def lock(self, accounts: Sequence[str]) -> None:
        """For risk, which decides on what is held of these accounts before a version is taken."""
        if accounts:
            await self.count_from(0)
            self._read = {state_key(StateScope.ACCOUNT, account): None for account in accounts}
            for row in await self._tx.connection.fetch(_HELD_OF_ACCOUNTS, accounts):
                self._read[state_key(StateScope.ACCOUNT, row["target"])] = change_of(row)

    async def flush(self) -> None:
        """All is written before COMMIT."""

    @property
    def now(self) -> datetime:
        return self._tx.now

    async def next_version(self) -> tuple[int, int]:
        if self._number is None:
            await self.count_from(0)
        assert self._number is not None
        epoch, version = self._number
        self._number = epoch, version + 1
        return self._number

    async def count_from(self, version: int) -> None:
        row = await self._tx.connection.fetchrow(_COUNT_FROM, version)
        assert row is not None
        self._number = row["epoch"], row["version"]

    async def held(self, scope: StateScope, target: str | None) -> TradingStateChanged | None:
        key = state_key(scope, target)
        if key in self._held or key in self._read:
            return self._held.get(key) or self._read[key]
        row = await self._tx.connection.fetchrow(_HELD, scope.value, target)
        return None if row is None else change_of(row)

    async def held_by_others(self, scope: StateScope, target: str | None, by: str) -> TradingStateChanged | None:
        for change in reversed(self._said):  # not written yet, and newer than what is
            if (change.scope, change.target) == (scope, target) and change.by != by:
                return change
        row = await self._tx.connection.fetchrow(_HELD_BY_OTHERS, scope.value, target, by)
        return None if row is None else change_of(row)

    def note(self, change: TradingStateChanged) -> None:
        self._said.append(change)

    def save(self, change: TradingStateChanged) -> None:
        self.note(change)
        key = state_key(change.scope, change.target)
        self._held[key] = change
        self._tx.publish(CORE_ENGINE_STATE, key, change)

    def tell_breached(self, account_id: str, alert: Alert) -> None:
        """An alert of a moment: who listens hears it, and it stands nowhere."""
        key = f"account:{account_id}"
        self._tx.publish(CORE_ENGINE_ALERTS, key, alert)
        self._tx.publish_tombstone(CORE_ENGINE_ALERTS, key)

    async def _write(self) -> None:
        if self._number is not None and self._said:
            self._tx.write("UPDATE trading_state_version SET version = $1", self._number[1])
            self._tx.write(_SAY, *columns([_row(change) for change in self._said], 8))
        if self._held:
            self._tx.write(_HOLD, *columns([_row(change) for change in self._held.values()], 8))

    def tell_acted(self, action: str, change: TradingStateChanged, before: TradingStateChanged | None) -> None:
        state = Change(name="state", before=None if before is None else before.state.value, after=change.state.value)
        target = state_key(change.scope, change.target)
        tell_acted(self._tx, CORE_ENGINE_AUDIT, action, target, state, by=change.by, reason=change.reason)


def _row(change: TradingStateChanged) -> tuple[object, ...]:
    scope, state, number = change.scope.value, change.state.value, (change.epoch, change.version)
    return (scope, change.target, state, *number, change.by, change.reason, change.changed_at)


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
    """The newest change of every scope and target there was one of."""
    return [change_of(row) for row in await connection.fetch("SELECT * FROM trading_state")]


async def shown_states(connection: asyncpg.Connection) -> list[TradingStateChanged]:
    """The same, the system's first, without the accounts that are active again: they grow in number for ever."""
    rows = await connection.fetch(
        "SELECT * FROM trading_state WHERE scope <> 'account' OR state <> 'active'"
        " ORDER BY scope <> 'system', scope, target"
    )
    return [change_of(row) for row in rows]
