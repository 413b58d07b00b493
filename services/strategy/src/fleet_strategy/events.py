"""The domain's events as contract messages, and contract messages as what the domain knows."""

from collections.abc import Iterable, Iterator

from fleet_contracts import exchange_connector, strategy, trading
from fleet_contracts.vocabulary import (
    DeploymentState,
    OrderClass,
    OrderType,
    Side,
    Timeframe,
    TimeInForce,
)
from fleet_sdk.bars import Bar

from . import domain


def deployment_message(deployment: domain.Deployment) -> strategy.Deployment:
    return strategy.Deployment(
        deployment_id=deployment.deployment_id,
        account_id=deployment.account_id,
        user_id=deployment.user_id,
        strategy_id=deployment.strategy_id,
        symbols=deployment.symbols,
        timeframe=Timeframe(deployment.timeframe),
        state=DeploymentState(deployment.state.value),
        version=deployment.version,
    )


def signal_message(deployment: domain.Deployment, signal: domain.Signal) -> strategy.SignalRaised:
    """A grant's id is its deployment's; `raised_at` is the market's time."""
    return strategy.SignalRaised(
        signal_id=signal.signal_id,
        deployment_id=deployment.deployment_id,
        grant_id=deployment.deployment_id,
        account_id=deployment.account_id,
        user_id=deployment.user_id,
        strategy_id=deployment.strategy_id,
        action=strategy.SignalAction(signal.action),
        symbol=signal.symbol,
        raised_at=signal.market_at,
        side=None if signal.side is None else Side(signal.side),
        order_type=None if signal.order_type is None else OrderType(signal.order_type),
        quantity=signal.quantity,
        limit_price=signal.limit_price,
        time_in_force=None if signal.time_in_force is None else TimeInForce(signal.time_in_force),
        stop_price=signal.stop_price,
        trail_amount=signal.trail_amount,
        trail_percent=signal.trail_percent,
        expires_at=signal.expires_at,
        post_only=signal.post_only,
        reduce_only=signal.reduce_only,
        order_class=OrderClass(signal.order_class),
        take_profit_price=signal.take_profit_price,
        stop_loss_price=signal.stop_loss_price,
        stop_loss_limit_price=signal.stop_loss_limit_price,
        target_signal_id=signal.target_signal_id,
    )


def bars_of(symbol: str, values: Iterable[exchange_connector.BarValues]) -> Iterator[Bar]:
    for bar in values:
        yield Bar(
            symbol=symbol,
            open_at=bar.open_at,
            close_at=bar.close_at,
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=bar.volume,
        )


def step_of(message: exchange_connector.MarketStepEnded) -> domain.Step:
    return domain.Step(message.timeframe.value, message.market_at, message.symbols)


def deployment_orders(message: trading.AccountChanged) -> Iterator[domain.DeploymentOrder]:
    """The orders in it that came of deployments' signals."""
    for order in message.orders:
        if order.deployment_id is None or order.signal_id is None:
            continue
        yield domain.DeploymentOrder(
            order_id=order.order_id,
            deployment_id=order.deployment_id,
            signal_id=order.signal_id,
            symbol=order.symbol,
            side=order.side.value,
            order_type=order.type.value,
            quantity=order.quantity,
            filled_quantity=order.filled_quantity,
            limit_price=order.limit_price,
            status=order.status.value,
            is_open=not order.status.is_ended,
            version=order.version,
            stop_price=order.stop_price,
            parent_order_id=order.parent_order_id,
        )
