"""What the use cases need of the world: one unit of work."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple, Protocol
from uuid import UUID

from .domain import Filled, OrderKey, Outcome, VenueOrder
from .domain.groups import Group
from .domain.reconciliation import Reconciliation


class Told(NamedTuple):
    """`side` is that of the venue order, None where there is none; only what has one can be filled."""

    key: OrderKey
    outcome: Outcome
    side: str | None = None


def told_of(order: VenueOrder, outcomes: Iterable[Outcome]) -> list[Told]:
    return [Told(order.key, outcome, order.terms.side) for outcome in outcomes]


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

    async def children(self, parent: VenueOrder) -> Sequence[VenueOrder]:
        """Of an order that is worked by an algorithm: its venue orders with what this transaction changed, oldest first."""
        ...

    def group(self, group_ref: UUID) -> Group:
        """All orders of a group, of which one was locked, with what this transaction changed."""
        ...

    def can(self, venue: str, capability: str) -> bool:
        """Whether the venue says so of itself; known where a venue order is asked for that is not there."""
        ...

    async def look_for_doubts(self) -> None:
        """Has `is_in_doubt` know, where no new order was asked for."""
        ...

    def look_at(self, parent: VenueOrder, at: datetime) -> None:
        """Lets time bring the next step of a worked order, or of a group by its root."""
        ...

    def is_in_doubt(self, venue: str, symbol: str) -> bool:
        """Whether the venue's books and ours may differ; known where a venue order is asked for that is not there."""
        ...

    def publish(self, told: Iterable[Told], *, market_at: datetime) -> None:
        """All that one cause brought about, in order: facts for trading, commands for the venues."""
        ...


class VenueState(NamedTuple):
    is_connected: bool
    can_list: bool
    capabilities: frozenset[str]
    heard_at: datetime
    """When it said so, by our clock."""


class ComparingUnitOfWork(UnitOfWork, Protocol):
    """What comparing with a venue needs besides."""

    async def venue_state(self, venue: str) -> VenueState | None:
        """What the venue said of itself last; locked, and all other venues' with it."""
        ...

    def keep_venue_state(self, venue: str, state: VenueState) -> None: ...

    async def asked(self, venue: str, symbol: str) -> Reconciliation | None:
        """The one whose question is open, locked."""
        ...

    async def latest(self, venue: str, symbols: Iterable[str]) -> Mapping[str, Reconciliation]:
        """The last one of each of these symbols that has one."""
        ...

    async def overlapping_trade_id(self, venue: str, symbol: str) -> str | None:
        """From where fills are asked for: what the last comparison but one knew as the last."""
        ...

    async def unlike_fills(self, fills: Iterable[tuple[UUID, Filled]]) -> set[tuple[UUID, str]]:
        """Of these, by venue order, those that no row is there of, or one of another quantity, price or fee: by venue
        order and trade id; their orders are locked."""
        ...

    async def lock(self, ids: Sequence[str]) -> None:
        """Venue orders by reference, with what hangs together with them."""
        ...

    async def reconciliation(self, reconciliation_id: UUID) -> Reconciliation | None: ...

    async def last_ended(self, venue: str, symbol: str) -> Reconciliation | None:
        """The last one whose question is not open any more."""
        ...

    def hold(self, venue: str, symbol: str, account_id: UUID, more: Decimal) -> None:
        """The account holds so much more, by no fill."""
        ...

    def settle(self, fills: Sequence[tuple[UUID, str]]) -> None:
        """Fills of no order known here, by venue order and trade id, which are not found any more."""
        ...

    def keep_reconciliation(self, reconciliation: Reconciliation) -> None: ...

    async def open_orders(
        self, venue: str, symbol: str, *, before: datetime, after: UUID | None, upto: UUID | None, limit: int
    ) -> Sequence[OrderKey]:
        """Ours that were sent before then and have not ended, as they are now, of this range of references."""
        ...

    async def positions(
        self, venue: str, symbol: str, *, of: Iterable[UUID], after: UUID | None, upto: UUID | None, limit: int
    ) -> Mapping[UUID, Decimal]:
        """By account the sum of all fills there were: of these, and of those of this range that hold anything."""
        ...

    async def open_symbols(self, venue: str) -> set[str]: ...

    async def doubts(self, venue: str) -> Mapping[str, datetime]:
        """By symbol, since when; that of the whole venue has the symbol ''."""
        ...

    def doubt(self, venue: str, symbol: str, reason: str) -> None: ...

    def trust(self, venue: str, symbol: str) -> None: ...

    def ask(self, reconciliation: Reconciliation) -> None:
        """Sends the question that is open to the venue."""
        ...

    def ask_about(self, keys: Iterable[OrderKey]) -> None:
        """Asks the venue where these orders stand."""
        ...

    def look_again(self, venue: str, at: datetime) -> None: ...
