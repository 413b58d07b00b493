"""Messages that core-engine reads, each with its topic and key."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid4

from fleet_contracts import Message, Topic, data, strategy, trading
from fleet_contracts.exchange_connector import BarValues, MarketStepEnded
from fleet_contracts.topics import (
    DATA_BARS,
    STRATEGY_DEPLOYMENTS,
    TRADING_ACCOUNTS,
    TRADING_GRANTS,
)
from fleet_contracts.vocabulary import (
    DeploymentState,
    GrantState,
    OrderType,
    Side,
    Timeframe,
    TimeInForce,
)


def bar(symbol: str, close_at: datetime) -> tuple[Topic, str, data.BarClosed]:
    values = BarValues(
        open_at=close_at - timedelta(minutes=1),
        close_at=close_at,
        open=Decimal(10),
        high=Decimal(12),
        low=Decimal(9),
        close=Decimal(11),
        volume=Decimal(1000),
    )
    return DATA_BARS, symbol, data.BarClosed(symbol=symbol, venue="paper", timeframe=Timeframe.M1, bar=values)


def step(number: int, close_at: datetime, *symbols: str) -> tuple[Topic, str, Message]:
    message = MarketStepEnded(step=number, market_at=close_at, timeframe=Timeframe.M1, symbols=symbols)
    return DATA_BARS, "step", message


def signal_of(symbol: str) -> strategy.SignalRaised:
    deployment_id = uuid4()
    return strategy.SignalRaised(
        signal_id=uuid4(),
        deployment_id=deployment_id,
        grant_id=deployment_id,
        account_id=uuid4(),
        user_id=uuid4(),
        strategy_id=UUID(int=5),
        action=strategy.SignalAction.SUBMIT,
        symbol=symbol,
        raised_at=datetime.now(UTC),
        side=Side.BUY,
        order_type=OrderType.MARKET,
        quantity=Decimal(20),
        time_in_force=TimeInForce.GTC,
    )


def account_of(signal: strategy.SignalRaised) -> tuple[Topic, str, trading.Account]:
    account = trading.Account(
        account_id=signal.account_id,
        user_id=signal.user_id,
        name="paper",
        kind="paper",
        status="active",
        is_default=True,
        base_currency="USD",
        version=1,
    )
    return TRADING_ACCOUNTS, str(signal.account_id), account


def deployment_of(signal: strategy.SignalRaised) -> tuple[Topic, str, Message]:
    deployment = strategy.Deployment(
        deployment_id=signal.deployment_id,
        account_id=signal.account_id,
        user_id=signal.user_id,
        strategy_id=signal.strategy_id,
        symbols=(signal.symbol,),
        timeframe=Timeframe.M1,
        state=DeploymentState.ACTIVE,
        version=1,
    )
    return STRATEGY_DEPLOYMENTS, str(signal.deployment_id), deployment


def grant_of(signal: strategy.SignalRaised, *, max_order_notional: Decimal | None = None) -> tuple[Topic, str, Message]:
    grant = trading.Grant(
        deployment_id=signal.deployment_id,
        account_id=signal.account_id,
        user_id=signal.user_id,
        symbols=(signal.symbol,),
        max_order_notional=max_order_notional,
        expires_at=None,
        state=GrantState.ACTIVE,
        version=1,
    )
    return TRADING_GRANTS, str(signal.deployment_id), grant
