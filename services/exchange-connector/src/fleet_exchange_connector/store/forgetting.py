"""What ended 90 days ago is forgotten, as execution forgets it: orders with their fills and corrections. A position stays, and
so does what is open, however old, for a book knows nothing of what has ended but that it is not there.

Nothing is asked of it any more: the commands of its time have left their topic after a week, execution asks about what is
open, and a trade is corrected within 30 days. No index is there for it, as every order would pay for one, and a
`venue_order_ref` is no time: a walk takes the table's pages one after the other, in which the oldest lie first."""

from datetime import timedelta

from fleet_bus import Due, Transaction

FORGET = "forget"
"""The kind of the one due row; its sequence is the page that comes next."""

KEPT = timedelta(days=90)
"""After an order's end, or its last correction."""
PAGES = 64
"""Looked through in one transaction, half a megabyte: a millisecond, of half a million rows as of any number."""
BATCH = 500
"""Orders taken away in one, with their fills: some ten milliseconds. The pages are looked through again where it is reached."""
_PAUSE = timedelta(seconds=1)
_REST = timedelta(hours=1)

_FORGET = """
WITH old AS (
    DELETE FROM venue_orders WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM venue_orders
        WHERE ctid >= format('(%s,0)', $1::bigint)::tid AND ctid < format('(%s,0)', $1::bigint + $2::bigint)::tid
        AND open IS NULL AND updated_at < $3 LIMIT $4
    )) RETURNING venue_order_ref
), corrections_of_old AS (
    DELETE FROM trade_corrections USING old WHERE trade_corrections.venue_order_ref = old.venue_order_ref
), fills_of_old AS (
    DELETE FROM venue_fills USING old WHERE venue_fills.venue_order_ref = old.venue_order_ref
)
SELECT (SELECT count(*) FROM old), pg_relation_size('venue_orders') / current_setting('block_size')::bigint
"""


async def forget(tx: Transaction, due: Due) -> None:
    """Takes away what is over in the next pages. It needs no lock: nothing of it changes any more."""
    ((gone, pages),) = await tx.connection.fetch(_FORGET, due.sequence, PAGES, tx.now - KEPT, BATCH)
    page = due.sequence if gone == BATCH else due.sequence + PAGES
    if page < pages:
        tx.schedule(FORGET, due.aggregate_id, page, "wall", tx.now + _PAUSE)
    else:
        tx.schedule(FORGET, due.aggregate_id, 0, "wall", tx.now + _REST)
