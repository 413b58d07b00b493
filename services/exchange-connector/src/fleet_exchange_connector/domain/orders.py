"""Venue orders as this venue knows them: the commands, the fills, where an order stands, and what it says of each."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from fleet_simulator import Liquidity, OrderType, Side, TimeInForce


class Stand(StrEnum):
    """Where an order stands; UNKNOWN is an order this venue has never seen, or another account's."""

    WORKING = "working"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOrder:
    venue_order_ref: UUID
    account_id: UUID
    user_id: UUID
    command_sequence: int
    send_by: datetime | None
    symbol: str
    side: Side
    order_type: OrderType
    quantity: Decimal
    limit_price: Decimal | None
    protection_price: Decimal | None
    time_in_force: TimeInForce


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrder:
    venue_order_ref: UUID
    account_id: UUID
    user_id: UUID
    command_sequence: int
    symbol: str


OrderCommand = PlaceOrder | CancelOrder


def command_order(command: OrderCommand) -> tuple[str, int]:
    """Commands that waited for a bar are applied by account, and within an account as they were given."""
    return str(command.account_id), command.command_sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOrders:
    venue_order_refs: tuple[UUID, ...]
    account_id: UUID
    symbol: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """One fill. `number` counts the fills of its order from 1; with the order's reference it is the `venue_trade_id`."""

    venue_order_ref: UUID
    account_id: UUID
    number: int
    quantity: Decimal
    price: Decimal
    cumulative_quantity: Decimal
    fee: Decimal
    fee_currency: str
    liquidity: Liquidity
    executed_at: datetime
    market_at: datetime

    @property
    def venue_trade_id(self) -> str:
        return f"{self.venue_order_ref}-{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where an order stands and how much of it is filled; `code` says why it ended."""

    stand: Stand
    cumulative_quantity: Decimal = Decimal(0)
    code: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """An order in its book, as it is listed to who compares."""

    venue_order_ref: UUID
    account_id: UUID
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: Decimal
    limit_price: Decimal | None
    cumulative_quantity: Decimal
    cumulative_notional: Decimal
    fees: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ListQuery:
    """A page of the open orders above `after`, and the fills from one that was told before."""

    query_id: UUID
    symbol: str
    after: UUID | None
    since_trade_id: str | None
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownOrder:
    """An order this venue has a row of."""

    venue_order_ref: UUID
    account_id: UUID
    status: Status


class ReportKind(StrEnum):
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FILLED = "filled"
    CANCELED = "canceled"
    CANCEL_REJECTED = "cancel_rejected"
    EXPIRED = "expired"
    STATE = "state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the venue says of one order. `status` is where the order stands after it; `fills` are told with STATE."""

    kind: ReportKind
    venue_order_ref: UUID
    account_id: UUID
    market_at: datetime
    status: Status
    fill: Fill | None = None
    fills: tuple[Fill, ...] = field(default=())


def rejected(command: PlaceOrder, code: str, detail: str, market_at: datetime) -> Report:
    """The order was refused and will not fill."""
    return Report(
        kind=ReportKind.REJECTED,
        venue_order_ref=command.venue_order_ref,
        account_id=command.account_id,
        market_at=market_at,
        status=Status(stand=Stand.REJECTED, code=code, detail=detail),
    )
