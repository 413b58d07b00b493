"""The books that venues show."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import asyncpg
from fleet_bus import Transaction
from fleet_contracts.matching_engine import BookDelta, BookSnapshot
from fleet_contracts.order_books import FollowedBook, Levels

_ADD = """
INSERT INTO order_books (listing_id)
SELECT listing_id FROM listings WHERE symbol || ',' || venue = ANY($1::text[]) ON CONFLICT DO NOTHING
"""
_LOCK = """
SELECT l.symbol || ',' || l.venue AS place, l.listing_id, l.tick_size, l.lot_size,
    b.sequence, b.is_whole, b.bids, b.asks, b.market_at
FROM order_books b JOIN listings l USING (listing_id)
WHERE l.symbol || ',' || l.venue = ANY($1::text[]) ORDER BY l.listing_id FOR NO KEY UPDATE OF b
"""
_SAVE = """
UPDATE order_books SET sequence = $2, is_whole = $3, bids = $4, asks = $5, market_at = $6 WHERE listing_id = $1
"""
_SHOW = """
SELECT b.sequence, b.is_whole, b.bids, b.asks, b.market_at
FROM listings l LEFT JOIN order_books b USING (listing_id) WHERE l.symbol = $1 AND l.venue = $2
"""


@dataclass(frozen=True, slots=True)
class _Listed:
    listing_id: int
    tick: Decimal
    lot: Decimal
    book: FollowedBook


class PostgresOrderBookUnitOfWork:
    """The books that a batch touches, by `symbol,venue`; written once."""

    def __init__(self, transaction: Transaction) -> None:
        self._tx = transaction
        self._books: dict[str, _Listed] = {}

    async def lock(self, ids: Sequence[str]) -> None:
        connection = self._tx.connection
        rows = await connection.fetch(_LOCK, ids)
        if len(rows) < len(ids):
            await connection.execute(_ADD, ids)
            rows = await connection.fetch(_LOCK, ids)
        for place, listing_id, tick, lot, sequence, is_whole, bids, asks, market_at in rows:
            book = FollowedBook(sequence, is_whole, _levels(bids), _levels(asks), market_at)
            self._books[place] = _Listed(listing_id, tick, lot, book)

    def take(self, message: BookSnapshot | BookDelta) -> None:
        """Each is checked: what is stored is shown."""
        listed = self._books.get(f"{message.symbol},{message.venue}")
        if listed is not None:
            listed.book.take(message)
            listed.book.check(tick=listed.tick, lot=listed.lot)

    async def flush(self) -> None:
        rows = [_row(listed.listing_id, listed.book) for listed in self._books.values()]
        await self._tx.connection.executemany(_SAVE, rows)


async def shown(connection: asyncpg.Connection, symbol: str, venue: str) -> asyncpg.Record | None:
    """sequence, is_whole, bids, asks, market_at; None where the venue does not trade the symbol."""
    return await connection.fetchrow(_SHOW, symbol, venue)


def _levels(pairs: Sequence[Sequence[str]]) -> Levels:
    return {Decimal(price): Decimal(quantity) for price, quantity in pairs}


def _row(listing_id: int, book: FollowedBook) -> tuple[object, ...]:
    """Levels the best first, as they are shown."""
    bids, asks = sorted(book.bids.items(), reverse=True), sorted(book.asks.items())
    return listing_id, book.sequence, book.is_whole, _plain(bids), _plain(asks), book.market_at


def _plain(levels: Sequence[tuple[Decimal, Decimal]]) -> list[tuple[str, str]]:
    return [(str(price), str(quantity)) for price, quantity in levels]
