"""The quotes that have stopped, as far as it was told."""

from collections.abc import Mapping
from datetime import datetime
from uuid import UUID, uuid5

import asyncpg
from fleet_bus import Transaction
from fleet_contracts.topics import CORE_ENGINE_ALERTS

from fleet_core_engine.events import alert_key, quotes_stopped

_ALERTS = UUID("5c2b1f0e-7d0a-4e55-9a44-9a6f0f6f3d11")

_READ = "SELECT symbol, alert_id, stopped_at, told_at FROM stopped_quotes"
_ADD = "INSERT INTO stopped_quotes (symbol, alert_id, stopped_at, told_at) VALUES ($1, $2, $3, $4)"
_DROP = "DELETE FROM stopped_quotes WHERE symbol = $1"


class PostgresAlertUnitOfWork:
    """Who holds the heartbeat's due row alone looks."""

    def __init__(self, transaction: Transaction) -> None:
        self.transaction = transaction
        self._stopped: Mapping[str, asyncpg.Record] = {}

    @property
    def now(self) -> datetime:
        return self.transaction.now

    async def lock(self, _ids: object) -> None:
        self._stopped = await stopped_quotes(self.transaction.connection, for_update=True)

    async def flush(self) -> None:
        """All is written when it is told."""

    def is_told(self, symbol: str) -> bool:
        return symbol in self._stopped

    async def tell_stopped(self, symbol: str, market_at: datetime) -> None:
        alert_id = uuid5(_ALERTS, f"{symbol} {market_at.isoformat()}")
        await self.transaction.connection.execute(_ADD, symbol, alert_id, market_at, self.now)
        self._publish(symbol, alert_id, market_at, at=self.now, ended_at=None)

    async def tell_back(self, symbol: str) -> None:
        row = self._stopped[symbol]
        await self.transaction.connection.execute(_DROP, symbol)
        self._publish(symbol, row["alert_id"], row["stopped_at"], at=row["told_at"], ended_at=self.now)

    def _publish(
        self, symbol: str, alert_id: UUID, stopped_at: datetime, *, at: datetime, ended_at: datetime | None
    ) -> None:
        alert = quotes_stopped(alert_id, symbol, stopped_at, at=at, ended_at=ended_at)
        self.transaction.publish(CORE_ENGINE_ALERTS, alert_key(symbol), alert)


async def stopped_quotes(connection: asyncpg.Connection, *, for_update: bool = False) -> Mapping[str, asyncpg.Record]:
    """By symbol."""
    rows = await connection.fetch(_READ + " FOR UPDATE" if for_update else _READ)
    return {row["symbol"]: row for row in rows}
