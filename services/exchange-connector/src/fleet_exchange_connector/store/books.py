"""Books, venue orders, fills and waiting commands: rows to domain and back."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from fleet_bus import Transaction
from fleet_chassis.database import columns
from fleet_simulator import Liquidity, Models

from fleet_exchange_connector.domain.book import Book
from fleet_exchange_connector.domain.instruments import Instrument
from fleet_exchange_connector.domain.orders import (
    CancelOrder,
    Fill,
    KnownOrder,
    OrderCommand,
    PlaceOrder,
    ReplaceOrder,
    Stand,
    Status,
    fill_named,
    none_since,
    time_named,
)

_LOCK = """
SELECT b.symbol, b.version, b.open_orders, b.state,
       EXISTS (SELECT 1 FROM waiting_commands w WHERE w.symbol = b.symbol) AS has_waiting
FROM books b WHERE b.symbol = ANY($1::text[]) ORDER BY b.symbol FOR NO KEY UPDATE OF b
"""
_OPEN = "SELECT symbol, open FROM venue_orders WHERE symbol = ANY($1::text[]) AND open IS NOT NULL"
_POSITIONS = """
SELECT symbol, account_id, quantity FROM venue_positions WHERE symbol = ANY($1::text[]) AND quantity <> 0
"""
KNOWN_COLUMNS = "venue_order_ref", "account_id", "stand", "cumulative_quantity", "code", "detail"
_KNOWN = f"SELECT {', '.join(KNOWN_COLUMNS)} FROM venue_orders WHERE venue_order_ref = ANY($1::uuid[])"  # noqa: S608
_WAITING_REFS = """
SELECT venue_order_ref, account_id FROM waiting_commands WHERE kind = 'place' AND venue_order_ref = ANY($1::uuid[])
"""
_TAKE_WAITING = """
WITH taken AS (DELETE FROM waiting_commands WHERE symbol = ANY($1::text[]) RETURNING symbol, kind, number, command)
SELECT symbol, kind, command FROM taken ORDER BY number
"""
# What an account has sent arrives in its order: the later does not overtake.
_TAKE_ARRIVED = """
WITH taken AS (
    DELETE FROM waiting_commands w WHERE symbol = $1 AND arrives_at <= $2 AND NOT EXISTS (
        SELECT 1 FROM waiting_commands b
        WHERE b.symbol = $1 AND b.account_id = w.account_id AND b.number < w.number AND b.arrives_at > $2
    ) RETURNING kind, number, account_id, arrives_at, command
)
SELECT kind, command FROM taken ORDER BY max(arrives_at) OVER (PARTITION BY account_id ORDER BY number), number
"""
_WAIT = """
INSERT INTO waiting_commands (venue_order_ref, kind, command_sequence, symbol, account_id, command, arrives_at, received_at)
SELECT venue_order_ref, kind, command_sequence, symbol, account_id, command, arrives_at, $8
FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::uuid[], $6::jsonb[], $7::timestamptz[])
     WITH ORDINALITY AS u (venue_order_ref, kind, command_sequence, symbol, account_id, command, arrives_at, place)
ORDER BY place
ON CONFLICT DO NOTHING
"""
_ADD = """
INSERT INTO venue_orders (venue_order_ref, symbol, account_id, user_id, side, quantity, stand, cumulative_quantity, code,
                          detail, open, placed_at, updated_at)
SELECT u.*, $12, $12 FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::numeric[], $7::text[],
                                 $8::numeric[], $9::text[], $10::text[], $11::jsonb[]) AS u
"""
_CHANGE = """
UPDATE venue_orders o
SET stand = u.stand, cumulative_quantity = u.cumulative_quantity, code = u.code, detail = u.detail, open = u.open,
    updated_at = $7
FROM unnest($1::uuid[], $2::text[], $3::numeric[], $4::text[], $5::text[], $6::jsonb[])
     AS u (venue_order_ref, stand, cumulative_quantity, code, detail, open)
WHERE o.venue_order_ref = u.venue_order_ref
"""
_FILL_COLUMNS = """venue_order_ref, number, account_id, quantity, price, cumulative_quantity, fee, fee_currency, liquidity,
executed_at, market_at"""
_ADD_FILLS = f"""
INSERT INTO venue_fills ({_FILL_COLUMNS})
SELECT * FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::numeric[], $5::numeric[], $6::numeric[], $7::numeric[],
                     $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[])
"""  # noqa: S608
_FILLS = f"SELECT {_FILL_COLUMNS} FROM venue_fills WHERE venue_order_ref = $1 ORDER BY number"  # noqa: S608
_SAVE = """
UPDATE books b SET version = b.version + 1, open_orders = u.open_orders, state = u.state
FROM unnest($1::text[], $2::int[], $3::jsonb[]) AS u (symbol, open_orders, state)
WHERE b.symbol = u.symbol
"""
_HOLD = """
INSERT INTO venue_positions (symbol, account_id, quantity)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::numeric[])
ON CONFLICT (symbol, account_id) DO UPDATE SET quantity = excluded.quantity
"""
_KINDS: dict[str, type[OrderCommand]] = {"place": PlaceOrder, "replace": ReplaceOrder, "cancel": CancelOrder}


class BookCache:
    """The books of this process as their rows were last written. Whoever locks a book takes it out and puts it back
    after COMMIT, so that what was rolled back is never found here."""

    def __init__(self) -> None:
        self._books: dict[str, Book] = {}

    def take(self, symbol: str, version: int) -> Book | None:
        book = self._books.pop(symbol, None)
        return book if book is not None and book.version == version else None

    def put(self, book: Book) -> None:
        self._books[book.instrument.symbol] = book


async def lock_books(
    connection: asyncpg.Connection,
    symbols: Sequence[str],
    instruments: Mapping[str, Instrument],
    models: Models,
    cache: BookCache,
    *,
    idle_too: bool = True,
) -> dict[str, Book]:
    """The books of these symbols, locked in the order of their names; only those with orders or commands unless
    `idle_too`."""
    rows = [row for row in await connection.fetch(_LOCK, symbols) if row["symbol"] in instruments]
    found: dict[str, Book] = {}
    missing: list[asyncpg.Record] = []
    for row in rows:
        if not (idle_too or row["open_orders"] or row["has_waiting"]):
            continue
        book = cache.take(row["symbol"], row["version"])
        if book is None:
            missing.append(row)
        else:
            found[row["symbol"]] = book
    orders: dict[str, list[dict[str, Any]]] = {row["symbol"]: [] for row in missing}
    with_orders = [row["symbol"] for row in missing if row["open_orders"]]
    if with_orders:
        for order in await connection.fetch(_OPEN, with_orders):
            orders[order["symbol"]].append(order["open"])
    positions: dict[str, dict[UUID, Decimal]] = {symbol: {} for symbol in orders}
    if missing:
        for held in await connection.fetch(_POSITIONS, list(positions)):
            positions[held["symbol"]][held["account_id"]] = held["quantity"]
    for row in missing:
        symbol = row["symbol"]
        book = Book(instruments[symbol], models)
        book.restore(row["version"], row["state"], orders[symbol], positions[symbol])
        found[symbol] = book
    return found


async def add_books(connection: asyncpg.Connection, symbols: Sequence[str]) -> None:
    await connection.execute("INSERT INTO books (symbol) SELECT unnest($1::text[]) ON CONFLICT DO NOTHING", symbols)


def save_books(tx: Transaction, books: Sequence[Book]) -> None:
    rows = [(book.instrument.symbol, book.open_orders, book.state()) for book in books]
    tx.write(_SAVE, *columns(rows, 3))


async def known_orders(connection: asyncpg.Connection, refs: Sequence[UUID]) -> dict[UUID, KnownOrder]:
    return {row["venue_order_ref"]: known_order(row) for row in await connection.fetch(_KNOWN, refs)}


def known_order(row: asyncpg.Record) -> KnownOrder:
    """Of KNOWN_COLUMNS."""
    return KnownOrder(
        venue_order_ref=row["venue_order_ref"],
        account_id=row["account_id"],
        status=Status(
            stand=Stand(row["stand"]),
            cumulative_quantity=row["cumulative_quantity"],
            code=row["code"],
            detail=row["detail"],
        ),
    )


async def waiting_orders(connection: asyncpg.Connection, refs: Sequence[UUID]) -> set[tuple[UUID, UUID]]:
    """(venue_order_ref, account_id) of those of these orders that wait for a bar."""
    return {(row["venue_order_ref"], row["account_id"]) for row in await connection.fetch(_WAITING_REFS, refs)}


async def take_commands(connection: asyncpg.Connection, symbols: Sequence[str]) -> dict[str, list[OrderCommand]]:
    """In the order in which they came."""
    found: dict[str, list[OrderCommand]] = {symbol: [] for symbol in symbols}
    for row in await connection.fetch(_TAKE_WAITING, symbols):
        found[row["symbol"]].append(msgspec.convert(row["command"], _KINDS[row["kind"]], strict=False))
    return found


async def take_arrived(connection: asyncpg.Connection, symbol: str, now: datetime) -> list[OrderCommand]:
    """Those on their way to the symbol's book whose time has come, in the order of their arrival."""
    rows = await connection.fetch(_TAKE_ARRIVED, symbol, now)
    return [msgspec.convert(row["command"], _KINDS[row["kind"]], strict=False) for row in rows]


def keep_commands(tx: Transaction, commands: Sequence[tuple[OrderCommand, datetime | None]], now: datetime) -> None:
    rows = [
        (
            command.venue_order_ref,
            next(kind for kind, command_type in _KINDS.items() if isinstance(command, command_type)),
            command.command_sequence,
            command.symbol,
            command.account_id,
            command,
            arrives_at,
        )
        for command, arrives_at in commands
    ]
    tx.write(_WAIT, *columns(rows, 7), now)


def add_orders(
    tx: Transaction, orders: Sequence[tuple[PlaceOrder, Status, dict[str, Any] | None]], now: datetime
) -> None:
    rows = [
        (
            command.venue_order_ref,
            command.symbol,
            command.account_id,
            command.user_id,
            command.side.value,
            command.quantity,
            status.stand.value,
            status.cumulative_quantity,
            status.code,
            status.detail,
            open_state,
        )
        for command, status, open_state in orders
    ]
    tx.write(_ADD, *columns(rows, 11), now)


def change_orders(tx: Transaction, orders: Sequence[tuple[UUID, Status, dict[str, Any] | None]], now: datetime) -> None:
    rows = [
        (ref, status.stand.value, status.cumulative_quantity, status.code, status.detail, open_state)
        for ref, status, open_state in orders
    ]
    tx.write(_CHANGE, *columns(rows, 6), now)


def save_positions(tx: Transaction, positions: Iterable[tuple[str, UUID, Decimal]]) -> None:
    tx.write(_HOLD, *columns(list(positions), 3))


def add_fills(tx: Transaction, fills: Sequence[Fill]) -> None:
    rows = [
        (
            fill.venue_order_ref,
            fill.number,
            fill.account_id,
            fill.quantity,
            fill.price,
            fill.cumulative_quantity,
            fill.fee,
            fill.fee_currency,
            fill.liquidity.value,
            fill.executed_at,
            fill.market_at,
        )
        for fill in fills
    ]
    tx.write(_ADD_FILLS, *columns(rows, 11))


_USERS = "SELECT venue_order_ref, user_id FROM venue_orders WHERE venue_order_ref = ANY($1::uuid[])"
_FILLS_SINCE = f"""
SELECT {", ".join(f"f.{name.strip()}" for name in _FILL_COLUMNS.split(","))}
FROM venue_fills f JOIN venue_orders o USING (venue_order_ref)
WHERE o.symbol = $1 AND f.executed_at >= $2 AND (f.executed_at, f.venue_order_ref, f.number) >= ($2, $3, $4)
ORDER BY f.executed_at, f.venue_order_ref, f.number LIMIT $5
"""  # noqa: S608
_EXECUTED_AT = "SELECT executed_at FROM venue_fills WHERE venue_order_ref = $1 AND number = $2"
# A quiet symbol's last fill is not looked for through all of the others'.
_LAST_FILL = """
SELECT f.venue_order_ref, f.number FROM venue_fills f JOIN venue_orders o USING (venue_order_ref)
WHERE o.symbol = $1 AND f.executed_at > $2
ORDER BY f.executed_at DESC, f.venue_order_ref DESC, f.number DESC LIMIT 1
"""


async def users_of(connection: asyncpg.Connection, refs: Sequence[UUID]) -> dict[UUID, UUID]:
    return {row[0]: row[1] for row in await connection.fetch(_USERS, refs)}


async def fills_since(
    connection: asyncpg.Connection, symbol: str, venue_trade_id: str, limit: int, *, oldest: datetime
) -> list[Fill]:
    """From this fill of the symbol on, or from this time where the fill is older or forgotten, oldest first; none for a name
    that is not of this venue."""
    at, named = time_named(venue_trade_id), fill_named(venue_trade_id)
    if at is None and named is None:
        return []
    if named is not None:
        at = await connection.fetchval(_EXECUTED_AT, *named)
    if at is None or at < oldest:
        at, named = oldest, None
    rows = await connection.fetch(_FILLS_SINCE, symbol, at, *(named or (UUID(int=0), 0)), limit)
    return list(map(_fill, rows))


async def last_trade_id(connection: asyncpg.Connection, symbol: str, since: datetime) -> str:
    row = await connection.fetchrow(_LAST_FILL, symbol, since)
    return none_since(since) if row is None else f"{row[0]}-{row[1]}"


async def fills_of(connection: asyncpg.Connection, ref: UUID) -> tuple[Fill, ...]:
    rows = await connection.fetch(_FILLS, ref)
    return tuple(map(_fill, rows))


def _fill(row: asyncpg.Record) -> Fill:
    return Fill(**{**row, "liquidity": Liquidity(row["liquidity"])})
