"""What strategy hears: the market, what became of its signals, and what its orders did."""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from fleet_bus import Due, DueKind, Glance, Live, Received, Transaction
from fleet_contracts.core_engine import BarWithheld, SignalAccepted, SignalDropped
from fleet_contracts.data import BarClosed, BarsBackfilled
from fleet_contracts.exchange_connector import MarketStepEnded
from fleet_contracts.topics import (
    CORE_ENGINE_MARKET,
    CORE_ENGINE_SIGNAL_OUTCOMES,
    TRADING_ACTIVITY,
)
from fleet_contracts.trading import AccountChanged
from fleet_contracts.vocabulary import Timeframe

from . import service
from .events import bars_of, deployment_orders, step_of
from .ports import Activity, Market
from .runtime import Runners, run_ready_steps
from .store.activity import PostgresActivity, PostgresOutcomes
from .store.market import STEPS, PostgresMarket


def timeframes(feed: str) -> tuple[str, ...]:
    """Those whose steps end on this feed: a replay names its own, the others tell bars of one minute."""
    return tuple(timeframe.value for timeframe in (Timeframe if feed == "replay" else (Timeframe.M1,)))


def market_with(runners: Runners) -> Callable[[Transaction], PostgresMarket]:
    """The unit of work that runs what is ready."""

    def unit_of_work(transaction: Transaction) -> PostgresMarket:
        transaction.after_rollback(runners.forget_all)
        return PostgresMarket(transaction, lambda uow: run_ready_steps(uow, runners))

    return unit_of_work


def market(runners: Runners) -> Live:
    """Bars, kept as history; a step runs when all bars that a deployment waits for are there."""
    return Live(
        name="market",
        topics=(CORE_ENGINE_MARKET,),
        unit_of_work=market_with(runners),
        touches=_nothing,
        handlers={
            BarClosed: _bar_closed,
            BarsBackfilled: _bars_backfilled,
            BarWithheld: _bar_withheld,
            MarketStepEnded: _step_ended,
        },
    )


def steps_left(runners: Runners) -> DueKind:
    """Runs what was too much for one transaction; until then the fleet is not at rest."""

    async def nothing_more(_uow: PostgresMarket, _due: Due) -> None:
        """The unit of work runs what is ready when it is flushed."""

    return DueKind(STEPS, "wall", market_with(runners), _nothing, nothing_more)


def outcomes() -> Live:
    """What core-engine made of the signals."""
    return Live(
        name="outcomes",
        topics=(CORE_ENGINE_SIGNAL_OUTCOMES,),
        unit_of_work=PostgresOutcomes,
        touches=_nothing,
        handlers={SignalAccepted: _accepted, SignalDropped: _dropped},
    )


class _OrderOf(msgspec.Struct):
    deployment_id: str | None


class _OrdersOf(msgspec.Struct):
    """Of an AccountChanged."""

    orders: tuple[_OrderOf, ...]


def activity() -> Live:
    """What trading says of the orders that came of signals."""
    return Live(
        name="activity",
        topics=(TRADING_ACTIVITY,),
        unit_of_work=PostgresActivity,
        touches=lambda message: (str(order.order_id) for order in deployment_orders(message)),
        handlers={AccountChanged: _account_changed},
        # Most orders are clients' own.
        ours=Glance(_OrdersOf, lambda message: any(order.deployment_id is not None for order in message.orders)),
    )


def _nothing(_message: Any) -> Iterable[str]:
    return ()


async def _bar_closed(uow: Market, received: Received[BarClosed]) -> None:
    message = received.message
    uow.add_bars(message.timeframe, bars_of(message.symbol, (message.bar,)))


async def _bars_backfilled(uow: Market, received: Received[BarsBackfilled]) -> None:
    message = received.message
    uow.add_bars(message.timeframe, bars_of(message.symbol, message.bars))


async def _bar_withheld(uow: Market, received: Received[BarWithheld]) -> None:
    message = received.message
    uow.add_withheld(message.symbol, message.timeframe, message.close_at, message.reason)


async def _step_ended(uow: Market, received: Received[MarketStepEnded]) -> None:
    uow.add_step(step_of(received.message))


async def _accepted(uow: PostgresOutcomes, received: Received[SignalAccepted]) -> None:
    uow.tell(received.message.signal_id, "accepted", None)


async def _dropped(uow: PostgresOutcomes, received: Received[SignalDropped]) -> None:
    uow.tell(received.message.signal_id, "dropped", received.message.reason)


async def _account_changed(uow: Activity, received: Received[AccountChanged]) -> None:
    for order in deployment_orders(received.message):
        service.learn_order(uow, order)
