"""Venue orders as this venue knows them: the commands, the fills, where an order stands, and what it says of each.

They are msgspec's structs: a frozen dataclass takes six times as long to make, and each order makes dozens."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from fleet_simulator import Liquidity, OrderType, SelfTrade, Side, TimeInForce
from fleet_simulator.reasons import DETAILS
from msgspec import Struct
from msgspec.structs import replace

from .times import from_ns, to_ns


class Stand(StrEnum):
    """Where an order stands; UNKNOWN is an order this venue has never seen, or another account's."""

    WORKING = "working"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


class Restriction(StrEnum):
    """What the trading state forbids: nothing, what increases a position, everything but cancels."""

    NONE = "active"
    REDUCING = "reducing"
    HALTED = "halted"


class PlaceOrder(Struct, frozen=True, kw_only=True):
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
    stop_price: Decimal | None = None
    trail_amount: Decimal | None = None
    trail_percent: Decimal | None = None
    display_quantity: Decimal | None = None
    minimum_quantity: Decimal | None = None
    expires_at: datetime | None = None
    post_only: bool = False
    reduce_only: bool = False
    self_trade: SelfTrade = SelfTrade.ALLOW
    oco_group: UUID | None = None
    parent_ref: UUID | None = None
    said_at: datetime | None = None


class ReplaceOrder(Struct, frozen=True, kw_only=True):
    """What is None stays as it is. `quantity` is the new total, with what has been filled in it. `request` names the wish,
    as a cancel's does."""

    venue_order_ref: UUID
    account_id: UUID
    user_id: UUID
    command_sequence: int
    send_by: datetime | None
    symbol: str
    quantity: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    request: int | None = None


class CancelOrder(Struct, frozen=True, kw_only=True):
    venue_order_ref: UUID
    account_id: UUID
    user_id: UUID
    command_sequence: int
    symbol: str
    request: int | None = None


OrderCommand = PlaceOrder | ReplaceOrder | CancelOrder


def command_order(command: OrderCommand) -> tuple[str, int]:
    """Commands that waited for a bar are applied by account, and within an account as they were given: those of one
    sequence (the orders of a group) as they came."""
    return str(command.account_id), command.command_sequence


class QueryOrders(Struct, frozen=True, kw_only=True):
    venue_order_refs: tuple[UUID, ...]
    account_id: UUID
    symbol: str


class Fill(Struct, frozen=True, kw_only=True):
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


def fill_named(venue_trade_id: str) -> tuple[UUID, int] | None:
    """The order and number of a fill of this name; None where it is no fill's here."""
    ref, _, number = venue_trade_id.rpartition("-")
    try:
        return UUID(ref), int(number)
    except ValueError:
        return None


def none_since(at: datetime) -> str:
    """The name that stands for a fill where there has been none since this time."""
    return f"{_NONE}{to_ns(at)}"


def time_named(venue_trade_id: str) -> datetime | None:
    """The time of a name that `none_since` gave."""
    ns = venue_trade_id.removeprefix(_NONE)
    return from_ns(int(ns)) if ns != venue_trade_id and ns.isdecimal() else None


_NONE = "none-since-"


class Status(Struct, frozen=True, kw_only=True):
    """Where an order stands and how much of it is filled; `code` says why it ended."""

    stand: Stand
    cumulative_quantity: Decimal = Decimal(0)
    code: str | None = None
    detail: str | None = None


class OpenOrder(Struct, frozen=True, kw_only=True):
    """An order in its book, as it is listed to who compares. `quantity` of one that waits for its parent is what the
    parent's fills have released of it; `is_triggered`: the price that it waited for has come."""

    venue_order_ref: UUID
    account_id: UUID
    accepted_at: datetime
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    is_triggered: bool
    cumulative_quantity: Decimal
    cumulative_notional: Decimal
    fees: Decimal


class ListQuery(Struct, frozen=True, kw_only=True):
    """A page of the open orders above `after`, the fills from one that was told before, and a page of what is held."""

    query_id: UUID
    symbol: str
    after: UUID | None
    since_trade_id: str | None
    most: int
    positions_after: UUID | None


class KnownOrder(Struct, frozen=True, kw_only=True):
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
    REPLACED = "replaced"
    REPLACE_REJECTED = "replace_rejected"
    TRIGGERED = "triggered"
    EXPIRED = "expired"
    STATE = "state"
    TRADE_CORRECTED = "trade_corrected"


class Change(Struct, frozen=True, kw_only=True):
    """An order as it is now; `code` is `requested`, or why the venue changed it."""

    quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    code: str


class Report(Struct, frozen=True, kw_only=True):
    """What the venue says of one order. `status` is where the order stands after it; `fills` are told with STATE, a
    `change` with REPLACED, the price that elected it with TRIGGERED. `revision` is of the fill that is corrected, `request`
    of the wish that is answered."""

    kind: ReportKind
    venue_order_ref: UUID
    account_id: UUID
    market_at: datetime
    status: Status
    fill: Fill | None = None
    fills: tuple[Fill, ...] = ()
    change: Change | None = None
    trigger_price: Decimal | None = None
    revision: int = 0
    request: int | None = None


def refused(command: OrderCommand, code: str, market_at: datetime) -> Report:
    """The command was refused: a new order will not fill, one that is open stays as it was."""
    request: int | None = None
    match command:
        case PlaceOrder():
            kind, stand = ReportKind.REJECTED, Stand.REJECTED
        case ReplaceOrder():
            kind, stand, request = ReportKind.REPLACE_REJECTED, Stand.UNKNOWN, command.request
        case CancelOrder():
            kind, stand, request = ReportKind.CANCEL_REJECTED, Stand.UNKNOWN, command.request
    return Report(
        kind=kind,
        venue_order_ref=command.venue_order_ref,
        account_id=command.account_id,
        market_at=market_at,
        status=Status(stand=stand, code=code, detail=DETAILS[code]),
        request=request,
    )


_ANSWERS = frozenset({ReportKind.REPLACED, ReportKind.REPLACE_REJECTED, ReportKind.CANCEL_REJECTED})


def answered(command: ReplaceOrder | CancelOrder, reports: Iterable[Report]) -> list[Report]:
    """With the wish named where it is answered: by what is said first of its order."""
    told = list(reports)
    for place, report in enumerate(told):
        if report.venue_order_ref == command.venue_order_ref and report.kind in _ANSWERS:
            told[place] = replace(report, request=command.request)
            break
    return told
