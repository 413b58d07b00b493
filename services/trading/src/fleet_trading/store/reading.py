"""The reads of the API: straight from the database, nothing is decided."""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from fleet_chassis.database import Database
from fleet_chassis.ids import first_id_of

from fleet_trading.domain import Account, Growth, Order, Trade, Transition
from fleet_trading.domain.risk.limits import LimitTable

from .adjusting import last_growth
from .limits import LimitChange, Selection, SharedLimits, shown_limits
from .rows import ACCOUNT_COLUMNS, ALL_OPEN, ORDER_COLUMNS, account_of, order_of, read_accounts, trade_of

_OPEN = "stand IN ('new', 'partially_filled')"
ORDERS = {
    (status, has_symbol): f"""
SELECT {ORDER_COLUMNS} FROM orders
WHERE account_id = $1 AND user_id = $2 AND order_id >= $3 AND order_id < $4 {condition}
  {"AND symbol = $6" if has_symbol else ""}
ORDER BY order_id DESC LIMIT $5
"""  # noqa: S608  constant columns and conditions
    for status, condition in (("open", f"AND {_OPEN}"), ("closed", f"AND NOT ({_OPEN})"), ("all", ""))
    for has_symbol in (False, True)
}
"""By status, and whether of one symbol: account, user, from, before, limit, symbol.

Nothing in them may be left out: what is `$n IS NULL OR …` keeps no index in the plan for any values, which PostgreSQL takes
once a statement has been used a few times. Each is in the order of an index and of the months."""
TRADES = {
    (has_symbol, has_order): f"""
SELECT * FROM trades
WHERE account_id = $1 AND trade_no < $2 {"AND symbol = $4" if has_symbol else ""}
  {f"AND order_id = ${4 + has_symbol}" if has_order else ""}
ORDER BY trade_no DESC LIMIT $3
"""  # noqa: S608  constant conditions
    for has_symbol in (False, True)
    for has_order in (False, True)
}
"""By whether of one symbol, and of one order: account, before, limit, symbol, order."""
LEDGER = """
SELECT entry_no, at, market_at, kind, amount, currency, balance_after, reference, settles_on
FROM entries WHERE account_id = $1 AND entry_no < $2 AND book = 'client' ORDER BY entry_no DESC LIMIT $3
"""
_FIRST, _BEYOND = UUID(int=0), UUID(int=2**128 - 1)
_LAST_NO = 2**63 - 1

_transitions = msgspec.json.Decoder(Transition)


class Readings:
    def __init__(self, database: Database) -> None:
        self._database = database

    @contextlib.asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[asyncpg.Connection]:
        """Several statements that see the same moment."""
        async with (
            self._database.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    async def account(self, account_id: UUID) -> Account | None:
        """With balances and positions."""
        async with self._snapshot() as connection:
            found = await read_accounts(connection, [account_id])
        return found[0] if found else None

    async def risk(self, account_id: UUID) -> tuple[Account, LimitTable] | None:
        """The account with its open orders, and the limits of the same moment."""
        limits = SharedLimits()
        async with self._snapshot() as connection:
            found = await read_accounts(connection, [account_id])
            await limits.read(connection)
            orders = await connection.fetch(ALL_OPEN, account_id)
        if not found:
            return None
        account = found[0]
        account.orders.update((order.order_id, order) for order in map(order_of, orders))
        account.open_buys.changed.update(account.orders)
        return account, limits.table

    async def limits(
        self, selection: Selection, *, is_history: bool, before: int | None, limit: int
    ) -> list[LimitChange]:
        async with self._database.connection() as connection:
            return await shown_limits(connection, selection, is_history=is_history, before=before, limit=limit)

    async def owner_of(self, account_id: UUID) -> UUID | None:
        async with self._database.connection() as connection:
            owner: UUID | None = await connection.fetchval(
                "SELECT user_id FROM accounts WHERE account_id = $1", account_id
            )
        return owner

    async def accounts_of(self, user_id: UUID, *, after: UUID | None, limit: int) -> list[Account]:
        """The user's accounts, the default one first; without balances."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(
                f"""SELECT {ACCOUNT_COLUMNS} FROM accounts AS a WHERE user_id = $1 AND ($2::uuid IS NULL OR
                (NOT is_default, account_id) > (SELECT NOT is_default, account_id FROM accounts WHERE account_id = $2))
                ORDER BY NOT is_default, account_id LIMIT $3""",  # noqa: S608  constant columns
                user_id,
                after,
                limit,
            )
        return [account_of(row, (), ()) for row in rows]

    async def order(self, order_id: UUID) -> Order | None:
        async with self._database.connection() as connection:
            row = await connection.fetchrow(f"SELECT {ORDER_COLUMNS} FROM orders WHERE order_id = $1", order_id)  # noqa: S608
        return None if row is None else order_of(row)

    async def order_events(self, order_id: UUID) -> tuple[Order | None, list[Transition]]:
        """The order, and each step since it was placed."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(
                f"SELECT {ORDER_COLUMNS}, history FROM orders WHERE order_id = $1",  # noqa: S608  constant columns
                order_id,
            )
        return (None, []) if row is None else (order_of(row), _transitions.decode_lines(row["history"] or ""))

    async def order_named(self, account_id: UUID, client_order_id: str) -> Order | None:
        async with self._database.connection() as connection:
            order_id = await connection.fetchval(
                "SELECT order_id FROM client_order_ids WHERE account_id = $1 AND client_order_id = $2",
                account_id,
                client_order_id,
            )
            if order_id is None:
                return None
            row = await connection.fetchrow(f"SELECT {ORDER_COLUMNS} FROM orders WHERE order_id = $1", order_id)  # noqa: S608
        return None if row is None else order_of(row)

    async def orders(
        self,
        account_id: UUID,
        *,
        user_id: UUID,
        status: str,
        symbol: str | None,
        start: datetime | None = None,
        end: datetime | None = None,
        before: UUID | None,
        limit: int,
    ) -> list[Order]:
        """Those placed from `start` to before `end`, newest first. An order of somebody else that was denied on this account
        is not of it."""
        first = _FIRST if start is None else first_id_of(start)
        beyond = min(before or _BEYOND, _BEYOND if end is None else first_id_of(end))
        values = [account_id, user_id, first, beyond, limit, *([] if symbol is None else [symbol])]
        async with self._database.connection() as connection:
            rows = await connection.fetch(ORDERS[status, symbol is not None], *values)
        return [order_of(row) for row in rows]

    async def trades(
        self, account_id: UUID, *, symbol: str | None, order_id: UUID | None, before: int | None, limit: int
    ) -> list[tuple[Trade, int]]:
        """Newest first, each with the account's version that booked it."""
        values = [
            account_id,
            _LAST_NO if before is None else before,
            limit,
            *(v for v in (symbol, order_id) if v is not None),
        ]
        async with self._database.connection() as connection:
            rows = await connection.fetch(TRADES[symbol is not None, order_id is not None], *values)
        return [(trade_of(row), row["version"]) for row in rows]

    async def growth(self, account_id: UUID) -> Growth | None:
        """After the last flow."""
        async with self._database.connection() as connection:
            return await last_growth(connection, account_id)

    async def history(
        self,
        account_id: UUID,
        timeframe: str,
        *,
        start: datetime | None,
        end: datetime | None,
        before: datetime | None,
        limit: int,
    ) -> list[asyncpg.Record]:
        """Snapshots, newest first: bucket_at, at, equity, cash, growth."""
        async with self._database.connection() as connection:
            return list(
                await connection.fetch(
                    """SELECT bucket_at, at, equity, cash, growth FROM snapshots
                    WHERE account_id = $1 AND timeframe = $2 AND ($3::timestamptz IS NULL OR bucket_at >= $3)
                    AND ($4::timestamptz IS NULL OR bucket_at < $4) AND ($5::timestamptz IS NULL OR bucket_at < $5)
                    ORDER BY bucket_at DESC LIMIT $6""",
                    *(account_id, timeframe, start, end, before, limit),
                )
            )

    async def day_of_ledger(self, account_id: UUID, start: datetime, end: datetime) -> list[asyncpg.Record]:
        """Per currency what there was at the day's begin and at its end, and its first and last entry in between."""
        async with self._database.connection() as connection:
            return list(
                await connection.fetch(
                    """SELECT currency, coalesce(sum(amount) FILTER (WHERE market_at < $2), 0) AS opening,
                    sum(amount) AS closing, min(entry_no) FILTER (WHERE market_at >= $2) AS first,
                    max(entry_no) FILTER (WHERE market_at >= $2) AS last
                    FROM entries WHERE account_id = $1 AND book = 'client' AND market_at < $3
                    GROUP BY currency ORDER BY currency""",
                    *(account_id, start, end),
                )
            )

    async def entries_between(
        self, account_id: UUID, start: datetime, end: datetime, *, after: int, last: int, limit: int
    ) -> list[asyncpg.Record]:
        """The client's side of that day, oldest first."""
        async with self._database.connection() as connection:
            return list(
                await connection.fetch(
                    """SELECT entry_no, at, market_at, kind, reference, currency, amount, settles_on FROM entries
                    WHERE account_id = $1 AND book = 'client' AND entry_no > $4 AND entry_no <= $5
                    AND market_at >= $2 AND market_at < $3 ORDER BY entry_no LIMIT $6""",
                    *(account_id, start, end, after, last, limit),
                )
            )

    async def ledger(self, account_id: UUID, *, before: int | None, limit: int) -> list[dict[str, Any]]:
        """The client's side, newest first."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(LEDGER, account_id, _LAST_NO if before is None else before, limit)
        return [dict(row) for row in rows]
