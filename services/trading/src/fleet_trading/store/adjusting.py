"""What was booked on accounts by anything but trades: its rows."""

from uuid import UUID

import asyncpg

from fleet_trading.domain import Adjustment, EntryKind, Growth

_COLUMNS = """account_id, entry_no, transaction_id, kind, currency, amount, source, other_account_id, at, market_at,
unit_cost, growth, equity"""
_BY_TRANSACTION = f"SELECT {_COLUMNS} FROM adjustments WHERE transaction_id = $1 ORDER BY account_id"  # noqa: S608  constant
ADD = f"INSERT INTO adjustments ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)"  # noqa: S608
_GROWTH = """
SELECT growth, equity FROM adjustments WHERE account_id = $1 AND growth IS NOT NULL ORDER BY entry_no DESC LIMIT 1
"""


def values(adjustment: Adjustment) -> tuple[object, ...]:
    """Of ADD."""
    *plain, growth = adjustment
    return (*plain, *(growth or (None, None)))


async def last_growth(connection: asyncpg.Connection, account_id: UUID) -> Growth | None:
    """After the account's last flow."""
    row = await connection.fetchrow(_GROWTH, account_id)
    return None if row is None else Growth(row["growth"], row["equity"])


async def of_transaction(connection: asyncpg.Connection, transaction_id: UUID) -> list[Adjustment]:
    return [_adjustment(row) for row in await connection.fetch(_BY_TRANSACTION, transaction_id)]


def _adjustment(row: asyncpg.Record) -> Adjustment:
    growth = None if row["growth"] is None else Growth(row["growth"], row["equity"])
    named = {name: row[name] for name in Adjustment._fields if name not in {"kind", "growth"}}
    return Adjustment(kind=EntryKind(row["kind"]), growth=growth, **named)
