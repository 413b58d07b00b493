"""What core-engine says: trading state, what it released or withheld, what became of signals."""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from .message import Message
from .vocabulary import (
    AlertKind,
    AlertSeverity,
    OrderClass,
    OrderType,
    Side,
    StateScope,
    Timeframe,
    TimeInForce,
    TradingStateWord,
)


class CoreEngineMessage(Message, frozen=True, kw_only=True):
    owner: ClassVar[str] = "core-engine"


class TradingStateChanged(CoreEngineMessage, frozen=True, kw_only=True):
    """The state of one (scope, target). A receiver obeys the highest (epoch, version) it has seen, from either way."""

    scope: StateScope
    target: str | None
    state: TradingStateWord
    epoch: int
    version: int
    by: str
    reason: str
    changed_at: datetime


class Heartbeat(CoreEngineMessage, frozen=True, kw_only=True):
    """core-engine is there. Key `heartbeat`; every 2 s on live feeds, never on a replay."""

    at: datetime


class Alert(CoreEngineMessage, frozen=True, kw_only=True):
    """Something that people should know of, and its end: told when it begins (version 1) and when it is over (version 2, with
    `ended_at`). The key is what it is about, `quotes:<symbol>`, so that a table has what stands.

    `quotes_stopped`: nothing has come for longer than a price is trusted, while its exchange has a session.
    `limit_breached`: an account has come to 80 % or 100 % of a limit. A moment: told once, over as it begins, with the key
    `account:<account_id>`, which is taken out of the table at once. It is for the account's owner, `user_id`, and for scopes
    `admin` and `audit`; what has no `user_id` is for everybody."""

    alert_id: UUID
    kind: AlertKind
    severity: AlertSeverity
    text: str
    symbol: str | None
    at: datetime
    ended_at: datetime | None
    version: int
    account_id: UUID | None = None
    user_id: UUID | None = None


class BarWithheld(CoreEngineMessage, frozen=True, kw_only=True):
    symbol: str
    timeframe: Timeframe
    close_at: datetime
    reason: str


class OrderRequested(CoreEngineMessage, frozen=True, kw_only=True):
    """A validated signal. Its order's `client_order_id` is `sig-<signal_id>`."""

    signal_id: UUID
    deployment_id: UUID
    account_id: UUID
    user_id: UUID
    strategy_id: UUID
    symbol: str
    side: Side
    order_type: OrderType
    quantity: Decimal
    limit_price: Decimal | None
    time_in_force: TimeInForce
    stop_price: Decimal | None = None
    trail_amount: Decimal | None = None
    trail_percent: Decimal | None = None
    expires_at: datetime | None = None
    post_only: bool = False
    reduce_only: bool = False
    order_class: OrderClass = OrderClass.SIMPLE
    take_profit_price: Decimal | None = None
    stop_loss_price: Decimal | None = None
    stop_loss_limit_price: Decimal | None = None


class CancelRequested(CoreEngineMessage, frozen=True, kw_only=True):
    """Cancel the order that an earlier signal of the same deployment made."""

    signal_id: UUID
    deployment_id: UUID
    account_id: UUID
    user_id: UUID
    target_signal_id: UUID


class SignalAccepted(CoreEngineMessage, frozen=True, kw_only=True):
    signal_id: UUID
    deployment_id: UUID
    account_id: UUID
    user_id: UUID


class SignalDropped(CoreEngineMessage, frozen=True, kw_only=True):
    signal_id: UUID
    deployment_id: UUID
    account_id: UUID
    user_id: UUID
    reason: str
