"""What the use cases need of the world: one unit of work."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from .domain import OrderKey, Outcome, VenueOrder


class Told(NamedTuple):
    """`side` is that of the venue order, None where there is none; only what has one can be filled."""

    key: OrderKey
    outcome: Outcome
    side: str | None = None


class UnitOfWork(Protocol):
    """The venue orders of one transaction, locked before the first use case."""

    @property
    def now(self) -> datetime:
        """Wall clock, read once for the transaction."""
        ...

    def find(self, ref: UUID) -> VenueOrder | None:
        """The venue order with what this transaction changed, None if there is none."""
        ...

    def save(self, order: VenueOrder) -> None: ...

    def is_never_sent(self, ref: UUID) -> bool:
        """Whether we have said of this order that it was never sent."""
        ...

    def remember_never_sent(self, key: OrderKey) -> None: ...

    def publish(self, told: Iterable[Told], *, market_at: datetime) -> None:
        """All that one cause brought about, in order: facts for trading, commands for the venues."""
        ...
