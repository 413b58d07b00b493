"""Trades that are corrected: rows to domain and back."""

from datetime import datetime
from uuid import UUID

import asyncpg
from fleet_bus import Transaction
from fleet_simulator import Side

from fleet_exchange_connector.domain.corrections import Correction, Trade
from fleet_exchange_connector.store.books import fills_of, known_orders

_ORDER = "SELECT symbol, side FROM venue_orders WHERE venue_order_ref = $1"
_REVISIONS = """
SELECT max(revision), (array_agg(quantity_before ORDER BY revision))[1]
FROM trade_corrections WHERE venue_order_ref = $1 AND number = $2
"""
_KEEP = """
INSERT INTO trade_corrections (venue_order_ref, number, revision, quantity_before, price_before, quantity, price, reason,
                               corrected_by, corrected_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
# What was filled after it follows, so that the fills add up.
_CORRECT = """
UPDATE venue_fills SET cumulative_quantity = cumulative_quantity - $3 + $4,
    quantity = CASE number WHEN $2 THEN $4 ELSE quantity END, price = CASE number WHEN $2 THEN $5 ELSE price END,
    fee = CASE number WHEN $2 THEN $6 ELSE fee END
WHERE venue_order_ref = $1 AND number >= $2
"""


async def way_of(connection: asyncpg.Connection, ref: UUID) -> tuple[str, Side | None] | None:
    """Symbol and side of an order, which never change; no side of one from before they were kept."""
    row = await connection.fetchrow(_ORDER, ref)
    return None if row is None else (row["symbol"], None if row["side"] is None else Side(row["side"]))


async def trade_of(connection: asyncpg.Connection, ref: UUID, number: int, symbol: str, side: Side) -> Trade | None:
    """With its order as it is stored; whoever corrects it holds the lock of the book."""
    order = (await known_orders(connection, [ref])).get(ref)
    fill = next((fill for fill in await fills_of(connection, ref) if fill.number == number), None)
    if order is None or fill is None:
        return None
    ((revision, first),) = await connection.fetch(_REVISIONS, ref, number)
    return Trade(
        fill=fill,
        symbol=symbol,
        side=side,
        order=order.status,
        first_quantity=fill.quantity if first is None else first,
        revision=revision or 0,
    )


def keep(tx: Transaction, before: Trade, after: Trade, correction: Correction, now: datetime) -> None:
    was, fill = before.fill, after.fill
    trade = fill.venue_order_ref, fill.number
    figures = was.quantity, was.price, fill.quantity, fill.price
    tx.write(_KEEP, *trade, after.revision, *figures, correction.reason, correction.by, now)
    tx.write(_CORRECT, *trade, was.quantity, fill.quantity, fill.price, fill.fee)
