"""What strategy says: signals and the deployments that raise them."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar
from uuid import UUID

from .message import Message
from .vocabulary import DeploymentState, OrderClass, OrderType, Side, Timeframe, TimeInForce


class StrategyMessage(Message, frozen=True, kw_only=True):
    owner: ClassVar[str] = "strategy"


class SignalAction(StrEnum):
    SUBMIT = "submit"
    CANCEL = "cancel"


class SignalRaised(StrategyMessage, frozen=True, kw_only=True):
    """A wish of a strategy. `submit` carries the order's fields, `cancel` the signal whose order shall go."""

    signal_id: UUID
    deployment_id: UUID
    grant_id: UUID
    account_id: UUID
    user_id: UUID
    strategy_id: UUID
    action: SignalAction
    symbol: str
    raised_at: datetime
    side: Side | None = None
    order_type: OrderType | None = None
    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    time_in_force: TimeInForce | None = None
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
    target_signal_id: UUID | None = None


class Deployment(StrategyMessage, frozen=True, kw_only=True):
    deployment_id: UUID
    account_id: UUID
    user_id: UUID
    strategy_id: UUID
    symbols: tuple[str, ...]
    timeframe: Timeframe
    state: DeploymentState
    version: int
