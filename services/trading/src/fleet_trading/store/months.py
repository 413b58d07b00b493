"""The months of the table of orders: each is made before it comes. An order's id begins with its time, so that a month is a
range of ids.

Behind the last month lies a part for all ids beyond it. Nothing is written there but orders that a venue made up, or all of
them where no process has run for months: who makes the months that are missing then takes their orders in."""

import re
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


async def look_at_months(tx: Transaction, due: Due) -> None:
    """Makes one month at most, and then is due again at once."""
    start = await _first_missing(tx)
    is_missing = start <= tx.now + _AHEAD
    if is_missing:
        await _make(tx, start)
    tx.schedule(MONTHS, due.aggregate_id, due.sequence + 1, "wall", tx.now if is_missing else tx.now + _LOOK)


async def _first_missing(tx: Transaction) -> datetime:
    bound = await tx.connection.fetchval(_BEYOND)
    first = re.search(r"FROM \('([-0-9a-f]{36})'\)", bound)
    assert first is not None, f"the part beyond the months begins with an id, was {bound}"
    return datetime.fromtimestamp((UUID(first[1]).int >> 80) / 1000, UTC)


async def _make(tx: Transaction, start: datetime) -> None:
    """Some milliseconds, in which nobody reads or writes orders."""
    end = (start + _AHEAD).replace(day=1)
    first, beyond = first_id_of(start), first_id_of(end)
    await tx.connection.execute(
        f"""
        ALTER TABLE orders DETACH PARTITION orders_beyond;
        CREATE TABLE orders_{start:%Y_%m} PARTITION OF orders FOR VALUES FROM ('{first}') TO ('{beyond}')
            WITH (fillfactor = 80);
        WITH taken AS (DELETE FROM orders_beyond WHERE order_id < '{beyond}' RETURNING *)
        INSERT INTO orders SELECT * FROM taken;
        ALTER TABLE orders ATTACH PARTITION orders_beyond FOR VALUES FROM ('{beyond}') TO (MAXVALUE);
        """  # noqa: S608  our own names and ids
    )
