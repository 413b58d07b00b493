"""Which row is locked first of orders that hang together: that of the one that brought the others, or is worked in them.

Whoever holds it is alone with its family, so in what order the rest is locked does not matter."""

from collections.abc import Iterable
from uuid import UUID

import asyncpg

from fleet_execution.domain import VenueOrder

MOST = 65_536
"""Remembered at the most, the oldest go first. Of one that is not, the child is locked first, and where that meets whoever
comes from the other side, PostgreSQL ends one of the two, which is done again: a second's delay, after a restart."""


class Families:
    """A report names only the child it is about; what it is a child of never changes, and is remembered here."""

    def __init__(self) -> None:
        self._first: dict[UUID, UUID] = {}

    def remember(self, order: VenueOrder) -> None:
        self._remember(order.key.ref, order.group_ref or order.parent_ref)

    def first_of(self, refs: Iterable[UUID]) -> set[UUID]:
        """What to lock before these; an order by itself is its own."""
        return {self._first.get(ref, ref) for ref in refs}

    def __contains__(self, ref: UUID) -> bool:
        return ref in self._first

    async def load(self, connection: asyncpg.Connection) -> None:
        """Those of open orders, at the start."""
        rows = await connection.fetch(
            "SELECT venue_order_ref, coalesce(group_ref, parent_ref) FROM venue_orders"
            " WHERE ended_at IS NULL AND (group_ref IS NOT NULL OR parent_ref IS NOT NULL) LIMIT $1",
            MOST,
        )
        for ref, first in rows:
            self._remember(ref, first)

    def _remember(self, ref: UUID, first: UUID | None) -> None:
        if first is None or first == ref or ref in self._first:
            return
        if len(self._first) >= MOST:
            del self._first[next(iter(self._first))]
        self._first[ref] = first
