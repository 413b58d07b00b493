"""What ended 90 days ago is forgotten, as trading forgets the client_order_ids; what a venue says of it after that is of an
order not known here. So are comparisons with venues, those that tell nothing after a day.

No index is there for orders, as every order would pay for one: order ids begin with their time, so the index that finds an
order's rows meets the oldest first. What lives longer than that is met each time, and is little."""

from datetime import timedelta

from fleet_bus import Due, Transaction
from fleet_chassis.ids import first_id_of

FORGET = "forget"
"""The kind of the one due row."""

KEPT = timedelta(days=90)
BATCH = 500
"""Venue orders in one transaction, with their fills: a few milliseconds."""
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
WITH ended AS (
    SELECT reconciliation_id, asked_at, lead(outcome) OVER of_symbol AS following,
           outcome = 'clean' OR outcome = 'unanswered' OR (outcome = 'unresolved' AND lead(outcome) OVER of_symbol = outcome)
           AS says_nothing,
           outcome IN ('clean', 'mended') AND last_trade_id IS NOT NULL AS knows_fill,
           count(*) FILTER (WHERE outcome IN ('clean', 'mended') AND last_trade_id IS NOT NULL)
           OVER (of_symbol ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS knowing_since
    FROM reconciliations WHERE outcome <> 'asked'
    WINDOW of_symbol AS (PARTITION BY venue, symbol ORDER BY asked_at, reconciliation_id)
)
DELETE FROM reconciliations r USING ended WHERE r.reconciliation_id = ended.reconciliation_id
AND ended.following IS NOT NULL AND (NOT ended.knows_fill OR ended.knowing_since >= 2)
AND ended.asked_at < CASE WHEN ended.says_nothing THEN $2::timestamptz ELSE $1 END
"""


async def forget(tx: Transaction, due: Due) -> None:
    """Takes away the oldest of what is over. It needs no lock: nothing that is asked of it changes any more."""
    before = tx.now - KEPT
    gone = await tx.connection.fetch(_FORGET, first_id_of(before), before, BATCH)
    await tx.connection.execute("DELETE FROM never_sent WHERE said_at < $1", before)
    await tx.connection.execute(_FORGET_COMPARISONS, before, tx.now - KEPT_SAYING_NOTHING)
    tx.schedule(FORGET, due.aggregate_id, 0, "wall", tx.now + (_PAUSE if len(gone) == BATCH else _REST))
