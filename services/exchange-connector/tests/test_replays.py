"""Replays through Kafka and PostgreSQL; whether the fleet is at rest is said by the test."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import uuid4

import pytest_asyncio
from fleet_bus import Due
from fleet_chassis.database import Database
from fleet_contracts import venue
from fleet_contracts.exchange_connector import MarketStepEnded, VenueBarClosed, VenueInstrument, VenueStatus
from fleet_contracts.vocabulary import Side, TimeInForce
from fleet_exchange_connector.domain.replays import Replay
from fleet_exchange_connector.replay_rest import ReplayRest
from fleet_exchange_connector.store import replays as stored
from fleet_exchange_connector.store.unit_of_work import REPLAY
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually

ACCEPTED, FILLED = venue.VenueOrderAccepted, venue.VenueOrderFilled
EXPIRED, CANCELED = venue.VenueOrderExpired, venue.VenueOrderCanceled
WEEK = {"symbols": ["AAPL/USD", "IBM-USD"], "timeframe": "1d", "start": "2012-01-03", "end": "2012-01-06"}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def replaying(open_venue: Any) -> Any:
    """A running venue on the replay feed. Market time goes on from test to test, so each takes a later one."""
    async with open_venue(feed="replay") as found, found.running():
        yield found


async def begin(replaying: Any, start: str, end: str, **changed: Any) -> str:
    body = {**WEEK, "start": start, "end": end, **changed}
    status, shown = await replaying.api("POST", "/paper/replays", body, scopes="strategy")
    assert status == 202, shown
    return str(shown["replay_id"])


async def shown(replaying: Any, replay_id: str) -> Any:
    status, found = await replaying.api("GET", f"/paper/replays/{replay_id}")
    assert status == 200, found
    return found


async def ended(replaying: Any, replay_id: str, status: str = "done") -> Any:
    async def has_ended() -> Any:
        found = await shown(replaying, replay_id)
        return found if found["status"] == status else None

    return await eventually(has_ended, 20, what=f"the replay is {status}")


def steps_of(replaying: Any, replay_id: str) -> list[MarketStepEnded]:
    return [step for step in replaying.peers.heard_of(MarketStepEnded) if str(step.replay_id) == replay_id]


def bars_of(replaying: Any, symbol: str, year: int, month: int) -> list[VenueBarClosed]:
    found = replaying.peers.heard_of(VenueBarClosed, symbol)
    return [bar for bar in found if (bar.bar.close_at.year, bar.bar.close_at.month) == (year, month)]


async def test_every_bar_is_said_once_and_every_step_ends_after_its_bars(replaying: Any) -> None:
    looks = replaying.rest.looks
    replay_id = await begin(replaying, "2011-04-04", "2011-04-07")
    done = await ended(replaying, replay_id)
    assert (done["step"], done["steps"], done["bars"], done["bars_total"]) == (4, 4, 8, 8)
    assert done["waiting_for"] == []
    assert replaying.rest.looks - looks >= 9, "bars and close of each step, and the end, wait for rest"
    await eventually(lambda: len(steps_of(replaying, replay_id)) == 4)
    await eventually(lambda: [len(bars_of(replaying, s, 2011, 4)) for s in ("AAPL/USD", "IBM/USD")] == [4, 4])
    steps = steps_of(replaying, replay_id)
    assert [step.step for step in steps] == [1, 2, 3, 4]
    assert all(step.symbols == ("AAPL/USD", "IBM/USD") for step in steps)
    assert [step.market_at.day for step in steps] == [4, 5, 6, 7]
    for symbol in ("AAPL/USD", "IBM/USD"):
        bars = bars_of(replaying, symbol, 2011, 4)
        assert [bar.bar.close_at for bar in bars] == [step.market_at for step in steps]
    assert bars_of(replaying, "AAPL/USD", 2011, 4)[0].bar.close == Decimal("341.19")


async def test_an_order_fills_at_the_next_open_in_the_order_of_accounts_and_commands(replaying: Any) -> None:
    account = uuid4()
    buy = replaying.place("AAPL/USD", account_id=account, protection_price=Decimal(500))
    dear = replaying.place("AAPL/USD", account_id=account, limit_price=Decimal("409.5"))
    day = replaying.place("AAPL/USD", limit_price=Decimal(1), time_in_force=TimeInForce.DAY)
    sell = replaying.place("AAPL/USD", side=Side.SELL, limit_price=Decimal("412.4"))
    protected = replaying.place("AAPL/USD", protection_price=Decimal(100))
    not_today = replaying.place("GOOG/USD")
    await replaying.command(buy, dear, day, sell, protected, not_today, replaying.query_of(buy))
    (state,) = await replaying.told(buy.venue_order_ref, venue.VenueOrderState)
    assert (state.stand, state.cumulative_quantity) == ("working", 0), "it waits for its bar"
    await ended(replaying, await begin(replaying, "2012-01-03", "2012-01-03"))

    open_at, close_at = datetime(2012, 1, 3, 14, 30, tzinfo=UTC), datetime(2012, 1, 3, 21, tzinfo=UTC)
    _, accepted, filled = await replaying.told(buy.venue_order_ref, venue.VenueOrderState, ACCEPTED, FILLED)
    assert (accepted.market_at, filled.market_at) == (open_at, open_at)
    assert (filled.last_price, filled.fee) == (Decimal("409.4"), Decimal("4.094"))
    _, filled = await replaying.told(dear.venue_order_ref, ACCEPTED, FILLED)
    assert (filled.last_price, filled.market_at) == (Decimal("409.4"), open_at), "the open is better than its limit"
    _, filled = await replaying.told(sell.venue_order_ref, ACCEPTED, FILLED)
    assert (filled.last_price, filled.market_at) == (Decimal("412.4"), close_at), "some time in the day"
    _, expired = await replaying.told(day.venue_order_ref, ACCEPTED, EXPIRED)
    assert expired.market_at == close_at
    _, canceled = await replaying.told(protected.venue_order_ref, ACCEPTED, CANCELED)
    assert (canceled.code, canceled.market_at) == ("price_protection", open_at)
    assert replaying.reports(not_today.venue_order_ref) == [], "GOOG has had no bar"
    (record,) = [r for r in replaying.peers.heard_of(venue.VenueReports) if any(x == filled for x in r.reports)]
    ours = [r.venue_order_ref for r in record.reports if r.account_id == account and isinstance(r, ACCEPTED)]
    assert ours == [buy.venue_order_ref, dear.venue_order_ref]

    # What rests goes on in the next replay; a cancel waits for the open as well, behind the order it cancels.
    late = replaying.place("IBM/USD", limit_price=Decimal(1))
    await replaying.command(late, replaying.cancel_of(late))
    await eventually(lambda: replaying.fetch("SELECT 1 FROM waiting_commands WHERE kind = 'cancel'"))
    await ended(replaying, await begin(replaying, "2012-01-04", "2012-01-06"))
    await replaying.told(late.venue_order_ref, ACCEPTED, CANCELED)


async def test_a_kill_between_phases_repeats_nothing(open_venue: Any) -> None:
    async with open_venue(feed="replay") as venue_:
        order = venue_.place("AAPL/USD")
        async with venue_.running():
            await venue_.command(order)
            await eventually(lambda: venue_.fetch("SELECT 1 FROM waiting_commands"))
            venue_.rest.left = 0
            replay_id = await begin(venue_, "2012-01-03", "2012-01-04")
        places = []
        while (row := await _row(venue_, replay_id))["status"] != "done":
            # Each process is told of rest once, begins one phase, and is gone.
            venue_.rest.left = 1
            async with venue_.running():
                await eventually(partial(_has_left, venue_, replay_id, row))
            places.append((row["step"], row["phase"]))
        # The first open fills the order; the other reports nothing, so that the bars follow at once.
        assert places == [(0, "open"), (0, "bars"), (0, "close"), (1, "open"), (1, "close"), (2, "open")]
        await venue_.told(order.venue_order_ref, ACCEPTED, FILLED)
        await eventually(lambda: len(steps_of(venue_, replay_id)) == 2)
        assert [step.step for step in steps_of(venue_, replay_id)] == [1, 2]
        assert [len(bars_of(venue_, symbol, 2012, 1)) for symbol in ("AAPL/USD", "IBM/USD")] == [2, 2]


async def test_connections_cut_in_the_middle_repeat_nothing(replaying: Any) -> None:
    orders = [replaying.place(symbol) for symbol in ("AAPL/USD", "IBM/USD") for _ in range(20)]
    await replaying.command(*orders)
    replay_id = await begin(replaying, "2012-02-01", "2012-03-30")
    cut = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = 'exchange-connector-0'"""
    for _ in range(12):
        row = await _row(replaying, replay_id)
        await replaying.fetch(cut)
        if row["status"] != "done":
            await eventually(partial(_has_left, replaying, replay_id, row))
    done = await ended(replaying, replay_id)
    assert (done["steps"], done["bars"]) == (42, 84)
    for order in orders:
        await replaying.told(order.venue_order_ref, ACCEPTED, FILLED)
    await eventually(lambda: len(steps_of(replaying, replay_id)) == 42)
    assert [step.step for step in steps_of(replaying, replay_id)] == list(range(1, 43))
    for symbol in ("AAPL/USD", "IBM/USD"):
        await eventually(partial(_has_bars, replaying, symbol, 22))
        assert len(bars_of(replaying, symbol, 2012, 2)) == 20


def _has_bars(replaying: Any, symbol: str, count: int) -> bool:
    return len(bars_of(replaying, symbol, 2012, 3)) == count


async def _row(venue_: Any, replay_id: str) -> Any:
    return (await venue_.fetch("SELECT step, phase, status FROM replays WHERE replay_id = $1", replay_id))[0]


async def _has_left(venue_: Any, replay_id: str, before: Any) -> bool:
    return dict(await _row(venue_, replay_id)) != dict(before)


async def test_it_waits_says_what_for_and_can_be_ended(replaying: Any) -> None:
    replaying.rest.left = 0
    replay_id = await begin(replaying, "2012-04-02", "2012-04-05")

    async def waits() -> Any:
        return (await shown(replaying, replay_id))["waiting_for"] == ["trading-0 does not answer"]

    await eventually(waits)
    status, problem = await replaying.api("POST", "/paper/replays", WEEK, scopes="strategy")
    assert (status, problem["code"]) == (409, "replay_running")
    status, ending = await replaying.api("DELETE", f"/paper/replays/{replay_id}", scopes="strategy")
    assert (status, ending["is_cancel_requested"]) == (202, True)
    replaying.rest.left = None
    done = await ended(replaying, replay_id, "canceled")
    assert (done["step"], done["bars"], done["waiting_for"]) == (0, 0, [])
    status, again = await replaying.api("DELETE", f"/paper/replays/{replay_id}", scopes="strategy")
    assert (status, again["status"]) == (202, "canceled")


async def test_after_half_a_minute_it_is_stalled_and_goes_on_by_itself(open_venue: Any) -> None:
    clock = FakeClock(datetime(2026, 1, 5, tzinfo=UTC))
    async with open_venue(feed="replay", clock=clock) as venue_, venue_.running():
        venue_.rest.left = 2
        replay_id = await begin(venue_, "2012-01-03", "2012-01-06")
        await eventually(lambda: venue_.rest.looks >= 3)
        clock.advance(seconds=31)
        stalled = await ended(venue_, replay_id, "stalled")
        assert (stalled["step"], stalled["waiting_for"]) == (1, ["trading-0 does not answer"])
        venue_.rest.left = None
        assert (await ended(venue_, replay_id))["step"] == 4


async def test_the_wait_of_a_phase_that_another_process_has_begun_is_over(open_venue: Any) -> None:
    """one process waits -> another begins the phase -> 40 s later the first waits for the next one -> not stalled yet"""
    begun = datetime(2026, 1, 5, tzinfo=UTC)
    clock, replay_id = FakeClock(begun), uuid4()
    replay = Replay(
        replay_id=replay_id,
        user_id=uuid4(),
        symbols=("AAPL/USD",),
        timeframe="1d",
        start_at=begun,
        end_at=begun,
        pace=None,
        steps=1,
        bars_total=1,
        created_at=begun,
        updated_at=begun,
    )
    async with open_venue(feed="replay") as venue_, Database(venue_.database_url, application_name="one") as database:
        async with database.transaction() as connection:
            await stored.add(connection, replay, None, b"")
        waiting = ReplayRest(database, clock.now)
        waiting.looks, venue_.rest.left = venue_.rest, 0
        for place, after_s, status in ((0, 0, "running"), (1, 40, "running"), (1, 80, "stalled")):
            clock.set(begun + timedelta(seconds=after_s))
            assert not await waiting.has_come(Due(REPLAY, str(replay_id), place, begun))
            assert [row["status"] for row in await venue_.fetch("SELECT status FROM replays")] == [status]


async def test_a_parked_key_fails_it_by_name(replaying: Any) -> None:
    replaying.rest.parked = ("parked: trading.reports execution.reports 42: a bad message",)
    failed = await ended(replaying, await begin(replaying, "2012-04-02", "2012-04-05"), "failed")
    assert "execution.reports 42" in failed["reason"]
    replaying.rest.parked = ()
    await ended(replaying, await begin(replaying, "2012-04-02", "2012-04-05"))


async def test_market_time_never_goes_back(replaying: Any) -> None:
    key, body = {"Idempotency-Key": "once"}, {**WEEK, "start": "2012-05-01", "end": "2012-05-02"}
    status, first = await replaying.api("POST", "/paper/replays", body, scopes="strategy", headers=key)
    assert status == 202
    await ended(replaying, first["replay_id"])
    status, again = await replaying.api("POST", "/paper/replays", body, scopes="strategy", headers=key)
    assert (status, again["replay_id"], again["status"]) == (202, first["replay_id"], "done")
    other = {**body, "end": "2012-05-03"}
    status, problem = await replaying.api("POST", "/paper/replays", other, scopes="strategy", headers=key)
    assert (status, problem["code"]) == (409, "idempotency_key_reused")
    status, problem = await replaying.api("POST", "/paper/replays", other, scopes="strategy")
    assert (status, problem["code"]) == (409, "market_time_past")
    second = await begin(replaying, "2012-05-03", "2012-05-03T20:00:00Z")
    assert (await ended(replaying, second))["bars"] == 2
    status, listed = await replaying.api("GET", "/paper/replays?limit=1")
    assert (status, len(listed["data"]), listed["has_more"]) == (200, 1, True)
    assert (listed["data"][0]["replay_id"], listed["data"][0]["start"]) == (second, "2012-05-03T04:00:00Z")
    status, rest = await replaying.api("GET", f"/paper/replays?limit=1&cursor={listed['next_cursor']}")
    assert (status, [one["replay_id"] for one in rest["data"]]) == (200, [first["replay_id"]])


async def test_bad_requests_are_told_apart(replaying: Any) -> None:
    async def refused(scopes: str = "strategy", **changed: Any) -> tuple[int, str]:
        status, problem = await replaying.api("POST", "/paper/replays", {**WEEK, **changed}, scopes=scopes)
        return status, problem["code"]

    assert await refused(symbols=["XYZ/USD"]) == (422, "unknown_symbol")
    assert await refused(symbols=["BTC/USD"]) == (422, "unknown_symbol")
    assert await refused(timeframe="1m") == (422, "unsupported_timeframe")
    assert await refused(start="2020-01-01", end="2020-02-01") == (422, "no_bars")
    assert await refused(start="2012-02-01", end="2012-01-01") == (422, "no_bars")
    assert (await refused(pace="0"))[0] == 422
    assert (await refused(pace="0.00000000000001"))[0] == 422
    assert (await refused(symbols=[]))[0] == 422
    assert (await refused(colour="red"))[0] == 422
    assert (await refused(start="2012-01-03T00:00:00"))[0] == 422, "an instant names its zone"
    assert await refused(scopes="read trade") == (403, "insufficient_scope")
    status, problem = await replaying.api("GET", f"/paper/replays/{uuid4()}")
    assert (status, problem["code"]) == (404, "not_found")
    status, problem = await replaying.api("POST", "/paper/feed", {"action": "pause"}, scopes="admin")
    assert (status, problem["code"]) == (409, "feed_is_replay")
    status, listed = await replaying.api("GET", "")
    assert (status, listed["data"][0]["feed"], listed["data"][0]["simulated"]) == (200, "replay", False)


async def test_the_venue_lists_real_stocks_and_a_second_process_says_nothing_twice(replaying: Any) -> None:
    await eventually(lambda: len(replaying.peers.heard_of(VenueInstrument)) >= 5)
    listed = {found.symbol: found for found in replaying.peers.heard_of(VenueInstrument)}
    assert sorted(listed) == ["AAPL/USD", "FB/USD", "GOOG/USD", "IBM/USD", "MSFT/USD"]
    assert not any(found.simulated for found in listed.values())
    assert (listed["FB/USD"].tick_size, listed["FB/USD"].taker_fee) == (Decimal("0.0001"), Decimal("0.001"))
    first = replaying.url
    async with replaying.running(ordinal=1):
        replay_id = await begin(replaying, "2012-06-04", "2012-06-08")
        await ended(replaying, replay_id)
    replaying.url = first
    await eventually(lambda: len(steps_of(replaying, replay_id)) == 5)
    assert [step.step for step in steps_of(replaying, replay_id)] == [1, 2, 3, 4, 5]
    assert len(bars_of(replaying, "AAPL/USD", 2012, 6)) == 5
    assert len(replaying.peers.heard_of(VenueStatus)) == 1, "no heartbeat in a replay"
    assert len(replaying.peers.heard_of(VenueInstrument)) == 5


async def test_a_pace_spreads_the_steps_out(replaying: Any) -> None:
    began = asyncio.get_running_loop().time()
    await ended(replaying, await begin(replaying, "2012-07-02", "2012-07-06", pace="10"))
    assert asyncio.get_running_loop().time() - began >= 0.4


async def test_a_slow_replay_that_is_to_end_does_not_wait_for_its_next_step(replaying: Any) -> None:
    replay_id = await begin(replaying, "2012-08-01", "2012-08-03", pace="0.001")
    status, _ = await replaying.api("DELETE", f"/paper/replays/{replay_id}", scopes="strategy")
    assert status == 202
    assert (await ended(replaying, replay_id, "canceled"))["step"] == 0
