"""Holds the books against themselves: what must always be true, asked of the database in one snapshot."""

from dataclasses import dataclass, field
from decimal import Decimal

import asyncpg

# Each row found is a broken promise; the columns say where.
CHECKS: dict[str, str] = {
    "a transaction's entries do not sum to zero": """
        SELECT account_id, transaction_id, currency, sum(amount) AS amount FROM entries
        GROUP BY account_id, transaction_id, currency HAVING sum(amount) <> 0""",
    "an account's entries are not numbered without gaps": """
        SELECT e.account_id, count(*) AS entries, max(e.entry_no) AS last, a.entry_no AS counted
        FROM entries AS e LEFT JOIN accounts AS a USING (account_id)
        GROUP BY e.account_id, a.entry_no
        HAVING count(*) <> max(e.entry_no) OR max(e.entry_no) IS DISTINCT FROM a.entry_no""",
    "a balance is not the sum of its entries": """
        SELECT coalesce(b.account_id, e.account_id) AS account_id, coalesce(b.currency, e.currency) AS currency,
               b.total, e.amount
        FROM balances AS b FULL JOIN (
            SELECT account_id, currency, sum(amount) AS amount FROM entries WHERE book = 'client' GROUP BY 1, 2
        ) AS e ON e.account_id = b.account_id AND e.currency = b.currency
        WHERE coalesce(b.total, 0) <> coalesce(e.amount, 0)""",
    "an entry's balance_after is not the sum up to it": """
        SELECT account_id, entry_no, balance_after, amount FROM (
            SELECT account_id, entry_no, balance_after,
                   sum(amount) OVER (PARTITION BY account_id, currency ORDER BY entry_no) AS amount
            FROM entries WHERE book = 'client'
        ) AS running WHERE balance_after IS DISTINCT FROM amount""",
    "reserved is not the sum over open orders": """
        SELECT coalesce(b.account_id, o.account_id) AS account_id, coalesce(b.currency, o.currency) AS currency,
               b.reserved, o.reserved AS of_orders
        FROM balances AS b FULL JOIN (
            SELECT account_id, CASE side WHEN 'buy' THEN quote ELSE base END AS currency, sum(reserved) AS reserved
            FROM orders WHERE stand IN ('new', 'partially_filled') GROUP BY 1, 2
        ) AS o ON o.account_id = b.account_id AND o.currency = b.currency
        WHERE coalesce(b.reserved, 0) <> coalesce(o.reserved, 0)""",
    "an order that is closed still reserves": """
        SELECT order_id, account_id, reserved FROM orders
        WHERE stand NOT IN ('new', 'partially_filled') AND reserved <> 0""",
    "an order's fills are not the sum of its trades": """
        SELECT o.order_id, o.filled_quantity, t.quantity, o.filled_notional, t.notional, o.fees, t.fees AS of_trades
        FROM orders AS o FULL JOIN (
            SELECT order_id, sum(quantity) AS quantity, sum(quantity * price) AS notional, sum(fee) AS fees
            FROM trades GROUP BY order_id
        ) AS t ON t.order_id = o.order_id
        WHERE coalesce(o.filled_quantity, 0) <> coalesce(t.quantity, 0)
           OR coalesce(o.filled_notional, 0) <> coalesce(t.notional, 0) OR coalesce(o.fees, 0) <> coalesce(t.fees, 0)""",
    "the two sides of a transfer are not the same": """
        SELECT transaction_id, currency, sum(amount) AS amount FROM entries
        WHERE book = 'transfers' GROUP BY 1, 2 HAVING sum(amount) <> 0""",
    "a position is not the sum of its trades and of what came and went in kind": """
        SELECT coalesce(p.account_id, t.account_id) AS account_id, coalesce(p.symbol, t.symbol) AS symbol,
               p.quantity, t.quantity AS moved
        FROM positions AS p FULL JOIN (
            SELECT account_id, symbol, sum(quantity) AS quantity FROM (
                SELECT account_id, symbol, CASE side WHEN 'buy' THEN quantity ELSE -quantity END AS quantity
                FROM trades JOIN accounts AS a USING (account_id) WHERE trades.trade_no > a.epoch_trade_no
                UNION ALL
                SELECT account_id, j.currency || '/' || a.base_currency, j.amount
                FROM adjustments AS j JOIN accounts AS a USING (account_id)
                WHERE j.currency <> a.base_currency AND NOT EXISTS (
                    SELECT FROM adjustments AS r
                    WHERE r.account_id = j.account_id AND r.kind = 'reset' AND r.entry_no > j.entry_no)
            ) AS moved GROUP BY 1, 2
        ) AS t ON t.account_id = p.account_id AND t.symbol = p.symbol
        WHERE coalesce(p.quantity, 0) <> coalesce(t.quantity, 0)""",
    "a trade is booked twice": """
        SELECT order_id, trade_id, count(*) AS times FROM trades GROUP BY 1, 2 HAVING count(*) > 1""",
    "the trades of an account are not booked in its ledger": """
        SELECT coalesce(t.account_id, e.account_id) AS account_id, t.trades, e.transactions
        FROM (SELECT account_id, count(*) AS trades FROM trades GROUP BY 1) AS t FULL JOIN (
            SELECT account_id, count(DISTINCT transaction_id) AS transactions FROM entries WHERE kind = 'trade' GROUP BY 1
        ) AS e ON e.account_id = t.account_id
        WHERE coalesce(t.trades, 0) <> coalesce(e.transactions, 0)""",
}
_TOTALS = """
SELECT currency, sum(amount) FILTER (WHERE amount > 0) AS debits, -sum(amount) FILTER (WHERE amount < 0) AS credits
FROM entries GROUP BY currency ORDER BY currency
"""
_COUNTS = """
SELECT (SELECT count(*) FROM accounts) AS accounts, (SELECT count(*) FROM entries) AS entries,
       (SELECT count(*) FROM orders) AS orders, (SELECT count(*) FROM trades) AS trades,
       (SELECT count(*) FROM accounts WHERE status <> 'active') AS restricted
"""
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Totals:
    currency: str
    debits: Decimal
    credits: Decimal


@dataclass(frozen=True, slots=True)
class Verdict:
    """`problems` is empty if the books hold. At most 20 rows are shown of each kind."""

    totals: list[Totals]
    counts: dict[str, int]
    problems: list[str] = field(default_factory=list)


async def verify(connection: asyncpg.Connection) -> Verdict:
    """Reads all of the books: for a continuous check, run it on a replica."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        rows = await connection.fetch(_TOTALS)
        totals = [Totals(row["currency"], row["debits"] or Decimal(0), row["credits"] or Decimal(0)) for row in rows]
        problems = [
            f"debits are not credits in {total.currency}: {total.debits} and {total.credits}"
            for total in totals
            if total.debits != total.credits
        ]
        for what, query in CHECKS.items():
            for row in await connection.fetch(f"{query} LIMIT {_SHOWN}"):
                problems.append(f"{what}: " + ", ".join(f"{name}={value}" for name, value in row.items()))
        counts = dict(await connection.fetchrow(_COUNTS) or {})
    return Verdict(totals, counts, problems)
