"""What the use cases need: the stores over one transaction, and a way to say what happened."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Protocol
from uuid import UUID

from fleet_exchange_connector.domain.bars import Bar
from fleet_exchange_connector.domain.book import Book
from fleet_exchange_connector.domain.corrections import Correction, Trade
from fleet_exchange_connector.domain.instruments import Instrument
from fleet_exchange_connector.domain.market import Market
from fleet_exchange_connector.domain.orders import (
    Fill,
    KnownOrder,
    OpenOrder,
    OrderCommand,
    PlaceOrder,
    Report,
    Restriction,
)
from fleet_exchange_connector.domain.replays import Replay


@dataclass(frozen=True, slots=True)
class OrdersReported:
    """All that one cause (command, bar, quote, timer) did to the orders of one symbol."""

    symbol: str
    reports: Sequence[Report]


@dataclass(frozen=True, slots=True)
class BookListed:
    """The answer to a ListQuery: a page of open orders, each with its user, of fills, and of what accounts hold."""

    query_id: UUID
    symbol: str
    market_at: datetime
    orders: Sequence[tuple[OpenOrder, UUID]]
    has_more_orders: bool
    fills: Sequence[Fill]
    has_more_fills: bool
    last_trade_id: str
    positions: Sequence[tuple[UUID, Decimal]]
    has_more_positions: bool


@dataclass(frozen=True, slots=True)
class BarsClosed:
    timeframe: str
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True)
class BarsBackfilled:
    """At most 1,440 bars of one symbol, oldest first."""

    timeframe: str
    bars: Sequence[Bar]


@dataclass(frozen=True, slots=True)
class StepEnded:
    step: int
    market_at: datetime
    timeframe: str
    symbols: tuple[str, ...]
    replay_id: UUID | None


@dataclass(frozen=True, slots=True)
class InstrumentListed:
    instrument: Instrument
    maker_fee: Decimal
    taker_fee: Decimal
    calendar: str
    is_simulated: bool


@dataclass(frozen=True, slots=True)
class VenueTold:
    """The venue's heartbeat."""

    feed: str
    heartbeat_at: datetime
    detail: str | None


Event = OrdersReported | BookListed | BarsClosed | BarsBackfilled | StepEnded | InstrumentListed | VenueTold


class Says(Protocol):
    """Sends an event if and only if the transaction commits."""

    def publish(self, event: Event) -> None: ...


class OrderWork(Says, Protocol):
    """The books and orders that this transaction has locked; `now` is its wall time."""

    @property
    def now(self) -> datetime: ...

    @property
    def market(self) -> Market | None:
        """The simulated market; None on a replay."""

    def book(self, symbol: str) -> Book | None:
        """None for a symbol this venue does not trade."""

    def known(self, venue_order_ref: UUID) -> KnownOrder | None: ...

    async def fills(self, venue_order_ref: UUID) -> tuple[Fill, ...]:
        """All fills of an order, in order."""

    async def users(self, venue_order_refs: Sequence[UUID]) -> dict[UUID, UUID]:
        """Whose orders these are."""

    async def fills_since(self, symbol: str, venue_trade_id: str, limit: int) -> Sequence[Fill]:
        """Fills that were stored before this transaction, from that one on."""

    async def last_trade_id(self, symbol: str) -> str:
        """The name of the last of them; where there was none lately, the one that stands for that."""

    def is_waiting(self, venue_order_ref: UUID, account_id: UUID) -> bool:
        """Whether the order was received and waits for its symbol's next bar."""

    def restriction(self, symbol: str, account_id: UUID) -> Restriction: ...

    def is_cut_off(self, account_id: UUID, said_at: datetime) -> bool:
        """Whether the account's cancel-after has come since then."""

    def add(self, command: PlaceOrder) -> None:
        """A new order; what became of it is recorded with its reports."""

    def record(self, symbol: str, reports: Iterable[Report]) -> None:
        """Keeps what the reports say of known orders and their fills."""

    @property
    def has_latency(self) -> bool:
        """Whether commands are on their way for a time."""

    def wait(self, command: OrderCommand) -> None:
        """Keeps a command until its symbol's next bar, or until it arrives."""

    async def take_arrived(self, symbol: str) -> list[OrderCommand]:
        """Commands that have waited until they arrived, in that order."""


class CorrectionWork(OrderWork, Protocol):
    """An order that has ended, and its book."""

    def correct(self, before: Trade, after: Trade, correction: Correction) -> None:
        """Keeps the trade as it is now, and what was changed by whom."""


class MarketWork(Says, Protocol):
    """The simulated market, locked."""

    @property
    def now(self) -> datetime: ...

    @property
    def market(self) -> Market | None: ...

    def change_market(self, market: Market, *, history_after: timedelta = timedelta(0)) -> None:
        """Keeps it, and lets time bring the end of its minute, and its next record of history after that time."""


class FeedWork(MarketWork, OrderWork, Protocol):
    """The simulated market and all books, locked."""


class TellingWork(Says, Protocol):
    """What was said on the compacted topics."""

    @property
    def now(self) -> datetime: ...

    @property
    def market(self) -> Market | None: ...

    async def is_news(self, key: str, said: object) -> bool:
        """Keeps it as said under this key; whether it is other than before."""


class ReplayWork(OrderWork, Protocol):
    """A replay, locked, and the books of a step."""

    def replay(self, replay_id: UUID) -> Replay | None: ...

    def change_replay(self, replay: Replay) -> None: ...

    async def take_waiting(self, symbols: Iterable[str]) -> dict[str, list[OrderCommand]]:
        """Locks the books of these symbols; answers the commands that waited, as they came, of symbols that have any or
        have open orders."""


class StartWork(Protocol):
    """What is needed to begin a replay."""

    async def replays_so_far(self) -> tuple[UUID | None, datetime | None]:
        """Which one runs and the market time that was reached; until COMMIT no other begins."""

    async def add_replay(self, replay: Replay, idempotency_key: str | None, request_hash: bytes) -> None:
        """Keeps it, and lets its first phase follow."""
