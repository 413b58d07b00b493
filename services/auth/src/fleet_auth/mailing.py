"""Mail as what time causes: how often, and one at a time."""

from collections.abc import Awaitable, Callable

from fleet_bus import Due, DueKind

from .store import PostgresUnitOfWork


def mail_kind(kind: str, send: Callable[[PostgresUnitOfWork, Due], Awaitable[None]]) -> DueKind:
    """Rows that are due at once, and again with growing pauses while `send` raises."""
    return DueKind(
        kind=kind,
        clock="wall",
        unit_of_work=PostgresUnitOfWork,
        touches=lambda row_id: (row_id,),
        handle=send,
        # One mail a transaction: it is on its way while the transaction is open.
        batch=1,
        counts_at_rest=False,
    )
