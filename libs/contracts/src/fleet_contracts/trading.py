"""What trading says: accounts, grants, commands to execution, what changed in an account."""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from .message import Message, Value
from .vocabulary import (
    GrantState,
    Liquidity,
    OrderClass,
    OrderStatus,
    OrderType,
    SelfTrade,
    Side,
    TimeInForce,
    TradingStateWord,
)


class TradingMessage(Message, frozen=True, kw_only=True):
    owner: ClassVar[str] = "trading"


class Reason(Value, frozen=True, kw_only=True):
    code: str
    detail: str


class Account(TradingMessage, frozen=True, kw_only=True):
    """`reason` and `restricted_at`: why it may only reduce, and since when; null where it may do what any account may."""

    account_id: UUID
    user_id: UUID
    name: str
    kind: str
    status: str
    is_default: bool
    base_currency: str
    version: int
    reason: Reason | None = None
    restricted_at: datetime | None = None


class Grant(TradingMessage, frozen=True, kw_only=True):
    """What a deployment may do with an account. `grant_id` is the `deployment_id`."""

    deployment_id: UUID
    account_id: UUID
    user_id: UUID
    symbols: tuple[str, ...]
    max_order_notional: Decimal | None
    expires_at: datetime | None
    state: GrantState
    version: int


class CancelAfterSet(TradingMessage, frozen=True, kw_only=True):
    """Until when the orders of an account may stay open; the one set last holds, and `set_at` rises within an account.

    Nothing that was said until `cancel_at` may be open once that has come, and nothing that was said until `passed_at`,
    the latest that had come before this was set. `cancel_at` null: nothing is ahead."""

    account_id: UUID
    user_id: UUID
    set_at: datetime
    cancel_at: datetime | None
    passed_at: datetime | None


class Twap(Value, frozen=True, kw_only=True, tag_field="type", tag="twap"):
    """Sent in `slices` parts of the same size, evenly over `duration_s`."""

    duration_s: int
    slices: int


class Leg(Value, frozen=True, kw_only=True):
    """An order that comes with another one, of the same account, symbol and venue; it reports under its own id.

    A leg of a bracket or OTO is never larger than what has filled of the order it waits for, and its `quantity` is
    that of the whole. What an OCO's order or a leg fills makes the others so much smaller."""

    order_id: UUID
    client_order_id: str
    side: Side
    order_type: OrderType
    quantity: Decimal
    limit_price: Decimal | None
    protection_price: Decimal | None
    time_in_force: TimeInForce
    stop_price: Decimal | None = None
    expires_at: datetime | None = None


class SubmitOrder(TradingMessage, frozen=True, kw_only=True):
    """Send this order. `send_by`: whoever would send it to a venue later answers OrderRejected `too_late`."""

    order_id: UUID
    client_order_id: str
    account_id: UUID
    user_id: UUID
    deployment_id: UUID | None
    signal_id: UUID | None
    symbol: str
    side: Side
    order_type: OrderType
    quantity: Decimal
    limit_price: Decimal | None
    protection_price: Decimal | None
    time_in_force: TimeInForce
    venue: str
    send_by: datetime | None
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
    algo: Twap | None = None
    """How execution is to work the order; None: it goes to its venue as it is."""
    order_class: OrderClass = OrderClass.SIMPLE
    legs: tuple[Leg, ...] = ()


class ReplaceOrder(TradingMessage, frozen=True, kw_only=True):
    """What is None stays as it is. `quantity` is the new total, with what has been filled in it."""

    order_id: UUID
    account_id: UUID
    user_id: UUID
    symbol: str
    venue: str
    quantity: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None = None
    send_by: datetime | None = None
    request: int | None = None
    """Names this wish among those about the order; the report that answers it has it."""


class CancelOrder(TradingMessage, frozen=True, kw_only=True):
    order_id: UUID
    account_id: UUID
    user_id: UUID
    symbol: str
    venue: str
    request: int | None = None


class QueryOrder(TradingMessage, frozen=True, kw_only=True):
    """What became of it? Execution answers OrderState, or OrderRejected `never_sent`."""

    order_id: UUID
    account_id: UUID
    user_id: UUID
    symbol: str
    venue: str
    attempt: int


class Order(Value, frozen=True, kw_only=True, omit_defaults=True):
    """The order in the shape of API.md; `type` is one of OrderType. What has a default is shown only where it differs."""

    order_id: UUID
    client_order_id: str
    user_id: UUID
    account_id: UUID
    deployment_id: UUID | None
    signal_id: UUID | None
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    filled_quantity: Decimal
    average_fill_price: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    time_in_force: TimeInForce
    status: OrderStatus
    venue: str
    order_class: str
    legs: tuple[UUID, ...]
    parent_order_id: UUID | None
    strategy_id: UUID | None
    fees: Decimal
    created_at: datetime
    updated_at: datetime
    market_at: datetime
    reason: Reason | None
    version: int
    trail_amount: Decimal | None = None
    trail_percent: Decimal | None = None
    display_quantity: Decimal | None = None
    expires_at: datetime | None = None
    post_only: bool = False
    reduce_only: bool = False
    triggered: bool = False
    """A stop or if-touched order that has become a market or limit order."""


class Trade(Value, frozen=True, kw_only=True):
    """A fill of a client's order, in the shape of API.md."""

    trade_id: UUID
    order_id: UUID
    account_id: UUID
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str
    liquidity: Liquidity
    venue: str
    executed_at: datetime
    market_at: datetime
    version: int


class Balance(Value, frozen=True, kw_only=True):
    currency: str
    total: Decimal
    reserved: Decimal
    available: Decimal
    version: int


class Position(Value, frozen=True, kw_only=True):
    symbol: str
    quantity: Decimal
    average_price: Decimal
    mark_price: Decimal | None
    market_value: Decimal | None
    unrealized_pnl: Decimal | None
    realized_pnl: Decimal
    version: int
    opened_at: datetime | None = None
    """Since when something is held, by the market's time."""
    is_stale: bool = False
    """The mark is too old to be trusted, or there is none."""


class Portfolio(Value, frozen=True, kw_only=True):
    account_id: UUID
    equity: Decimal
    cash: Decimal
    buying_power: Decimal
    positions_value: Decimal
    unrealized_pnl: Decimal
    realized_pnl: Decimal
    day_pnl: Decimal
    as_of: datetime
    version: int
    settled_cash: Decimal | None = None
    """What of the cash is settled; the rest may be spent, and not leave the account."""
    is_stale: bool = False
    """The mark of something that is held is."""


class AccountChanged(TradingMessage, frozen=True, kw_only=True):
    """All that one transaction changed in one account, each part in full, and the portfolio at the marks of that moment."""

    cut_along: ClassVar[tuple[str, ...]] = ("orders", "trades")

    account_id: UUID
    user_id: UUID
    version: int
    orders: tuple[Order, ...]
    trades: tuple[Trade, ...]
    balances: tuple[Balance, ...]
    positions: tuple[Position, ...]
    portfolio: Portfolio


class AccountBreached(TradingMessage, frozen=True, kw_only=True):
    """An account's use of a limit has come to 80 % or 100 % of it. Said once per crossing: again only after it was below.

    `wanted_state` is the state that core-engine is asked to give the account; None: it is only told."""

    account_id: UUID
    user_id: UUID
    limit: str
    """The stable code of the check, for example `daily_loss`."""
    symbol: str | None
    """Of a limit that counts per symbol."""
    level_percent: int
    """80 or 100."""
    allowed: Decimal
    used: Decimal
    wanted_state: TradingStateWord | None
    version: int
    """The account's."""
