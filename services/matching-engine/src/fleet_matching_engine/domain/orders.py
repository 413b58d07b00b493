"""Orders of the internal venue: what is asked of it, and what it remembers and tells beyond the simulator's words.

References and accounts are hexadecimal, as the simulator keeps them; what happens to orders are the simulator's events."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import msgspec
from fleet_simulator import Event, Order, OrderType, SelfTrade, Side, TimeInForce


class Moment(NamedTuple):
    """When something happens: the journal's time, the market's, and the one that orders live by, in nanoseconds."""

    at: datetime
    market_at: datetime
    ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An order as it came, not yet on its instrument's grid."""

    ref: str
    account_id: str
    user_id: str
    send_by: datetime | None
    symbol: str
    side: Side
    order_type: OrderType
    quantity: Decimal
    time_in_force: TimeInForce
    limit_price: Decimal | None
    protection_price: Decimal | None
    stop_price: Decimal | None
    trail_amount: Decimal | None
    trail_percent: Decimal | None
    display_quantity: Decimal | None
    minimum_quantity: Decimal | None
    expires_at: datetime | None
    post_only: bool
    reduce_only: bool
    self_trade: SelfTrade | None
    oco_group: str | None
    parent_ref: str | None
    said_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replace:
    """What is None stays as it is; `quantity` is the new total."""

    ref: str
    account_id: str
    send_by: datetime | None
    symbol: str
    quantity: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None


@dataclass(frozen=True, slots=True)
class Cancel:
    ref: str
    account_id: str
    symbol: str


@dataclass(frozen=True, slots=True)
class Query:
    refs: tuple[str, ...]
    account_id: str
    symbol: str


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A page of what is open, of fills from the trade with this number on (None asks for no fills), and of what is held."""

    symbol: str
    after: str | None
    since_trade: int | None
    most: int
    positions_after: str | None


class Fill(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One fill, in lots, ticks and fee units; `is_maker`: it rested."""

    trade: int
    quantity: int
    price: int
    cumulative: int
    fee: int
    is_maker: bool
    executed_at: datetime
    market_at: datetime


class EndedOrder(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is remembered of an order that is not open any more. `stand` as the contracts say it."""

    account_id: str
    symbol: str
    stand: str
    code: str | None
    cumulative: int
    fills: list[Fill]


@dataclass(frozen=True, slots=True)
class Stated:
    """The answer to a query."""

    order_ref: str
    account_id: str
    stand: str
    code: str | None
    cumulative: int
    fills: tuple[Fill, ...]


class OrderFill(msgspec.Struct, frozen=True, array_like=True, gc=False):
    order_ref: str
    account_id: str
    fill: Fill


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of a book's open orders, of its fills, by trade, and of what accounts hold, in lots."""

    orders: list[Order]
    has_more_orders: bool
    fills: list[OrderFill]
    has_more_fills: bool
    last_trade: int
    positions: list[tuple[str, int]]
    has_more_positions: bool


@dataclass(frozen=True, slots=True)
class Report:
    """`cumulative`: what of the order had filled by then."""

    event: Event | Stated
    cumulative: int = 0


@dataclass(frozen=True, slots=True)
class Print:
    """A trade for everybody to see, in lots and ticks; nobody is the aggressor in an auction."""

    number: int
    price: int
    quantity: int
    aggressor: int | None


@dataclass(slots=True)
class Effects:
    """What one cause did in one book; `touched` are the (side, price)s whose level may have changed.

    `market_at`: the market's time, where it is not that of the moment in which it is told."""

    reports: list[Report] = field(default_factory=list)
    prints: list[Print] = field(default_factory=list)
    touched: set[tuple[int, int]] = field(default_factory=set)
    market_at: datetime | None = None

    def add(self, more: "Effects") -> None:
        self.reports += more.reports
        self.prints += more.prints
        self.touched |= more.touched
