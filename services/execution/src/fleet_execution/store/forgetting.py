"""What ended 90 days ago is forgotten, as trading forgets the client_order_ids; what a venue says of it after that is of an
order not known here. So are comparisons with venues, those that tell nothing after a day.

No index is there for orders, as every order would pay for one: order ids begin with their time, so the index that finds an
order's rows meets the oldest first. What lives longer than that is met each time, and is little."""

from datetime import timedelta

from fleet_bus import Due, Transaction
from fleet_chassis.ids import first_id_of

from fleet_execution.domain.reconciliation import REMEMBERED

FORGET = "forget"
"""The kind of the one due row."""

BATCH = 500
"""Venue orders in one transaction, with their fills: a few milliseconds. So many comparisons where fewer orders are left:
20 ms."""
KEPT_SAYING_NOTHING = timedelta(days=1)
"""Comparisons that found nothing, had no answer, or left what the next one left as well: one a minute of each symbol."""
_PAUSE = timedelta(seconds=1)
_REST = timedelta(hours=1)

# An order goes with its parts and its group, the last of which must have ended as long ago.
_LIVES = "o.ended_at IS NULL OR o.ended_at >= $2"
_FORGET = f"""
WITH old AS (
    SELECT venue_order_ref FROM venue_orders v WHERE order_id < $1 AND ended_at < $2
    AND NOT EXISTS (SELECT FROM venue_orders o WHERE o.order_id = v.order_id AND ({_LIVES}))
    AND NOT EXISTS (SELECT FROM venue_orders o WHERE o.group_ref = v.group_ref AND ({_LIVES}))
    ORDER BY order_id LIMIT $3
), fills_of_old AS (
    DELETE FROM fills USING old WHERE fills.venue_order_ref = old.venue_order_ref
)
DELETE FROM venue_orders USING old WHERE venue_orders.venue_order_ref = old.venue_order_ref RETURNING 1
"""  # noqa: S608 (constants)
# What the next comparison needs stays: the last that has ended, and the last two that say from which fill on to ask.
_FORGET_COMPARISONS = """
DELETE FROM reconciliations WHERE reconciliation_id IN (
    SELECT r.reconciliation_id FROM reconciliations r CROSS JOIN LATERAL (
        SELECT outcome FROM reconciliations WHERE venue = r.venue AND symbol = r.symbol AND asked_at > r.asked_at
        AND outcome <> 'asked' ORDER BY asked_at LIMIT 1
    ) following
    WHERE r.outcome <> 'asked' AND r.asked_at < $2
    AND (r.asked_at < $1 OR r.outcome IN ('clean', 'unanswered')
         OR (r.outcome = 'unresolved' AND following.outcome = r.outcome))
    AND (r.outcome NOT IN ('clean', 'mended') OR r.last_trade_id IS NULL OR EXISTS (
        SELECT FROM reconciliations WHERE venue = r.venue AND symbol = r.symbol AND asked_at > r.asked_at
        AND outcome IN ('clean', 'mended') AND last_trade_id IS NOT NULL ORDER BY asked_at OFFSET 1))
    LIMIT $3
) RETURNING 1
"""


async def forget(tx: Transaction, due: Due) -> None:
    """Takes away the oldest of what is over. It needs no lock: nothing that is asked of it changes any more."""
    before = tx.now - REMEMBERED
    gone = await tx.connection.fetch(_FORGET, first_id_of(before), before, BATCH)
    await tx.connection.execute("DELETE FROM never_sent WHERE said_at < $1", before)
    if len(gone) < BATCH:
        gone = await tx.connection.fetch(_FORGET_COMPARISONS, before, tx.now - KEPT_SAYING_NOTHING, BATCH)
    tx.schedule(FORGET, due.aggregate_id, 0, "wall", tx.now + (_PAUSE if len(gone) == BATCH else _REST))
