"""What nobody reads any more is forgotten: old bars, bars that were withheld, signals, and orders."""

from datetime import timedelta

from fleet_bus import Due, Transaction
from fleet_chassis.ids import first_id_of

from fleet_strategy.domain import MOST_WAITING

FORGET = "forget"
"""The kind of the one due row."""

KEPT_BARS = 10_001 + MOST_WAITING
"""Of a symbol and timeframe: the longest lookback of a strategy, before the oldest step that may still wait."""
KEPT_SIGNALS = 100
"""Of a deployment; it shows its last 20."""
KEPT = timedelta(days=7)
"""Signals younger than this, by market time, are kept whatever their number: so long the topics keep what is said of them."""
KEPT_ORDERS = timedelta(days=90)
"""After their end, by the wall: so long execution knows an order, and whatever a venue says of it later, such as that a
trade is corrected, does not reach us any more. Were it forgotten before, all that it had filled would count once more."""
BATCH = 10_000
"""Rows of a kind after which the rest waits for the next transaction: tens of milliseconds."""
_PAUSE = timedelta(seconds=1)
_REST = timedelta(hours=1)

# The series are found by jumps over the primary key; of each that has too many, the newest bar to go by a look along it.
_TOO_MANY = """
WITH RECURSIVE series AS (
    (SELECT symbol, timeframe FROM {table} ORDER BY symbol, timeframe LIMIT 1)
    UNION ALL
    SELECT following.symbol, following.timeframe FROM series CROSS JOIN LATERAL (
        SELECT symbol, timeframe FROM {table} t WHERE (t.symbol, t.timeframe) > (series.symbol, series.timeframe)
        ORDER BY symbol, timeframe LIMIT 1
    ) AS following
)
SELECT series.symbol, series.timeframe, newest.close_at FROM series CROSS JOIN LATERAL (
    SELECT close_at FROM {table} t WHERE t.symbol = series.symbol AND t.timeframe = series.timeframe
    ORDER BY close_at DESC OFFSET $1 LIMIT 1
) AS newest
"""
_FORGET_OF_SERIES = "DELETE FROM {table} WHERE symbol = $1 AND timeframe = $2 AND close_at <= $3"
_OLD_SIGNALS = """
SELECT s.signal_id FROM deployments d CROSS JOIN LATERAL (
    SELECT market_at, number FROM signals k WHERE k.deployment_id = d.deployment_id
    ORDER BY market_at DESC, number DESC OFFSET $1 LIMIT 1
) AS newest
JOIN signals s ON s.deployment_id = d.deployment_id
    AND (s.market_at, s.number) <= (newest.market_at, newest.number) AND s.market_at < d.last_step_at - $2::interval
WHERE NOT EXISTS (SELECT FROM deployment_orders o WHERE o.signal_id = s.signal_id AND o.is_open)
LIMIT $3
"""
# Order ids begin with their time, so the oldest come first; what stays with its signal is met each time, and is little.
_OLD_ORDERS = """
DELETE FROM deployment_orders WHERE order_id IN (
    SELECT order_id FROM deployment_orders o WHERE order_id < $1 AND NOT is_open AND updated_at < $2
    AND NOT EXISTS (SELECT FROM signals s WHERE s.signal_id = o.signal_id)
    ORDER BY order_id LIMIT $3
)
"""


async def forget(tx: Transaction, due: Due) -> None:
    """It needs no lock: what it takes away changes no more."""
    is_all = [
        await _forget_series(tx, "bars", KEPT_BARS),
        await _forget_series(tx, "withheld_bars", MOST_WAITING),
        await _forget_signals(tx),
        await _forget_orders(tx),
    ]
    tx.schedule(FORGET, due.aggregate_id, 0, "wall", tx.now + (_REST if all(is_all) else _PAUSE))


async def _forget_series(tx: Transaction, table: str, kept: int) -> bool:
    """Whether that was all."""
    gone = 0
    for series in await tx.connection.fetch(_TOO_MANY.format(table=table), kept):
        if gone >= BATCH:
            return False
        status = await tx.connection.execute(_FORGET_OF_SERIES.format(table=table), *series)
        gone += int(status.removeprefix("DELETE "))
    return True


async def _forget_signals(tx: Transaction) -> bool:
    rows = await tx.connection.fetch(_OLD_SIGNALS, KEPT_SIGNALS, KEPT, BATCH)
    await tx.connection.execute("DELETE FROM signals WHERE signal_id = ANY($1)", [row[0] for row in rows])
    return len(rows) < BATCH


async def _forget_orders(tx: Transaction) -> bool:
    before = tx.now - KEPT_ORDERS
    status = await tx.connection.execute(_OLD_ORDERS, first_id_of(before), before, BATCH)
    return int(status.removeprefix("DELETE ")) < BATCH
