"""What became of signals: core-engine's outcomes, and the orders and positions of deployments."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

import asyncpg
from fleet_bus import Transaction

from fleet_strategy.domain import DeploymentOrder, Signal

from .rows import SIGNAL_COLUMNS, by_column

_COLUMNS = (
    "order_id, deployment_id, signal_id, symbol, side, order_type, quantity, filled_quantity, limit_price, status,"
    " is_open, version, stop_price, parent_order_id"
)
_UPSERT_ORDERS = f"""
INSERT INTO deployment_orders ({_COLUMNS}, updated_at)
SELECT *, $15 FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::numeric[],
    $8::numeric[], $9::numeric[], $10::text[], $11::boolean[], $12::bigint[], $13::numeric[], $14::uuid[])
ON CONFLICT (order_id) DO UPDATE SET quantity = excluded.quantity, filled_quantity = excluded.filled_quantity,
    limit_price = excluded.limit_price, stop_price = excluded.stop_price, status = excluded.status,
    is_open = excluded.is_open, version = excluded.version, updated_at = excluded.updated_at
"""  # noqa: S608 (constants)
_MOVE_POSITIONS = """
INSERT INTO deployment_positions AS p (deployment_id, symbol, quantity)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::numeric[])
ON CONFLICT (deployment_id, symbol) DO UPDATE SET quantity = p.quantity + excluded.quantity
"""
_OUTCOMES = """
UPDATE signals SET outcome = told.outcome, outcome_reason = told.reason
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS told (signal_id, outcome, reason)
WHERE signals.signal_id = told.signal_id
"""


class PostgresActivity:
    """The orders of deployments in the transaction of one batch; locked and read by order id."""

    def __init__(self, transaction: Transaction) -> None:
        self._tx = transaction
        self._orders: dict[UUID, DeploymentOrder] = {}
        self._changed: set[UUID] = set()
        self._moved: dict[tuple[UUID, str], Decimal] = {}

    async def lock(self, ids: Sequence[str]) -> None:
        if not ids:
            return
        rows = await self._tx.connection.fetch(
            f"SELECT {_COLUMNS} FROM deployment_orders WHERE order_id = ANY($1)"  # noqa: S608 (constants)
            " ORDER BY order_id FOR NO KEY UPDATE",
            [UUID(order_id) for order_id in ids],
        )
        self._orders = {row["order_id"]: DeploymentOrder(*row) for row in rows}

    def order(self, order_id: UUID) -> DeploymentOrder | None:
        return self._orders.get(order_id)

    def save_order(self, order: DeploymentOrder, *, moved: Decimal) -> None:
        self._orders[order.order_id] = order
        self._changed.add(order.order_id)
        if moved:
            place = (order.deployment_id, order.symbol)
            self._moved[place] = self._moved.get(place, Decimal(0)) + moved

    async def flush(self) -> None:
        if self._changed:
            orders = [self._orders[order_id] for order_id in sorted(self._changed)]
            rows: list[tuple[object, ...]] = [
                (
                    *(o.order_id, o.deployment_id, o.signal_id, o.symbol, o.side, o.order_type, o.quantity),
                    *(
                        o.filled_quantity,
                        o.limit_price,
                        o.status,
                        o.is_open,
                        o.version,
                        o.stop_price,
                        o.parent_order_id,
                    ),
                )
                for o in orders
            ]
            await self._tx.connection.execute(_UPSERT_ORDERS, *by_column(rows), self._tx.now)
        if self._moved:
            moves: list[tuple[object, ...]] = [(*place, moved) for place, moved in sorted(self._moved.items())]
            await self._tx.connection.execute(_MOVE_POSITIONS, *by_column(moves))


class PostgresOutcomes:
    """What core-engine said of signals, in the transaction of one batch."""

    def __init__(self, transaction: Transaction) -> None:
        self._tx = transaction
        self._told: dict[UUID, tuple[str, str | None]] = {}

    async def lock(self, ids: Sequence[str]) -> None:
        """Nothing is read: an outcome is written over whatever is there."""

    def tell(self, signal_id: UUID, outcome: str, reason: str | None) -> None:
        self._told[signal_id] = (outcome, reason)

    async def flush(self) -> None:
        rows: list[tuple[object, ...]] = [(signal_id, *told) for signal_id, told in sorted(self._told.items())]
        if rows:
            await self._tx.connection.execute(_OUTCOMES, *by_column(rows))


@dataclass(frozen=True, slots=True)
class SignalShown:
    """A signal with what became of it."""

    signal: Signal
    outcome: str | None
    reason: str | None
    order_id: UUID | None
    order_status: str | None


async def last_signals(connection: asyncpg.Connection, deployment_id: UUID, limit: int) -> list[SignalShown]:
    columns = ", ".join(f"s.{column}" for column in SIGNAL_COLUMNS)
    rows = await connection.fetch(
        f"SELECT {columns}, s.outcome, s.outcome_reason, o.order_id, o.status FROM signals s"  # noqa: S608 (constants)
        " LEFT JOIN deployment_orders o ON o.signal_id = s.signal_id AND o.parent_order_id IS NULL"
        " WHERE s.deployment_id = $1 ORDER BY s.market_at DESC, s.number DESC LIMIT $2",
        deployment_id,
        limit,
    )
    own = len(SIGNAL_COLUMNS)
    return [SignalShown(Signal(*row[:own]), *row[own:]) for row in rows]


async def positions_of(connection: asyncpg.Connection, deployment_id: UUID) -> list[tuple[str, Decimal]]:
    rows = await connection.fetch(
        "SELECT symbol, quantity FROM deployment_positions WHERE deployment_id = $1 AND quantity <> 0 ORDER BY symbol",
        deployment_id,
    )
    return [(row[0], row[1]) for row in rows]
