"""client_order_ids are kept for their order's life and 90 days; this takes them away after that.

No index is there for it, as every accepted order would pay for one: order ids begin with their time, so a walk over the
orders by their primary key meets the oldest first, each once. What must be kept longer than the walk can wait for gets
a row of its own."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
from fleet_bus import Due, Transaction
from fleet_chassis.ids import first_id_of

FORGET = "forget-client-order-ids"
"""The kind of due rows; the aggregate is an order. Sequence 0: all orders after it, in their order; 1: it alone."""

KEPT = timedelta(days=90)
_BEHIND = timedelta(days=7)
"""The walk stays so far behind, so that only orders that lived longer than this need a row of their own."""
_BATCH = 500
"""Orders in one transaction: a few milliseconds."""
_PAUSE = timedelta(seconds=1)
_REST = timedelta(hours=1)
_WALK, _ALONE = 0, 1

_COLUMNS = "order_id, account_id, client_order_id, stand IN ('new', 'partially_filled') AS is_open, updated_at"
_NEXT = f"SELECT {_COLUMNS} FROM orders WHERE order_id > $1 AND order_id < $2 ORDER BY order_id LIMIT $3"  # noqa: S608
_NAMED = f"SELECT {_COLUMNS} FROM orders WHERE order_id = ANY($1::uuid[])"  # noqa: S608
# Another order may have taken the id since, and a denied one on a foreign account never had it.
_DELETE = """
DELETE FROM client_order_ids AS c USING unnest($1::uuid[], $2::text[], $3::uuid[]) AS k (account_id, client_order_id, order_id)
WHERE c.account_id = k.account_id AND c.client_order_id = k.client_order_id AND c.order_id = k.order_id
"""


class Forgetting:
    """The client_order_ids that one transaction takes away. It needs no lock: an id that is gone is a new one."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._orders: dict[UUID, asyncpg.Record] = {}
        self._over: list[asyncpg.Record] = []

    async def lock(self, ids: Sequence[str]) -> None:
        """Reads the orders of these ids."""
        rows = await self._tx.connection.fetch(_NAMED, [UUID(text) for text in ids])
        self._orders = {row["order_id"]: row for row in rows}

    async def forget(self, due: Due) -> None:
        order_id = UUID(due.aggregate_id)
        if due.sequence == _WALK:
            await self._walk(order_id)
        elif order_id in self._orders:
            self._judge(self._orders[order_id])

    async def _walk(self, after: UUID) -> None:
        rows = await self._tx.connection.fetch(_NEXT, after, first_id_of(self._tx.now - KEPT - _BEHIND), _BATCH)
        for row in rows:
            self._judge(row)
        come_to = rows[-1]["order_id"] if rows else after
        self._schedule(come_to, _WALK, self._tx.now + (_PAUSE if len(rows) == _BATCH else _REST))

    def _judge(self, order: asyncpg.Record) -> None:
        # What ended an order was the last that changed it, or a fill came even later; and an open one lives.
        over_at = (self._tx.now if order["is_open"] else order["updated_at"]) + KEPT
        if over_at <= self._tx.now:
            self._over.append(order)
        else:
            self._schedule(order["order_id"], _ALONE, over_at)

    def _schedule(self, order_id: UUID, sequence: int, at: datetime) -> None:
        self._tx.schedule(FORGET, str(order_id), sequence, "wall", at)

    async def flush(self) -> None:
        if self._over:
            columns = ([order[name] for order in self._over] for name in ("account_id", "client_order_id", "order_id"))
            await self._tx.connection.execute(_DELETE, *columns)
