"""What core-engine hears: data's bars, to be released, and the strategies' signals, to be judged."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from fleet_bus import Due, DueKind, NotYet, Received, TableView, Transaction, Work
from fleet_chassis.logging import get_logger
from fleet_contracts import data, strategy, trading
from fleet_contracts.core_engine import Heartbeat
from fleet_contracts.exchange_connector import MarketStepEnded
from fleet_contracts.topics import (
    CORE_ENGINE_MARKET,
    CORE_ENGINE_ORDER_REQUESTS,
    CORE_ENGINE_SIGNAL_OUTCOMES,
    CORE_ENGINE_STATE,
    DATA_BARS,
    STRATEGY_SIGNALS,
    TRADING_RISK_BREACHES,
)

from . import events, service
from .domain.freshness import LastQuote, is_stale
from .domain.signals import Circumstances, Missing, judge
from .sessions import Sessions
from .store.alerts import PostgresAlertUnitOfWork
from .store.market import PostgresMarketUnitOfWork
from .store.states import PostgresSignalUnitOfWork, PostgresStateUnitOfWork

log = get_logger("fleet_core_engine")

HEARTBEAT = "heartbeat"
"""The kind of its due row, and its key on core-engine.state."""


def bars(quotes: TableView[data.BestQuote] | None) -> Work:
    """Bars go on to the strategies, steps after their bars. `quotes` None: a replay, whose prices do not age."""

    async def release(uow: PostgresMarketUnitOfWork, received: Received[data.BarClosed]) -> None:
        bar = received.message
        quote = None if quotes is None else quotes.get(bar.symbol)
        stale = quote is not None and is_stale(quote.stale_after, uow.transaction.now)
        reason = service.release_bar(uow, events.series_of(bar), bar.bar.close_at, is_stale=stale)
        told = bar if reason is None else events.withheld(bar, reason)
        uow.transaction.publish(CORE_ENGINE_MARKET, bar.symbol, told, market_at=received.market_at)

    return Work(
        name="bars",
        topics=(DATA_BARS,),
        unit_of_work=partial(PostgresMarketUnitOfWork, is_replay=quotes is None),
        touches=_series_touched,
        handlers={data.BarClosed: release, data.BarsBackfilled: _pass_on, MarketStepEnded: _end_step},
    )


def _series_touched(message: data.BarClosed | data.BarsBackfilled | MarketStepEnded) -> Iterable[str]:
    match message:
        case data.BarClosed():
            return (events.series_id(message.symbol, message.timeframe),)
        case MarketStepEnded():
            return (events.series_id(symbol, message.timeframe) for symbol in message.symbols)
        case _:
            return ()


async def _pass_on(uow: PostgresMarketUnitOfWork, received: Received[data.BarsBackfilled]) -> None:
    uow.transaction.publish(CORE_ENGINE_MARKET, received.message.symbol, received.message, market_at=received.market_at)


async def _end_step(uow: PostgresMarketUnitOfWork, received: Received[MarketStepEnded]) -> None:
    uow.end_step(events.step_of(received.message))


@dataclass(frozen=True, slots=True)
class Known:
    """What the tables say of whom and what a signal names."""

    accounts: TableView[trading.Account]
    deployments: TableView[strategy.Deployment]
    grants: TableView[trading.Grant]
    instruments: TableView[data.InstrumentDefined]
    quotes: TableView[data.BestQuote]


def signals(known: Known, sessions: Sessions, *, max_age: timedelta | None, most_a_minute: int) -> Work:
    """Signals become order requests or are dropped; their deployment hears which, once. `max_age` None: a replay, on which
    no wall clock decides, nor how many there may be a minute."""

    async def validate(uow: PostgresSignalUnitOfWork, received: Received[strategy.SignalRaised]) -> None:
        raised = received.message
        pace = uow.pace(raised.deployment_id)
        if pace.has_judged(raised.signal_id):
            log.info("signal_repeated", signal_id=raised.signal_id, deployment_id=raised.deployment_id)
            return
        account = known.accounts.get(str(raised.account_id))
        instrument = known.instruments.get(raised.symbol)
        circumstances = Circumstances(
            account_owner=None if account is None else account.user_id,
            deployment=events.deployment_of(known.deployments.get(str(raised.deployment_id))),
            grant=events.grant_of(known.grants.get(str(raised.grant_id))),
            is_symbol_known=instrument is not None,
            state=uow.word(
                raised.symbol, None if instrument is None else instrument.reference_venue, raised.account_id
            ),
            quote=events.quote_of(known.quotes.get(raised.symbol)),
            now=uow.now if max_age is not None else received.market_at or raised.raised_at,
            max_age=max_age,
            is_open=max_age is None or instrument is None or sessions.open_at(instrument.calendar, uow.now) is not None,
            is_free=max_age is None or pace.is_free(uow.now, most_a_minute),
        )
        try:
            drop = judge(events.signal_of(raised), circumstances)
        except Missing as missing:
            raise NotYet(str(missing)) from missing
        pace.judged(raised.signal_id, uow.now, counts=drop is None and raised.action is strategy.SignalAction.SUBMIT)
        market_at = received.market_at
        tx = uow.transaction
        if drop is None:
            tx.publish(CORE_ENGINE_ORDER_REQUESTS, str(raised.account_id), events.request(raised), market_at=market_at)
        outcome = events.outcome(raised, drop)
        tx.publish(CORE_ENGINE_SIGNAL_OUTCOMES, str(raised.deployment_id), outcome, market_at=market_at)

    return Work(
        name="signals",
        topics=(STRATEGY_SIGNALS,),
        unit_of_work=PostgresSignalUnitOfWork,
        touches=lambda raised: (str(raised.deployment_id),),
        handlers={strategy.SignalRaised: validate},
    )


def breaches() -> Work:
    """An account that trading's risk wants restricted is; each breach is an alert for the account's owner."""

    async def restrict(uow: PostgresStateUnitOfWork, received: Received[trading.AccountBreached]) -> None:
        breach = received.message
        uow.tell_breached(str(breach.account_id), events.limit_breached(breach, now=uow.now))
        if breach.wanted_state is not None:
            reason = f"{breach.limit}: {breach.used:f} of {breach.allowed:f}"
            await service.restrict_by_risk(uow, breach.account_id, breach.user_id, breach.wanted_state, reason)

    return Work(
        name="breaches",
        topics=(TRADING_RISK_BREACHES,),
        unit_of_work=PostgresStateUnitOfWork,
        touches=lambda breach: () if breach.wanted_state is None else (str(breach.account_id),),
        handlers={trading.AccountBreached: restrict},
    )


def heartbeat(every: timedelta, last_quotes: Callable[[datetime], Iterable[LastQuote]]) -> DueKind:
    """Who hears it knows that core-engine can tell it to stop; not on a replay. With each it is looked whether quotes have
    stopped."""

    async def beat(uow: PostgresAlertUnitOfWork, _: Due) -> None:
        begin_heartbeat(uow.transaction, every)
        await service.watch_quotes(uow, last_quotes(uow.now))

    return DueKind(HEARTBEAT, "wall", PostgresAlertUnitOfWork, lambda _: (), beat)


def awaited_quotes(
    known: Known, sessions: Sessions, *, is_listening: Callable[[], bool]
) -> Callable[[datetime], Iterable[LastQuote]]:
    """The last quote of each instrument, and since when the next is awaited: none while Kafka is not heard, and not from
    before it was heard again."""
    listening_since: datetime | None = None

    def look(now: datetime) -> Iterable[LastQuote]:
        nonlocal listening_since
        if not is_listening():
            listening_since = None
            return
        listening_since = listening_since or now
        for quote in known.quotes.values():
            instrument = known.instruments.get(quote.symbol)
            session = None if instrument is None else sessions.open_at(instrument.calendar, now)
            since = None if session is None else max(session.opens_at, listening_since)
            yield LastQuote(quote.symbol, quote.market_at, quote.stale_after, since)

    return look


def begin_heartbeat(tx: Transaction, every: timedelta) -> None:
    """Says it now, and again after `every`."""
    tx.publish(CORE_ENGINE_STATE, HEARTBEAT, Heartbeat(at=tx.now))
    tx.schedule(HEARTBEAT, "core-engine", 0, "wall", tx.now + every)
