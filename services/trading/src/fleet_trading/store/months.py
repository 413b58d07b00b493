"""The months of the table of orders: each is made before it comes. An order's id begins with its time, so that a month is a
range of ids.

Behind the last month lies a part for all ids beyond it. Nothing is written there but orders that a venue made up, or all of
them where no process has run for months: who makes the months that are missing then takes their orders in."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from fleet_bus import Due, Transaction
from fleet_chassis.ids import first_id_of

MONTHS = "order-months"
"""The kind of due rows; there is one."""

_AHEAD = timedelta(days=32)
"""The month after the one that runs is always there."""
_LOOK = timedelta(days=1)
_BEYOND = "SELECT pg_get_expr(relpartbound, oid) FROM pg_class WHERE oid = 'orders_beyond'::regclass"


class Months:
    """One look; it makes one month at most, and looks again at once."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx

    async def lock(self, ids: Sequence[str]) -> None:
        """The due row itself keeps others away."""

    async def flush(self) -> None:
        """Nothing is left to write."""

    async def look(self, due: Due) -> None:
        now = self._tx.now
        start = await self._first_missing()
        is_missing = start <= now + _AHEAD
        if is_missing:
            await self._make(start)
        self._tx.schedule(MONTHS, due.aggregate_id, due.sequence + 1, "wall", now if is_missing else now + _LOOK)

    async def _first_missing(self) -> datetime:
        bound = await self._tx.connection.fetchval(_BEYOND)
        first = re.search(r"FROM \('([-0-9a-f]{36})'\)", bound)
        assert first is not None, f"the part beyond the months begins with an id, was {bound}"
        return datetime.fromtimestamp((UUID(first[1]).int >> 80) / 1000, UTC)

    async def _make(self, start: datetime) -> None:
        """Some milliseconds, in which nobody reads or writes orders."""
        end = (start + _AHEAD).replace(day=1)
        first, beyond = first_id_of(start), first_id_of(end)
        await self._tx.connection.execute(
            f"""
            ALTER TABLE orders DETACH PARTITION orders_beyond;
            CREATE TABLE orders_{start:%Y_%m} PARTITION OF orders FOR VALUES FROM ('{first}') TO ('{beyond}')
                WITH (fillfactor = 80);
            WITH taken AS (DELETE FROM orders_beyond WHERE order_id < '{beyond}' RETURNING *)
            INSERT INTO orders SELECT * FROM taken;
            ALTER TABLE orders ATTACH PARTITION orders_beyond FOR VALUES FROM ('{beyond}') TO (MAXVALUE);
            """  # noqa: S608  our own names and ids
        )
