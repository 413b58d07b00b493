"""Candles made of bars: against a naive reference, and what must be kept whatever the timeframe."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from fleet_chassis.database import Database
from fleet_data.domain.candles import (
    TIMEFRAME_MINUTES,
    Candle,
    CandleState,
    interval_of,
    interval_start,
    next_start,
    with_running,
    with_state,
)
from fleet_data.store.reads import candles, running_candle
from fleet_testkit.fixtures import MakeDatabase
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

START = datetime(2026, 1, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
PRICES = st.decimals(min_value=1, max_value=1000, places=4)
COARSE = st.sampled_from([name for name in TIMEFRAME_MINUTES if name != "1m"])


@st.composite
def minute_bars(draw: st.DrawFn, *, most: int = 60) -> list[Candle]:
    """1m bars with gaps, oldest first."""
    places = sorted(draw(st.sets(st.integers(0, 3 * 1440), max_size=most)))
    bars = []
    for place in places:
        prices = [draw(PRICES) for _ in range(4)]
        bars.append(
            Candle(
                open_at=START + place * MINUTE,
                close_at=START + (place + 1) * MINUTE,
                open=prices[0],
                high=max(prices),
                low=min(prices),
                close=prices[1],
                volume=draw(PRICES),
                trades=draw(st.integers(0, 9)),
            )
        )
    return bars


def made_naively(bars: list[Candle], timeframe: str) -> list[Candle]:
    """Bar by bar into the interval that it lies in."""
    made: dict[datetime, Candle] = {}
    for bar in bars:
        start = interval_start(bar.open_at, timeframe)
        known = made.get(start)
        if known is None:
            made[start] = Candle(
                open_at=start,
                close_at=start + interval_of(timeframe),
                open=bar.open,
                high=bar.high,
                low=bar.low,
                close=bar.close,
                volume=bar.volume,
                trades=bar.trades,
            )
        else:
            made[start] = known.followed_by(bar)
    return list(made.values())


@given(minute_bars(), COARSE)
def test_nothing_traded_is_lost_or_invented(bars: list[Candle], timeframe: str) -> None:
    made = made_naively(bars, timeframe)
    assert sum(candle.volume for candle in made) == sum(bar.volume for bar in bars)
    assert sum(candle.trades or 0 for candle in made) == sum(bar.trades or 0 for bar in bars)
    for candle in made:
        assert candle.low <= min(candle.open, candle.close) <= max(candle.open, candle.close) <= candle.high
        assert candle.close_at - candle.open_at == interval_of(timeframe)


@given(minute_bars(), COARSE, st.integers(0, 59))
def test_the_bar_that_runs_belongs_to_the_interval_it_lies_in(bars: list[Candle], timeframe: str, at: int) -> None:
    """Whatever part of the bars is stored, and whatever part still runs, the candles are the same."""
    last_interval = interval_start(bars[-1].open_at, timeframe) if bars else START
    stored = [bar for bar in bars if bar.open_at < last_interval]
    within = [bar for bar in bars if bar.open_at >= last_interval]
    stored, within = stored + within[:at], within[at:]
    running = None
    for bar in within:
        running = bar if running is None else running.followed_by(bar)
    assert with_running(made_naively(stored, timeframe), running, timeframe) == made_naively(bars, timeframe)


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.sampled_from(list(TIMEFRAME_MINUTES)))  # noqa: DTZ001
def test_intervals_lie_on_the_clock(moment: datetime, timeframe: str) -> None:
    at = moment.replace(tzinfo=UTC)
    start = interval_start(at, timeframe)
    assert start <= at < start + interval_of(timeframe)
    assert next_start(at, timeframe) - at < interval_of(timeframe)
    assert interval_start(start, timeframe) == next_start(start, timeframe) == start


def test_an_interval_that_has_not_ended_is_open() -> None:
    [bar] = made_naively([minute(0)], "5m")
    assert with_state([bar], START + 4 * MINUTE)[0].state is CandleState.OPEN
    assert with_state([bar], START + 5 * MINUTE)[0].state is CandleState.CLOSED


def minute(place: int) -> Candle:
    one = Decimal(1)
    at = START + place * MINUTE
    return Candle(open_at=at, close_at=at + MINUTE, open=one, high=one, low=one, close=one, volume=one, trades=1)


@pytest.fixture(scope="module")
async def data_database(make_database: MakeDatabase) -> AsyncIterator[Database]:
    async with Database(await make_database("data"), application_name="test") as database:
        yield database


async def store(database: Database, bars: list[Candle]) -> None:
    """Not in their order: history comes after the bars that close."""
    async with database.connection() as connection:
        await connection.execute("TRUNCATE bars, bar_hours")
        await connection.executemany(
            "INSERT INTO bars VALUES (1, 1, $1, $2, $3, $4, $5, $6, $7, $8)",
            [
                (b.open_at, b.close_at, b.open, b.high, b.low, b.close, b.volume, b.trades)
                for b in (*bars[1::2], *bars[::2])
            ],
        )


@given(minute_bars(), COARSE, st.integers(0, 3 * 24), st.integers(1, 20), st.booleans())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_what_the_database_makes_is_what_the_reference_makes(
    data_database: Database, bars: list[Candle], timeframe: str, hour: int, limit: int, is_from_start: bool
) -> None:
    """Also when the number of candles is bounded, from either side, and the bound lies within an interval."""
    await store(data_database, bars)
    bound = START + timedelta(hours=hour, minutes=7)
    expected = [c for c in made_naively(bars, timeframe) if (c.open_at >= bound) == is_from_start]
    expected = expected[:limit] if is_from_start else expected[-limit:]
    start, end = (bound, START + timedelta(days=9)) if is_from_start else (None, bound)
    async with data_database.connection() as connection:
        found, is_of_minutes = await candles(connection, 1, timeframe, start=start, end=end, limit=limit)
    assert (found, is_of_minutes) == (expected, True)


async def test_bars_of_the_timeframe_itself_come_before_those_made(data_database: Database) -> None:
    await store(data_database, [minute(0)])
    async with data_database.connection() as connection:
        await connection.execute(
            "INSERT INTO bars VALUES (1, 1440, $1, $2, 5, 5, 5, 5, 5, NULL)", START, START + timedelta(hours=7)
        )
        end = START + timedelta(days=1)
        found, is_of_minutes = await candles(connection, 1, "1d", start=START, end=end, limit=10)
        nothing, _ = await candles(connection, 2, "1d", start=START, end=end, limit=10)
    assert [(c.close_at, c.close, c.trades) for c in found] == [(START + timedelta(hours=7), Decimal(5), None)]
    assert not is_of_minutes
    assert nothing == []


async def test_the_running_candle_is_what_was_traded_since_the_last_bar(data_database: Database) -> None:
    await store(data_database, [minute(0)])
    async with data_database.connection() as connection:
        prints = [(30, "10"), (61, "12"), (62, "9"), (63, "11")]
        await connection.executemany(
            "INSERT INTO public_trades VALUES (1, $1, $2, $3, 2, NULL)",
            [(str(second), START + timedelta(seconds=second), Decimal(price)) for second, price in prints],
        )
        now = START + timedelta(seconds=63)
        running = await running_candle(connection, 1, start=START, now=now + timedelta(seconds=1))
        nothing = await running_candle(connection, 1, start=now + MINUTE, now=now + 2 * MINUTE)
    assert running is not None
    prices = [running.open, running.high, running.low, running.close]
    assert prices == [Decimal(price) for price in (12, 12, 9, 11)]
    assert (running.volume, running.trades) == (Decimal(6), 3)
    assert nothing is None
