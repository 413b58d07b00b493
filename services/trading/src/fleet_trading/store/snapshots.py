"""What accounts were worth: written by a walk over all of them each hour, in a replay at the end of each step; read by
GET /portfolio/history."""

from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from fleet_bus import Transaction
from fleet_chassis.database import columns

from fleet_trading.domain import Account, Growth, Marks
from fleet_trading.domain.portfolio import equity_of

SNAPSHOTS = "portfolio-snapshots"
"""The kind of due rows; the aggregate is the account that the walk has come to."""
STEP_SNAPSHOTS = "portfolio-snapshots-of-step"
"""The same for the walk at the end of a step, whose number and market time they have."""

BATCH = 100
"""Accounts in one transaction, which locks them: about 20 ms."""
EVERY = timedelta(hours=1)
KEPT_HOURLY = timedelta(days=30)

_NEXT = "SELECT account_id FROM accounts WHERE account_id > $1 ORDER BY account_id LIMIT $2"
_GROWTH = """
SELECT DISTINCT ON (account_id) account_id, growth, equity FROM adjustments
WHERE account_id = ANY($1::uuid[]) AND growth IS NOT NULL ORDER BY account_id, entry_no DESC
"""
_LAST = """
SELECT DISTINCT ON (account_id) account_id, equity, cash, growth FROM snapshots
WHERE account_id = ANY($1::uuid[]) AND timeframe = '1d' ORDER BY account_id, bucket_at DESC
"""
_KEEP = """
INSERT INTO snapshots (account_id, timeframe, bucket_at, at, equity, cash, growth, version)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::timestamptz[], $4::timestamptz[], $5::numeric[], $6::numeric[],
                     $7::numeric[], $8::bigint[])
ON CONFLICT (account_id, timeframe, bucket_at) DO UPDATE
SET at = excluded.at, equity = excluded.equity, cash = excluded.cash, growth = excluded.growth, version = excluded.version
"""
_FORGET = "DELETE FROM snapshots WHERE account_id = ANY($1::uuid[]) AND timeframe = '1h' AND bucket_at < $2"


async def accounts_after(tx: Transaction, after: UUID) -> list[UUID]:
    return [row[0] for row in await tx.connection.fetch(_NEXT, after, BATCH)]


async def take(tx: Transaction, accounts: list[Account], marks: Marks, at: datetime) -> None:
    """Of accounts that are locked. What the last one says already is not repeated: whether there is one depends on what the
    account is worth alone, and not on who wrote to it meanwhile."""
    ids = [account.account_id for account in accounts]
    told = {row["account_id"]: row for row in await tx.connection.fetch(_LAST, ids)}
    grown = {row["account_id"]: row for row in await tx.connection.fetch(_GROWTH, ids)}
    hour = at.replace(minute=0, second=0, microsecond=0)
    rows = []
    for account in accounts:
        equity = equity_of(account, marks)
        flow = grown.get(account.account_id)
        growth = Decimal(1) if flow is None else Growth(flow["growth"], flow["equity"]).at(equity)
        cash = account.balance(account.base_currency).total
        last = told.get(account.account_id)
        if last is not None and (last["equity"], last["cash"], last["growth"]) == (equity, cash, growth):
            continue
        rows += [
            (account.account_id, timeframe, bucket, at, equity, cash, growth, account.version)
            for timeframe, bucket in (("1h", hour), ("1d", hour.replace(hour=0)))
        ]
    if rows:
        await tx.connection.execute(_KEEP, *columns(rows, 8))
        await tx.connection.execute(_FORGET, ids, at - KEPT_HOURLY)
