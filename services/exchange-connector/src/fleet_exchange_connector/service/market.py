"""The simulated market's life: it is opened once, closes minute after minute, is paused and stepped, tells its past."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

from fleet_exchange_connector.domain import history
from fleet_exchange_connector.domain.market import ClosedMinute, Market
from fleet_exchange_connector.domain.prices import PriceState
from fleet_exchange_connector.ports import BarsBackfilled, BarsClosed, FeedWork, MarketWork, StepEnded
from fleet_exchange_connector.service import orders

TIMEFRAME = "1m"


def close_minute(work: MarketWork, minute: int) -> None:
    """Publishes the bars of the minute and its end; said once, whoever is told that the minute is over."""
    market = _open(work)
    if market.is_paused or market.minute != minute:
        return
    closed, after = market.close_minute(work.now)
    _publish(work, closed)
    work.change_market(after)


async def pause(work: FeedWork, symbols: Iterable[str]) -> None:
    """The books have seen every quote until now, and from now on none stands."""
    await _look(work, symbols)
    work.change_market(_open(work).pause())
    await _look(work, symbols)


async def resume(work: FeedWork, symbols: Iterable[str]) -> None:
    market = _open(work)
    if market.is_paused:
        work.change_market(market.resume(work.now))
        await _look(work, symbols)


async def step(work: FeedWork, symbols: Iterable[str]) -> None:
    """While paused: one round of quotes, and the bars of the stored minute if it is over. Raises FeedNotPaused."""
    closed, after = _open(work).show_step(work.now)
    if closed is not None:
        _publish(work, closed)
    work.change_market(after)
    await _look(work, symbols)


def begin_history(work: MarketWork) -> None:
    """Lets the past be sent; once in the market's life."""
    market = _open(work)
    if market.history_next is None:
        work.change_market(replace(market, history_next=0))


async def send_history(
    work: MarketWork, number: int, first_prices: Mapping[str, PriceState], days: int, pause_between: timedelta
) -> None:
    """Publishes one record of the past and lets the next one follow; while the feed is paused, it rests as well."""
    market = _open(work)
    if market.history_next != number or market.is_paused:
        return
    if number < history.records(market, days):
        # About 20 ms of arithmetic, which the event loop has no time for.
        bars = await asyncio.to_thread(history.record, market, dict(first_prices), number, days)
        work.publish(BarsBackfilled(TIMEFRAME, bars))
        work.change_market(replace(market, history_next=number + 1), history_after=pause_between)
    else:
        history.forget()


def _open(work: MarketWork) -> Market:
    market = work.market
    if market is None:
        raise RuntimeError("the simulated market is not open; a replay has none")
    return market


async def _look(work: FeedWork, symbols: Iterable[str]) -> None:
    for symbol in symbols:
        await orders.watch(work, symbol)


def _publish(work: MarketWork, closed: ClosedMinute) -> None:
    work.publish(BarsClosed(TIMEFRAME, closed.bars))
    symbols = tuple(bar.symbol for bar in closed.bars)
    work.publish(StepEnded(closed.step, closed.market_at, TIMEFRAME, symbols, None))
