"""The venue contract: commands owned by execution, reports written by the venue; the same for paper, internal, outside."""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from .message import Message, Value
from .vocabulary import Liquidity, OrderType, SelfTrade, Side, TimeInForce, VenueOrderStand


class VenueMessage(Message, frozen=True, kw_only=True):
    owner: ClassVar[str] = "venue"


class PlaceVenueOrder(VenueMessage, frozen=True, kw_only=True):
    """`venue_order_ref` is made by execution before the command and is the idempotency key at the venue.

    `command_sequence` is the sequence of the trading.order-commands record behind it."""

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
    """Of stops and if-touched orders: where they become market or limit orders."""
    trail_amount: Decimal | None = None
    trail_percent: Decimal | None = None
    display_quantity: Decimal | None = None
    minimum_quantity: Decimal | None = None
    expires_at: datetime | None = None
    post_only: bool = False
    reduce_only: bool = False
    self_trade: SelfTrade | None = None
    oco_group: UUID | None = None
    """What one order of a group fills makes the others so much smaller. Only for venues with the capability `order_groups`."""
    parent_ref: UUID | None = None
    """The order waits at the venue until this one, which is sent after it, fills, and is as large as what has filled."""


class ReplaceVenueOrder(VenueMessage, frozen=True, kw_only=True):
    """What is None stays as it is. `quantity` is the new total, with what has been filled in it."""

    venue_order_ref: UUID
    account_id: UUID
    user_id: UUID
    command_sequence: int
    send_by: datetime | None
    symbol: str
    quantity: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None = None
    request: int | None = None
    """Names this wish among those about the order; the report that answers it has it, where the venue can tell."""


class CancelVenueOrder(VenueMessage, frozen=True, kw_only=True):
    venue_order_ref: UUID
    account_id: UUID
    user_id: UUID
    command_sequence: int
    send_by: datetime | None
    symbol: str
    request: int | None = None


class QueryVenueOrders(VenueMessage, frozen=True, kw_only=True):
    cut_along: ClassVar[tuple[str, ...]] = ("venue_order_refs",)

    venue_order_refs: tuple[UUID, ...]
    account_id: UUID
    user_id: UUID
    command_sequence: int
    symbol: str


class QueryVenueOpenOrders(VenueMessage, frozen=True, kw_only=True):
    """What is open in this symbol, whoever asked for it, and what was filled since? Answered by VenueOpenOrders.

    The orders come in pages of at most `most`, by rising `venue_order_ref` above `after`. `since_trade_id` is the
    `last_trade_id` of an answer before: this one has at most `most` fills from that one on, itself among them unless it
    stands for none; None asks for no fills. What accounts hold comes in pages of at most `most`, too, by rising
    `account_id` above `positions_after`. It may be asked at any time, and is answered from what the venue knew when it
    came to this record of its key."""

    query_id: UUID
    symbol: str
    after: UUID | None
    since_trade_id: str | None
    most: int
    positions_after: UUID | None = None


class VenueReport(Value, frozen=True, kw_only=True, tag_field="event"):
    venue_order_ref: UUID
    account_id: UUID
    market_at: datetime


class VenueOrderAccepted(VenueReport, frozen=True, kw_only=True, tag=True):
    pass


class VenueOrderRejected(VenueReport, frozen=True, kw_only=True, tag=True):
    code: str
    detail: str


class VenueOrderFilled(VenueReport, frozen=True, kw_only=True, tag=True):
    """One fill. `fee` is what this fill adds to the fee of the order's cumulative notional."""

    venue_trade_id: str
    last_quantity: Decimal
    last_price: Decimal
    cumulative_quantity: Decimal
    fee: Decimal
    fee_currency: str
    liquidity: Liquidity
    executed_at: datetime


class VenueTradeCorrected(VenueOrderFilled, frozen=True, kw_only=True, tag=True):
    """What a trade that was told is from now on (FIX: ExecType G, and H where `last_quantity` is 0: there was none).

    `revision` counts the corrections of a trade from 1; `cumulative_quantity` is the order's with it."""

    revision: int
    code: str
    detail: str


class VenueOrderCanceled(VenueReport, frozen=True, kw_only=True, tag=True):
    code: str
    detail: str
    cumulative_quantity: Decimal


class VenueCancelRejected(VenueReport, frozen=True, kw_only=True, tag=True):
    code: str
    detail: str
    request: int | None = None


class VenueOrderReplaced(VenueReport, frozen=True, kw_only=True, tag=True):
    """The order as it is now; its priority is kept only where just the quantity fell.

    `code`: `requested`, or why the venue did it: `oco`, `parent_filled`, `reduce_only`, `self_trade`, `corporate_action`,
    or `parent_ended`: filled as far as it came, it grows no more; this is its end, and it is filled."""

    quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None = None
    cumulative_quantity: Decimal
    code: str = "requested"
    request: int | None = None


class VenueReplaceRejected(VenueReport, frozen=True, kw_only=True, tag=True):
    """The order stays as it was."""

    code: str
    detail: str
    request: int | None = None


class VenueOrderTriggered(VenueReport, frozen=True, kw_only=True, tag=True):
    """A stop or if-touched order has become a market or limit order, at this price of the market."""

    trigger_price: Decimal


class VenueOrderExpired(VenueReport, frozen=True, kw_only=True, tag=True):
    cumulative_quantity: Decimal


class VenueOrderState(VenueReport, frozen=True, kw_only=True, tag=True):
    """The answer to a query; `stand` is `unknown` for an order this venue has never seen."""

    stand: VenueOrderStand
    cumulative_quantity: Decimal
    fills: tuple[VenueOrderFilled, ...]
    code: str | None = None
    detail: str | None = None
    cumulative_notional: Decimal | None = None
    """Of a venue that can tell what its fills came to but no longer has them all; with `fees` the sums of all fills."""
    fees: Decimal | None = None
    fee_currency: str | None = None


AnyVenueReport = (
    VenueOrderAccepted
    | VenueOrderRejected
    | VenueOrderFilled
    | VenueOrderCanceled
    | VenueCancelRejected
    | VenueOrderReplaced
    | VenueReplaceRejected
    | VenueOrderTriggered
    | VenueOrderExpired
    | VenueOrderState
    | VenueTradeCorrected
)


class VenueReports(VenueMessage, frozen=True, kw_only=True):
    """All that one cause (command, bar, quote, timer) did to the orders of one symbol."""

    cut_along: ClassVar[tuple[str, ...]] = ("reports",)

    venue: str
    symbol: str
    reports: tuple[AnyVenueReport, ...]


class VenueOpenOrder(Value, frozen=True, kw_only=True):
    """An order as its venue has it. `stand` is another than working only of an order that a listed fill is of.

    `quantity` of a child is what its parent's fills have released of it; `is_triggered`: the price that it waited for
    has come."""

    venue_order_ref: UUID
    account_id: UUID
    user_id: UUID
    side: Side
    order_type: OrderType
    time_in_force: TimeInForce
    quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None = None
    is_triggered: bool = False
    cumulative_quantity: Decimal
    cumulative_notional: Decimal | None = None
    fees: Decimal | None = None
    stand: VenueOrderStand = VenueOrderStand.WORKING


class VenuePosition(Value, frozen=True, kw_only=True):
    """What an account holds in the symbol by all its fills at the venue, below 0 if it is short."""

    account_id: UUID
    quantity: Decimal


class VenueOpenOrders(VenueMessage, frozen=True, kw_only=True):
    """The answer to QueryVenueOpenOrders, in its place among the reports of its symbol: all that the venue did before is
    reported before. An open order of this page's range that is not in it is not open, and an account of this page's
    range that is not among the positions holds nothing."""

    venue: str
    symbol: str
    query_id: UUID
    market_at: datetime
    orders: tuple[VenueOpenOrder, ...]
    has_more_orders: bool
    fills: tuple[VenueOrderFilled, ...]
    has_more_fills: bool
    last_trade_id: str | None
    """Of the last fill listed or, where none is, of the last there is. Where there is none yet, a name of the venue's that
    stands for that: asked since it, all fills from the first on are told. None: the venue cannot tell its fills."""
    positions: tuple[VenuePosition, ...] | None = None
    """None of a venue that does not tell what is held there."""
    has_more_positions: bool = False
