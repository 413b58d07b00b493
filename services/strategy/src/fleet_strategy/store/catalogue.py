"""Strategies and deployments of users."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import asyncpg
from fleet_bus import Transaction
from fleet_contracts.topics import STRATEGY_DEPLOYMENTS

from fleet_strategy.domain import Deployment, DeploymentNotFound, Strategy, StrategyNotFound
from fleet_strategy.events import deployment_message

from .rows import DEPLOYMENT_COLUMNS, deployment_of

_STRATEGY_COLUMNS = "strategy_id, user_id, name, builtin, version, body_hash, created_at, updated_at"
_INSERT_STRATEGY = f"""
INSERT INTO strategies ({_STRATEGY_COLUMNS}, is_deleted) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, false)
ON CONFLICT (strategy_id) DO NOTHING
"""  # noqa: S608 (constants)
_INSERT_DEPLOYMENT = f"""
INSERT INTO deployments ({DEPLOYMENT_COLUMNS})
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
ON CONFLICT (deployment_id) DO NOTHING
"""  # noqa: S608 (constants)
_SAVE_DEPLOYMENT = """
UPDATE deployments SET state = $2, reason_code = $3, reason_detail = $4, version = $5, last_step_at = $6, updated_at = $7
WHERE deployment_id = $1
"""


class PostgresCatalogue:
    """The catalogue in the transaction of one request."""

    def __init__(self, transaction: Transaction) -> None:
        self._tx = transaction

    @property
    def now(self) -> datetime:
        return self._tx.now

    async def add_strategy(self, strategy: Strategy) -> Strategy:
        inserted = await self._tx.connection.execute(
            _INSERT_STRATEGY,
            strategy.strategy_id,
            strategy.user_id,
            strategy.name,
            strategy.builtin,
            strategy.version,
            strategy.body_hash,
            strategy.created_at,
            strategy.updated_at,
        )
        if inserted == "INSERT 0 1":
            return strategy
        row = await self._tx.connection.fetchrow(
            f"SELECT {_STRATEGY_COLUMNS} FROM strategies WHERE strategy_id = $1",  # noqa: S608 (constants)
            strategy.strategy_id,
        )
        assert row is not None
        return Strategy(*row)

    async def strategy(self, strategy_id: UUID, user_id: UUID) -> Strategy:
        found = await find_strategy(self._tx.connection, strategy_id, user_id, lock="FOR NO KEY UPDATE")
        if found is None:
            raise StrategyNotFound
        return found

    async def rename_strategy(self, strategy: Strategy) -> None:
        await self._tx.connection.execute(
            "UPDATE strategies SET name = $2, updated_at = $3 WHERE strategy_id = $1",
            strategy.strategy_id,
            strategy.name,
            strategy.updated_at,
        )

    async def delete_strategy(self, strategy: Strategy) -> None:
        await self._tx.connection.execute(
            "UPDATE strategies SET is_deleted = true, updated_at = $2 WHERE strategy_id = $1",
            strategy.strategy_id,
            self.now,
        )

    async def has_deployments(self, strategy_id: UUID) -> bool:
        found = await self._tx.connection.fetchval(
            "SELECT EXISTS (SELECT FROM deployments WHERE strategy_id = $1 AND state <> 'stopped')", strategy_id
        )
        return bool(found)

    async def count_deployments(self, user_id: UUID) -> int:
        await self._tx.connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", str(user_id))
        found: int = await self._tx.connection.fetchval(
            "SELECT count(*) FROM deployments WHERE user_id = $1 AND state <> 'stopped'", user_id
        )
        return found

    async def add_deployment(self, deployment: Deployment) -> Deployment:
        inserted = await self._tx.connection.execute(
            _INSERT_DEPLOYMENT,
            *(deployment.deployment_id, deployment.strategy_id, deployment.strategy_version, deployment.builtin),
            *(deployment.account_id, deployment.user_id, deployment.symbols, deployment.timeframe),
            *(deployment.parameters, deployment.mode, deployment.max_order_notional, deployment.expires_at),
            *(deployment.state.value, None, None, deployment.version, deployment.last_step_at),
            *(deployment.body_hash, deployment.created_at, deployment.updated_at),
        )
        if inserted == "INSERT 0 1":
            return deployment
        row = await self._tx.connection.fetchrow(
            f"SELECT {DEPLOYMENT_COLUMNS} FROM deployments WHERE deployment_id = $1",  # noqa: S608 (constants)
            deployment.deployment_id,
        )
        assert row is not None
        return deployment_of(row)

    async def deployment(self, deployment_id: UUID, user_id: UUID) -> Deployment:
        found = await find_deployment(self._tx.connection, deployment_id, user_id, lock="FOR NO KEY UPDATE")
        if found is None:
            raise DeploymentNotFound
        return found

    async def save_deployment(self, deployment: Deployment) -> None:
        reason = deployment.reason
        await self._tx.connection.execute(
            _SAVE_DEPLOYMENT,
            deployment.deployment_id,
            deployment.state.value,
            reason and reason.code,
            reason and reason.detail,
            deployment.version,
            deployment.last_step_at,
            deployment.updated_at,
        )

    def publish(self, deployment: Deployment) -> None:
        self._tx.publish(STRATEGY_DEPLOYMENTS, str(deployment.deployment_id), deployment_message(deployment))


async def find_strategy(
    connection: asyncpg.Connection, strategy_id: UUID, user_id: UUID, *, lock: str = ""
) -> Strategy | None:
    row = await connection.fetchrow(
        f"SELECT {_STRATEGY_COLUMNS} FROM strategies"  # noqa: S608 (constants)
        f" WHERE strategy_id = $1 AND user_id = $2 AND NOT is_deleted {lock}",
        strategy_id,
        user_id,
    )
    return None if row is None else Strategy(*row)


async def list_strategies(
    connection: asyncpg.Connection, user_id: UUID, after: tuple[datetime, UUID] | None, limit: int
) -> Sequence[Strategy]:
    """Newest first, those after a place in that order."""
    rows = await connection.fetch(
        f"SELECT {_STRATEGY_COLUMNS} FROM strategies WHERE user_id = $1 AND NOT is_deleted"  # noqa: S608 (constants)
        " AND ($2::timestamptz IS NULL OR (created_at, strategy_id) < ($2, $3))"
        " ORDER BY created_at DESC, strategy_id DESC LIMIT $4",
        user_id,
        *(after or (None, None)),
        limit,
    )
    return [Strategy(*row) for row in rows]


async def find_deployment(
    connection: asyncpg.Connection, deployment_id: UUID, user_id: UUID, *, lock: str = ""
) -> Deployment | None:
    row = await connection.fetchrow(
        f"SELECT {DEPLOYMENT_COLUMNS} FROM deployments"  # noqa: S608 (constants)
        f" WHERE deployment_id = $1 AND user_id = $2 {lock}",
        deployment_id,
        user_id,
    )
    return None if row is None else deployment_of(row)


async def list_deployments(
    connection: asyncpg.Connection,
    user_id: UUID,
    *,
    strategy_id: UUID | None,
    state: str | None,
    after: tuple[datetime, UUID] | None,
    limit: int,
) -> Sequence[Deployment]:
    """Newest first, those after a place in that order."""
    rows = await connection.fetch(
        f"SELECT {DEPLOYMENT_COLUMNS} FROM deployments WHERE user_id = $1"  # noqa: S608 (constants)
        " AND ($2::uuid IS NULL OR strategy_id = $2) AND ($3::text IS NULL OR state = $3)"
        " AND ($4::timestamptz IS NULL OR (created_at, deployment_id) < ($4, $5))"
        " ORDER BY created_at DESC, deployment_id DESC LIMIT $6",
        user_id,
        strategy_id,
        state,
        *(after or (None, None)),
        limit,
    )
    return [deployment_of(row) for row in rows]
