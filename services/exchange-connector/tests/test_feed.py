"""The simulated feed through Kafka and PostgreSQL: quotes, bars, steps, history, and moving it by hand."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
import structlog.testing
from fleet_contracts import venue
from fleet_contracts.audit import AdminActed
from fleet_contracts.exchange_connector import (
    MarketStepEnded,
    Quote,
    VenueBarClosed,
    VenueBarsBackfilled,
    VenueInstrument,
    VenueStatus,
)
from fleet_exchange_connector.feed import SimulatedFeed
from fleet_exchange_connector.starting import FLEET
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually

SYMBOLS = ["AAPL/USD", "BTC/USD", "ETH/USD", "FB/USD", "GOOG/USD", "IBM/USD", "MSFT/USD"]
OPENED = datetime(2026, 1, 5, 14, 30, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
STRETCH = timedelta(milliseconds=400)
QUIET = timedelta(seconds=10)
ACCEPTED, FILLED = venue.VenueOrderAccepted, venue.VenueOrderFilled


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def by_hand(open_venue: Any) -> Any:
    """A running venue on the simulated feed, whose wall clock the test moves."""
    clock = FakeClock(OPENED)
    settings = {"exchange_connector_history_days": 2, "exchange_connector_history_interval_ms": 0}
    async with open_venue(clock=clock, **settings) as found, found.running():
        yield found


async def test_what_is_simulated_is_labelled_and_the_venue_beats(by_hand: Any) -> None:
    await eventually(lambda: len(by_hand.peers.heard_of(VenueInstrument)) >= len(SYMBOLS))
    listed = by_hand.peers.heard_of(VenueInstrument)
    assert sorted(found.symbol for found in listed) == SYMBOLS
    assert all(found.simulated and found.calendar == "24/7" for found in listed)
    beats = await by_hand.heard(VenueStatus, count=1)
    assert beats[0].feed == "simulated"
    by_hand.clock.advance(seconds=6)
    await eventually(lambda: len(by_hand.peers.heard_of(VenueStatus)) > len(beats))
    status, listed = await by_hand.api("GET", "")
    assert (status, listed["data"][0]["simulated"], listed["data"][0]["symbols"]) == (200, True, SYMBOLS)


async def test_every_symbol_is_quoted_and_every_minute_ends_with_its_bars(by_hand: Any) -> None:
    for symbol in SYMBOLS:
        await by_hand.heard(Quote, symbol, count=1)
    assert all(q.bid < q.ask and q.market_at <= by_hand.clock.now() for q in by_hand.peers.heard_of(Quote))
    said = len(by_hand.peers.heard_of(MarketStepEnded))
    for _ in range(2):
        by_hand.clock.advance(MINUTE)
        said += 1
        await by_hand.heard(MarketStepEnded, count=said)
    steps = by_hand.peers.heard_of(MarketStepEnded)
    assert [step.step for step in steps] == list(range(1, len(steps) + 1))
    assert list(steps[-1].symbols) == SYMBOLS
    for symbol in SYMBOLS:
        bars = [message.bar for message in await by_hand.heard(VenueBarClosed, symbol, count=said)]
        assert [bar.close_at for bar in bars] == [step.market_at for step in steps]


async def test_a_round_that_comes_late_tells_every_quote_that_stood_since_the_last(by_hand: Any) -> None:
    """What an order fills at is told to everybody, also when the process had no time for a while."""
    before = (await by_hand.heard(Quote, "BTC/USD", count=1))[-1].market_at
    by_hand.clock.advance(seconds=4)
    last = OPENED.replace(second=0) + (by_hand.clock.now() - OPENED.replace(second=0)) // STRETCH * STRETCH

    def times() -> list[datetime]:
        told = [quote.market_at for quote in by_hand.peers.heard_of(Quote, "BTC/USD")]
        return told[told.index(before) :] if last in told else []

    assert await eventually(times) == [before + n * STRETCH for n in range((last - before) // STRETCH + 1)]
    by_hand.clock.advance(seconds=30)
    behind = by_hand.clock.now() - QUIET
    await eventually(lambda: by_hand.peers.heard_of(Quote, "BTC/USD")[-1].market_at > last + QUIET)
    later = [q.market_at for q in by_hand.peers.heard_of(Quote, "BTC/USD") if q.market_at > last]
    assert behind <= later[0] <= behind + STRETCH, "as far as the feed may be behind and keep its lock"


async def test_a_paused_feed_stands_still_until_it_is_stepped_or_resumed(by_hand: Any) -> None:
    shown = await by_hand.feed("pause")
    assert shown["state"] == "paused"
    order = by_hand.place("AAPL/USD")
    await by_hand.command(order)
    await by_hand.told(order.venue_order_ref, ACCEPTED)
    steps, quotes = len(by_hand.peers.heard_of(MarketStepEnded)), len(by_hand.peers.heard_of(Quote, "AAPL/USD"))
    by_hand.clock.advance(MINUTE * 3)
    due = await by_hand.fetch("SELECT kind FROM due WHERE kind NOT IN ('paper.status', 'forget')")
    assert due == [], "nothing will happen by itself"

    shown = await by_hand.feed("step")
    assert shown["step"] == steps + 1, "the minute that was going on is over"
    _, filled = await by_hand.told(order.venue_order_ref, ACCEPTED, FILLED)
    quote = await eventually(
        lambda: [q for q in by_hand.peers.heard_of(Quote, "AAPL/USD") if q.market_at == filled.market_at]
    )
    assert filled.last_price == quote[0].ask
    await eventually(lambda: len(by_hand.peers.heard_of(MarketStepEnded)) == steps + 1)
    shown = await by_hand.feed("step")
    assert shown["step"] == steps + 1, "the present minute is not over"
    waits = by_hand.place("AAPL/USD")
    await by_hand.command(waits)
    await by_hand.told(waits.venue_order_ref, ACCEPTED)

    await by_hand.feed("resume")
    await by_hand.feed("resume")
    by_hand.clock.advance(seconds=1)
    await by_hand.told(waits.venue_order_ref, ACCEPTED, FILLED)
    await eventually(lambda: len(by_hand.peers.heard_of(Quote, "AAPL/USD")) > quotes + 2)
    status, problem = await by_hand.api("POST", "/paper/feed", {"action": "step"}, scopes="admin")
    assert (status, problem["code"]) == (409, "feed_not_paused")
    acts = [act.changes[0].after for act in await by_hand.heard(AdminActed, count=4)]
    assert acts[-3:] == ["step", "resume", "resume"]
    status, problem = await by_hand.api("POST", "/paper/feed", {"action": "pause"}, scopes="read trade strategy")
    assert (status, problem["code"]) == (403, "insufficient_scope")
    status, problem = await by_hand.api("POST", "/paper/replays", {}, scopes="strategy")
    assert status == 422
    body = {"symbols": ["AAPL/USD"], "timeframe": "1d", "start": "2012-01-03", "end": "2012-01-06"}
    status, problem = await by_hand.api("POST", "/paper/replays", body, scopes="strategy")
    assert (status, problem["code"]) == (409, "feed_is_simulated")


async def test_what_fills_as_the_feed_is_resumed_was_told(by_hand: Any) -> None:
    """the feed is paused → an order waits → resumed in the middle of a quote's time: it stands, fills it and is told"""
    await by_hand.heard(Quote, "BTC/USD", count=1)
    await by_hand.feed("pause")
    order = by_hand.place("BTC/USD", quantity=Decimal("0.00001"))
    await by_hand.command(order)
    await by_hand.told(order.venue_order_ref, ACCEPTED)
    by_hand.clock.advance(seconds=2.1)
    await by_hand.feed("resume")
    resumed = by_hand.clock.now()
    by_hand.clock.advance(STRETCH)  # The feed, which wakes as the next quote comes, hears of it then.
    _, filled = await by_hand.told(order.venue_order_ref, ACCEPTED, FILLED)
    assert filled.market_at == resumed
    first = OPENED + (resumed - OPENED) // STRETCH * STRETCH
    await eventually(lambda: by_hand.peers.heard_of(Quote, "BTC/USD")[-1].market_at > first)
    quotes = {quote.market_at: quote for quote in by_hand.peers.heard_of(Quote, "BTC/USD")}
    assert quotes[first].ask == filled.last_price


async def test_the_past_is_sent_once_newest_day_first_when_the_fleet_is_ready(by_hand: Any) -> None:
    assert by_hand.peers.heard_of(VenueBarsBackfilled) == []
    listing = [{"name": name, "ordinal": 0, "url": by_hand.url} for name in sorted(FLEET)]
    by_hand.settings.instances.write_text(json.dumps({"instances": listing}))
    # The due row of each record is looked for by the wall clock, which has to move on.
    await eventually(partial(_sent, by_hand, 14), 20)
    records = by_hand.peers.heard_of(VenueBarsBackfilled)
    assert len(records) == 14
    ends = {}
    for symbol in SYMBOLS:
        newest, older = (record for record in records if record.symbol == symbol)
        assert (len(newest.bars), len(older.bars)) == (1440, 1440)
        assert older.bars[-1].close_at == newest.bars[0].open_at
        assert older.bars[-1].close == newest.bars[0].open
        ends[symbol] = newest.bars[-1]
    assert {bar.close_at for bar in ends.values()} == {OPENED.replace(second=0)}
    for symbol, bar in ends.items():
        first = by_hand.peers.heard_of(VenueBarClosed, symbol)[0].bar
        assert abs(first.open / bar.close - 1) < 0.003, "the past goes over into what is traded now"
    async with by_hand.running(ordinal=1):
        await eventually(partial(_sent, by_hand, 14))
    assert len(by_hand.peers.heard_of(VenueBarsBackfilled)) == 14


@pytest.mark.long
async def test_after_a_restart_the_market_goes_on_from_its_price(open_venue: Any) -> None:
    clock = FakeClock(OPENED)
    async with open_venue(clock=clock) as found:
        async with found.running():
            clock.advance(MINUTE)
            await eventually(lambda: len(found.peers.heard_of(MarketStepEnded)) == 1)
            order = found.place("ETH/USD", limit_price=100)
            await found.command(order)
            await found.told(order.venue_order_ref, ACCEPTED)
        clock.advance(timedelta(hours=2))
        async with found.running():
            await eventually(lambda: len(found.peers.heard_of(MarketStepEnded)) == 2)
            clock.advance(MINUTE)
            await eventually(lambda: len(found.peers.heard_of(MarketStepEnded)) == 3)
            await found.command(found.query_of(order))
            _, state = await found.told(order.venue_order_ref, ACCEPTED, venue.VenueOrderState)
            assert state.stand == "working"
        for symbol in SYMBOLS:
            before, after, later = (told.bar for told in await found.heard(VenueBarClosed, symbol, count=3))
            assert after.open_at == before.close_at
            assert later.open_at == OPENED.replace(second=0) + timedelta(hours=2, minutes=1)
            assert abs(later.open / after.close - 1) < 0.003
        epochs = await found.fetch("SELECT epoch FROM feed_epoch")
        assert epochs[0]["epoch"] == 2


class Away:
    """A database that cannot be reached."""

    tries = 0

    async def dedicated(self, **_settings: str) -> Any:
        self.tries += 1
        raise ConnectionRefusedError


async def test_an_outage_is_said_once_and_not_each_second() -> None:
    database: Any = Away()
    nothing: Any = None
    feed = SimulatedFeed(nothing, database, nothing, {})
    with structlog.testing.capture_logs() as said:
        running = asyncio.create_task(feed.run())
        await eventually(lambda: database.tries == 3)
        running.cancel()
    assert [fact["event"] for fact in said] == ["feed_waits"]
    assert feed.ready() is not None


async def _sent(found: Any, count: int) -> bool:
    found.clock.advance(seconds=0.01)
    return len(found.peers.heard_of(VenueBarsBackfilled)) >= count
