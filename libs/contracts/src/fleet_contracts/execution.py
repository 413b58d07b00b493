"""What execution says to trading: one record per cause and account, holding all its events in order."""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from .message import Message, Value
from .vocabulary import Liquidity, Side, VenueOrderStand


class ExecutionMessage(Message, frozen=True, kw_only=True):
    owner: ClassVar[str] = "execution"


class Report(Value, frozen=True, kw_only=True, tag_field="event"):
    order_id: UUID
    market_at: datetime


class OrderAccepted(Report, frozen=True, kw_only=True, tag=True):
    venue: str


class OrderRejected(Report, frozen=True, kw_only=True, tag=True):
    """The venue, or the path to it, refused the order: `too_late`, `never_sent`, `market_halted`, …"""

    code: str
    detail: str


class OrderFilled(Report, frozen=True, kw_only=True, tag=True):
    """`trade_id` is deterministic in (venue, venue_trade_id): a fill told twice is the same fill.

    `symbol` and `side` let trading book a fill even of an order that it does not know."""

    trade_id: UUID
    venue: str
    venue_trade_id: str
    last_quantity: Decimal
    last_price: Decimal
    cumulative_quantity: Decimal
    fee: Decimal
    fee_currency: str
    liquidity: Liquidity
    executed_at: datetime
    symbol: str | None = None
    side: Side | None = None


class TradeCorrected(OrderFilled, frozen=True, kw_only=True, tag=True):
    """What a trade is from now on, the venue says afterwards: `last_quantity` 0 busts it. `revision` counts the corrections
    of a trade from 1, so that one told again, or late, changes nothing; `cumulative_quantity` is the order's with it."""

    revision: int
    code: str
    detail: str


class OrderCanceled(Report, frozen=True, kw_only=True, tag=True):
    """`code`: `requested`, `price_protection`, `ioc`, `halted`; `cumulative_quantity` is what had been filled by then."""

    code: str
    detail: str
    cumulative_quantity: Decimal


class OrderCancelRejected(Report, frozen=True, kw_only=True, tag=True):
    """`request`: which cancel it answers; None where that is not known."""

    code: str
    detail: str
    request: int | None = None


class OrderReplaced(Report, frozen=True, kw_only=True, tag=True):
    """The order as it works from now on; `quantity` is the total, with what has been filled in it.

    `code`: `requested`, or why it was done unasked: `oco`, `parent_filled`, `reduce_only`, `self_trade`, `corporate_action`.
    A leg's total may be what it has filled, or 0, while the order it waits for is open: it may still grow."""

    quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None = None
    cumulative_quantity: Decimal
    code: str = "requested"
    request: int | None = None


class OrderReplaceRejected(Report, frozen=True, kw_only=True, tag=True):
    """The order stays as it was."""

    code: str
    detail: str
    request: int | None = None


class OrderTriggered(Report, frozen=True, kw_only=True, tag=True):
    """A stop or if-touched order has become a market or limit order, at this price of the market."""

    trigger_price: Decimal


class OrderExpired(Report, frozen=True, kw_only=True, tag=True):
    cumulative_quantity: Decimal


class OrderUnknown(Report, frozen=True, kw_only=True, tag=True):
    """The venue has not answered; the order stays pending until a query has told."""

    detail: str


class OrderState(Report, frozen=True, kw_only=True, tag=True):
    """The answer to QueryOrder: where the order stands, and every fill of it."""

    stand: VenueOrderStand
    cumulative_quantity: Decimal
    fills: tuple[OrderFilled, ...]
    code: str | None = None
    detail: str | None = None


AnyReport = (
    OrderAccepted
    | OrderRejected
    | OrderFilled
    | OrderCanceled
    | OrderCancelRejected
    | OrderReplaced
    | OrderReplaceRejected
    | OrderTriggered
    | OrderExpired
    | OrderUnknown
    | OrderState
    | TradeCorrected
)


class OrderReports(ExecutionMessage, frozen=True, kw_only=True):
    cut_along: ClassVar[tuple[str, ...]] = ("reports",)

    account_id: UUID
    user_id: UUID
    reports: tuple[AnyReport, ...]
