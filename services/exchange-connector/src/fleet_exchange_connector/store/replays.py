"""Replays: rows to domain and back, and the notes made while one waits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
from fleet_bus import Transaction

from fleet_exchange_connector.domain.replays import Phase, Replay, ReplayStatus

_COLUMNS = """replay_id, user_id, symbols, timeframe, start_at, end_at, pace, steps, bars_total, status, step, phase, bars,
market_at, waiting_for, is_cancel_requested, reason, created_at, updated_at"""
_ADD = f"""
INSERT INTO replays ({_COLUMNS}, idempotency_key, request_hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
"""  # noqa: S608
_SAVE = """
UPDATE replays SET status = $2, step = $3, phase = $4, bars = $5, market_at = $6, waiting_for = $7,
    is_cancel_requested = $8, reason = $9, updated_at = $10
WHERE replay_id = $1
"""
_NOTE = """
UPDATE replays SET status = $2, waiting_for = $3, updated_at = $4
WHERE replay_id = $1 AND status IN ('running', 'stalled')
"""
_STATE = """
SELECT max(market_at) AS reached, (max(replay_id::text) FILTER (WHERE status IN ('running', 'stalled')))::uuid AS running
FROM replays
"""
# Replays are begun one after another: the check of what runs, and of the time reached, must hold until COMMIT.
_START_LOCK = 0xEC_0002


@dataclass(frozen=True, slots=True)
class Asked:
    """An earlier request under the same idempotency key."""

    replay: Replay
    request_hash: bytes


async def begin(connection: asyncpg.Connection) -> tuple[UUID | None, datetime | None]:
    """The replay that runs and the market time that was reached; until COMMIT no other begins."""
    await connection.execute("SELECT pg_advisory_xact_lock($1)", _START_LOCK)
    row = await connection.fetchrow(_STATE)
    assert row is not None, "an aggregate has a row"
    return row["running"], row["reached"]


async def asked(connection: asyncpg.Connection, user_id: UUID, key: str) -> Asked | None:
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS}, request_hash FROM replays WHERE user_id = $1 AND idempotency_key = $2",  # noqa: S608
        user_id,
        key,
    )
    return None if row is None else Asked(_replay(row), row["request_hash"])


async def add(connection: asyncpg.Connection, replay: Replay, key: str | None, request_hash: bytes) -> None:
    await connection.execute(_ADD, *_values(replay), key, request_hash)


async def read(connection: asyncpg.Connection, replay_id: UUID, *, lock: bool = False) -> Replay | None:
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM replays WHERE replay_id = $1" + (" FOR NO KEY UPDATE" if lock else ""),  # noqa: S608
        replay_id,
    )
    return None if row is None else _replay(row)


async def newest(connection: asyncpg.Connection, limit: int, before: tuple[datetime, UUID] | None) -> Sequence[Replay]:
    at, replay_id = before or (None, None)
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM replays"  # noqa: S608
        " WHERE $2::timestamptz IS NULL OR (created_at, replay_id) < ($2, $3::uuid)"
        " ORDER BY created_at DESC, replay_id DESC LIMIT $1",
        limit,
        at,
        replay_id,
    )
    return [_replay(row) for row in rows]


def save(tx: Transaction, replay: Replay) -> None:
    tx.write(
        _SAVE,
        replay.replay_id,
        replay.status.value,
        replay.step,
        replay.phase.value,
        replay.bars,
        replay.market_at,
        list(replay.waiting_for),
        replay.is_cancel_requested,
        replay.reason,
        replay.updated_at,
    )


async def note_waiting(
    connection: asyncpg.Connection, replay_id: UUID, status: ReplayStatus, waiting_for: Sequence[str], now: datetime
) -> None:
    """While it waits: what for, and whether for so long that it is stalled. Changes nothing that it would do."""
    await connection.execute(_NOTE, replay_id, status.value, list(waiting_for), now)


def _replay(row: asyncpg.Record) -> Replay:
    fields: dict[str, Any] = {name: value for name, value in row.items() if name != "request_hash"}
    fields["symbols"] = tuple(row["symbols"])
    fields["waiting_for"] = tuple(row["waiting_for"])
    fields["status"] = ReplayStatus(row["status"])
    fields["phase"] = Phase(row["phase"])
    return Replay(**fields)


def _values(replay: Replay) -> tuple[Any, ...]:
    return (
        replay.replay_id,
        replay.user_id,
        list(replay.symbols),
        replay.timeframe,
        replay.start_at,
        replay.end_at,
        replay.pace,
        replay.steps,
        replay.bars_total,
        replay.status.value,
        replay.step,
        replay.phase.value,
        replay.bars,
        replay.market_at,
        list(replay.waiting_for),
        replay.is_cancel_requested,
        replay.reason,
        replay.created_at,
        replay.updated_at,
    )
