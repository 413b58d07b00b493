"""The books are held against themselves all the time, some accounts a second: each entry is read once, so a round is short
however long a ledger is. `verify` is the other check, of everything at once."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from uuid import UUID

import asyncpg
from fleet_bus import Due, Transaction

CHECK = "check-books"
"""The kind of due rows; the aggregate is the account that the walk has come to."""

_ACCOUNTS, _ENTRIES = 20, 1_000
"""Accounts in a round, and entries of each: a longer ledger is read on in the next pass. About 20 ms."""
_PAUSE = timedelta(seconds=1)
_REST = timedelta(seconds=10)
"""Between the end of a pass and the next."""
_START = UUID(int=0)

# One statement sees one moment.
_LOOK = """
WITH round AS MATERIALIZED (
    SELECT a.account_id, a.entry_no AS last, coalesce(c.entry_no, 0) AS done,
           least(a.entry_no, coalesce(c.entry_no, 0) + $3) AS upto
    FROM accounts AS a LEFT JOIN checked_accounts AS c USING (account_id)
    WHERE a.account_id > $1 ORDER BY a.account_id LIMIT $2
), fresh AS (
    SELECT r.account_id, e.currency, coalesce(sum(e.amount) FILTER (WHERE e.book = 'client'), 0) AS client,
           sum(e.amount) AS everything, count(*) AS entries
    FROM round AS r
    JOIN entries AS e ON e.account_id = r.account_id AND e.entry_no > r.done AND e.entry_no <= r.upto GROUP BY 1, 2
), parts AS (
    SELECT s.account_id, s.currency, s.client, s.everything, 0::bigint AS entries,
           0::numeric AS total, 0::numeric AS reserved, 0::numeric AS of_orders
    FROM round JOIN checked_sums AS s USING (account_id)
    UNION ALL
    SELECT account_id, currency, client, everything, entries, 0, 0, 0 FROM fresh
    UNION ALL
    SELECT b.account_id, b.currency, 0, 0, 0, b.total, b.reserved, 0 FROM round JOIN balances AS b USING (account_id)
    UNION ALL
    SELECT o.account_id, CASE o.side WHEN 'buy' THEN o.quote ELSE o.base END, 0, 0, 0, 0, 0, o.reserved
    FROM round JOIN orders AS o USING (account_id) WHERE o.stand IN ('new', 'partially_filled')
)
SELECT r.account_id, r.upto, r.upto - r.done AS asked, r.upto = r.last AS is_whole, p.currency,
       sum(p.client) AS client, sum(p.everything) AS everything, sum(p.entries)::bigint AS entries,
       sum(p.total) AS total, sum(p.reserved) AS reserved, sum(p.of_orders) AS of_orders
FROM round AS r LEFT JOIN parts AS p USING (account_id) GROUP BY 1, 2, 3, 4, 5 ORDER BY 1, 5
"""
_KEEP_SUMS = """
INSERT INTO checked_sums (account_id, currency, client, everything)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::numeric[], $4::numeric[])
ON CONFLICT (account_id, currency) DO UPDATE SET client = excluded.client, everything = excluded.everything
"""
_KEEP_PLACES = """
INSERT INTO checked_accounts (account_id, entry_no) SELECT * FROM unnest($1::uuid[], $2::bigint[])
ON CONFLICT (account_id) DO UPDATE SET entry_no = excluded.entry_no
"""


async def check(tx: Transaction, due: Due) -> list[str]:
    """What does not hold of the next accounts, in words; and schedules the round after this.

    It locks nothing: what it reads is of one moment, and nobody else writes its rows."""
    connection = tx.connection
    rows = await connection.fetch(_LOOK, UUID(due.aggregate_id), _ACCOUNTS, _ENTRIES)
    places = {row["account_id"]: row["upto"] for row in rows}
    fresh = [row for row in rows if row["entries"]]
    if fresh:
        columns = ([row[name] for row in fresh] for name in ("account_id", "currency", "client", "everything"))
        await connection.execute(_KEEP_SUMS, *columns)
        touched = sorted({row["account_id"] for row in fresh})
        await connection.execute(_KEEP_PLACES, touched, [places[account_id] for account_id in touched])
    is_end = len(places) < _ACCOUNTS
    come_to = _START if is_end else max(places)
    tx.schedule(CHECK, str(come_to), due.sequence + 1, "wall", tx.now + (_REST if is_end else _PAUSE))
    return [problem for row in rows if row["currency"] is not None for problem in _problems(row)] + list(_gaps(rows))


def _problems(row: asyncpg.Record) -> Iterator[str]:
    where = f"account_id={row['account_id']}, currency={row['currency']}"
    if row["reserved"] != row["of_orders"]:
        yield f"reserved is not the sum over open orders: {where}, {row['reserved']} and {row['of_orders']}"
    if row["is_whole"] and row["client"] != row["total"]:
        yield f"a balance is not the sum of its entries: {where}, {row['total']} and {row['client']}"
    if row["is_whole"] and row["everything"]:
        yield f"debits are not credits: {where}, they differ by {row['everything']}"


def _gaps(rows: Sequence[asyncpg.Record]) -> Iterator[str]:
    found: dict[UUID, int] = {}
    for row in rows:
        found[row["account_id"]] = found.get(row["account_id"], 0) + (row["entries"] or 0)
    for account_id, asked in {row["account_id"]: row["asked"] for row in rows}.items():
        if found[account_id] != asked:
            yield f"entries are missing: account_id={account_id}, {found[account_id]} of {asked}"
