"""Orders of the internal venue: what is asked, what is remembered, what is reported."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec
from fleet_simulator.fees import Executed


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An order as it came. `conditions`: what it asks for beyond the core book (a stop price, a displayed quantity …)."""

    ref: UUID
    account_id: UUID
    send_by: datetime | None
    symbol: str
    side: str
    order_type: str
    quantity: Decimal
    limit_price: Decimal | None
    protection_price: Decimal | None
    time_in_force: str
    minimum_quantity: Decimal | None
    expires_at: datetime | None
    post_only: bool
    self_trade: str | None
    conditions: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replace:
    """`quantity` is the new total; None leaves it as it is."""

    ref: UUID
    account_id: UUID
    send_by: datetime | None
    symbol: str
    quantity: Decimal | None
    limit_price: Decimal | None
    conditions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cancel:
    ref: UUID
    account_id: UUID
    symbol: str


@dataclass(frozen=True, slots=True)
class Query:
    refs: tuple[UUID, ...]
    account_id: UUID
    symbol: str


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


class OpenOrder(msgspec.Struct, array_like=True, gc=False):
    """An order in its book, under its number there. Quantities in lots, `maker` and `taker` notional in ticks x lots.

    `price`: its limit in ticks, 0 of a market order."""

    ref: bytes
    account: int
    side: int
    quantity: int
    price: int
    expires_ns: int = 0
    maker_quantity: int = 0
    maker_notional: int = 0
    taker_quantity: int = 0
    taker_notional: int = 0
    fee: int = 0
    fills: list[Fill] = []

    @property
    def executed(self) -> Executed:
        return Executed(self.maker_quantity, self.maker_notional, self.taker_quantity, self.taker_notional)

    @property
    def filled(self) -> int:
        return self.maker_quantity + self.taker_quantity

    def take(self, quantity: int, price: int, *, is_maker: bool) -> None:
        if is_maker:
            self.maker_quantity += quantity
            self.maker_notional += quantity * price
        else:
            self.taker_quantity += quantity
            self.taker_notional += quantity * price


class EndedOrder(msgspec.Struct, array_like=True, gc=False):
    """What is remembered of an order that is not open any more. `stand` as the contracts say it."""

    account: int
    symbol: str
    stand: str
    code: str | None
    cumulative: int
    fills: list[Fill]


# What is reported of an order; `ref` and `account_id` say of which.


@dataclass(frozen=True, slots=True)
class Report:
    ref: UUID
    account_id: UUID


@dataclass(frozen=True, slots=True)
class Accepted(Report):
    pass


@dataclass(frozen=True, slots=True)
class Rejected(Report):
    code: str


@dataclass(frozen=True, slots=True)
class Filled(Report):
    fill: Fill


@dataclass(frozen=True, slots=True)
class Canceled(Report):
    code: str
    cumulative: int


@dataclass(frozen=True, slots=True)
class CancelRejected(Report):
    code: str


@dataclass(frozen=True, slots=True)
class Replaced(Report):
    quantity: int
    price: int
    cumulative: int


@dataclass(frozen=True, slots=True)
class ReplaceRejected(Report):
    code: str


@dataclass(frozen=True, slots=True)
class Expired(Report):
    cumulative: int


@dataclass(frozen=True, slots=True)
class Stated(Report):
    stand: str
    code: str | None
    cumulative: int
    fills: tuple[Fill, ...]


AnyReport = Accepted | Rejected | Filled | Canceled | CancelRejected | Replaced | ReplaceRejected | Expired | Stated


@dataclass(frozen=True, slots=True)
class Print:
    """A trade for everybody to see, in lots and ticks."""

    number: int
    price: int
    quantity: int
    aggressor: int


@dataclass(slots=True)
class Effects:
    """What one cause did in one book; `touched` are the (side, price)s whose level may have changed."""

    reports: list[AnyReport]
    prints: list[Print]
    touched: set[tuple[int, int]]

    @classmethod
    def none(cls) -> "Effects":
        return cls([], [], set())
