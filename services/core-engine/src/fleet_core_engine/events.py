"""Contract messages as the domain's values, and back."""

from datetime import datetime
from uuid import UUID, uuid5

import msgspec
from fleet_contracts import Message, core_engine, data, strategy, trading
from fleet_contracts.exchange_connector import MarketStepEnded
from fleet_contracts.vocabulary import AlertKind, AlertSeverity, DeploymentState, GrantState, Timeframe
from fleet_simulator import OrderType, Side, TimeInForce

from .domain.bars import Series, Step
from .domain.signals import Action, Deployment, Drop, Grant, Quote, Signal

_BREACHES = UUID("e0a4c1de-3f52-4c0b-8f0e-7a2f0a1f6b92")


def series_id(symbol: str, timeframe: Timeframe) -> str:
    """What a unit of work locks a series by."""
    return f"{symbol}|{timeframe.value}"


def series_of(bar: data.BarClosed) -> Series:
    return Series(bar.symbol, bar.timeframe.value)


def step_of(message: MarketStepEnded) -> Step:
    return Step(message.timeframe.value, message.market_at, message.step, message.symbols, message.replay_id)


def step_ended(step: Step) -> MarketStepEnded:
    return MarketStepEnded(
        step=step.step,
        market_at=step.market_at,
        timeframe=Timeframe(step.timeframe),
        symbols=step.symbols,
        replay_id=step.replay_id,
    )


def withheld(bar: data.BarClosed, reason: str) -> core_engine.BarWithheld:
    return core_engine.BarWithheld(symbol=bar.symbol, timeframe=bar.timeframe, close_at=bar.bar.close_at, reason=reason)


def signal_of(raised: strategy.SignalRaised) -> Signal:
    return Signal(
        deployment_id=raised.deployment_id,
        grant_id=raised.grant_id,
        account_id=raised.account_id,
        user_id=raised.user_id,
        action=Action(raised.action.value),
        symbol=raised.symbol,
        raised_at=raised.raised_at,
        side=None if raised.side is None else Side(raised.side.value),
        order_type=None if raised.order_type is None else OrderType(raised.order_type.value),
        quantity=raised.quantity,
        limit_price=raised.limit_price,
        time_in_force=None if raised.time_in_force is None else TimeInForce(raised.time_in_force.value),
        target_signal_id=raised.target_signal_id,
        stop_price=raised.stop_price,
        trail_amount=raised.trail_amount,
        trail_percent=raised.trail_percent,
        expires_at=raised.expires_at,
        post_only=raised.post_only,
        order_class=raised.order_class.value,
        take_profit_price=raised.take_profit_price,
        stop_loss_price=raised.stop_loss_price,
        stop_loss_limit_price=raised.stop_loss_limit_price,
    )


def deployment_of(message: strategy.Deployment | None) -> Deployment | None:
    if message is None:
        return None
    return Deployment(
        account_id=message.account_id,
        user_id=message.user_id,
        symbols=frozenset(message.symbols),
        is_active=message.state is DeploymentState.ACTIVE,
    )


def grant_of(message: trading.Grant | None) -> Grant | None:
    if message is None:
        return None
    return Grant(
        account_id=message.account_id,
        user_id=message.user_id,
        symbols=frozenset(message.symbols),
        max_order_notional=message.max_order_notional,
        expires_at=message.expires_at,
        is_active=message.state is GrantState.ACTIVE,
    )


def quote_of(message: data.BestQuote | None) -> Quote | None:
    return None if message is None else Quote(message.bid, message.ask, message.stale_after)


def alert_key(symbol: str) -> str:
    return f"quotes:{symbol}"


def quotes_stopped(
    alert_id: UUID, symbol: str, stopped_at: datetime, *, at: datetime, ended_at: datetime | None
) -> core_engine.Alert:
    last = f"the last was of {stopped_at:%Y-%m-%d %H:%M:%S} UTC"
    return core_engine.Alert(
        alert_id=alert_id,
        kind=AlertKind.QUOTES_STOPPED,
        severity=AlertSeverity.WARNING,
        text=f"The quotes of {symbol} have stopped; {last}."
        if ended_at is None
        else f"The quotes of {symbol} have come back; before, {last}.",
        symbol=symbol,
        at=at,
        ended_at=ended_at,
        version=1 if ended_at is None else 2,
    )


def limit_breached(breach: trading.AccountBreached, *, now: datetime) -> core_engine.Alert:
    where = "" if breach.symbol is None else f" of {breach.symbol}"
    identity = f"{breach.account_id} {breach.limit}{where} {breach.level_percent} {breach.version}"
    return core_engine.Alert(
        alert_id=uuid5(_BREACHES, identity),
        kind=AlertKind.LIMIT_BREACHED,
        severity=AlertSeverity.WARNING,
        text=f"{breach.limit}{where} has come to {breach.level_percent} % of its limit: {breach.used:f} of {breach.allowed:f}.",
        symbol=breach.symbol,
        at=now,
        ended_at=now,
        version=1,
        account_id=breach.account_id,
        user_id=breach.user_id,
    )


def request(raised: strategy.SignalRaised) -> Message:
    """What an accepted signal asks of trading. `judge` has seen to it that the signal is whole."""
    if raised.action is strategy.SignalAction.CANCEL:
        assert raised.target_signal_id is not None
        return core_engine.CancelRequested(
            signal_id=raised.signal_id,
            deployment_id=raised.deployment_id,
            account_id=raised.account_id,
            user_id=raised.user_id,
            target_signal_id=raised.target_signal_id,
        )
    # The order of a signal says the same in the same words.
    return msgspec.convert(raised, core_engine.OrderRequested, from_attributes=True)


def outcome(raised: strategy.SignalRaised, drop: Drop | None) -> Message:
    """What the strategy hears of its signal."""
    if drop is not None:
        return core_engine.SignalDropped(
            signal_id=raised.signal_id,
            deployment_id=raised.deployment_id,
            account_id=raised.account_id,
            user_id=raised.user_id,
            reason=drop.value,
        )
    return core_engine.SignalAccepted(
        signal_id=raised.signal_id,
        deployment_id=raised.deployment_id,
        account_id=raised.account_id,
        user_id=raised.user_id,
    )
