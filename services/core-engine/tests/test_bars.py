"""Which bars go on, and that a step goes on exactly once, after the last of its bars, in whatever process that is."""

import asyncio
from datetime import UTC, datetime, timedelta

from fleet_bus import Bus, Transaction
from fleet_chassis.database import Database
from fleet_core_engine.domain.bars import DUPLICATE_CLOSE, HALTED, OUT_OF_ORDER, Series, Step, reason_to_withhold
from fleet_core_engine.service import release_bar
from fleet_core_engine.store.market import PostgresMarketUnitOfWork
from hypothesis import given
from hypothesis import strategies as st

CLOSE = datetime(2012, 5, 18, 20, 0, tzinfo=UTC)
SYMBOLS = ("AAPL/USD", "FB/USD", "MSFT/USD")
CLOSES = st.integers(0, 20).map(lambda day: CLOSE + timedelta(days=day))


@given(st.lists(st.tuples(CLOSES, st.booleans())))
def test_strategies_see_time_move_forward_only(bars: list[tuple[datetime, bool]]) -> None:
    position: datetime | None = None
    released: list[datetime] = []
    for close_at, is_halted in bars:
        reason = reason_to_withhold(close_at, position=position, is_halted=is_halted)
        if reason is None:
            released.append(close_at)
        else:
            known = close_at in [close for close, _ in bars] and position is not None and close_at <= position
            assert reason in ((DUPLICATE_CLOSE, OUT_OF_ORDER) if known else (HALTED,))
        position = close_at if position is None else max(position, close_at)
    assert released == sorted(set(released))


@given(st.dictionaries(st.sampled_from(SYMBOLS), st.one_of(st.none(), CLOSES)), CLOSES)
def test_a_step_is_over_when_every_bar_of_it_was_dealt_with(
    positions: dict[str, datetime | None], market_at: datetime
) -> None:
    step = Step("1d", market_at, 1, SYMBOLS, None)
    behind = [symbol for symbol in SYMBOLS if (positions.get(symbol) or datetime.min.replace(tzinfo=UTC)) < market_at]
    assert step.is_over(lambda series: positions.get(series.symbol)) == (not behind)


async def handle_bar(tx: Transaction, symbol: str, close_at: datetime = CLOSE) -> None:
    uow = PostgresMarketUnitOfWork(tx, is_replay=False)
    await uow.lock([f"{symbol}|1d"])
    release_bar(uow, Series(symbol, "1d"), close_at)
    await uow.flush()


async def handle_step(tx: Transaction, close_at: datetime = CLOSE, *, is_replay: bool = False) -> None:
    uow = PostgresMarketUnitOfWork(tx, is_replay=is_replay)
    await uow.lock([f"{symbol}|1d" for symbol in SYMBOLS])
    uow.end_step(Step("1d", close_at, 1, SYMBOLS, None))
    await uow.flush()


async def steps_passed_on(database: Database) -> int:
    async with database.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM outbox WHERE key = 'step'"))


async def test_of_the_last_bars_in_many_processes_one_passes_the_step_on(silent_bus: tuple[Bus, Database]) -> None:
    bus, database = silent_bus

    async def bar(symbol: str, at: datetime) -> None:
        async with bus.transaction() as tx:
            await handle_bar(tx, symbol, at)

    async def step(at: datetime) -> None:
        async with bus.transaction() as tx:
            await handle_step(tx, at)

    for day in range(20):
        close_at = CLOSE + timedelta(days=day)
        await asyncio.gather(*(bar(symbol, close_at) for symbol in SYMBOLS), step(close_at))
        assert await steps_passed_on(database) == day + 1


async def test_in_a_replay_trading_hears_of_the_step_too(silent_bus: tuple[Bus, Database]) -> None:
    bus, database = silent_bus
    for symbol in SYMBOLS:
        async with bus.transaction() as tx:
            await handle_bar(tx, symbol)
    async with bus.transaction() as tx:
        await handle_step(tx, is_replay=True)
    async with database.connection() as connection:
        told = await connection.fetch("SELECT topic, payload FROM outbox WHERE key = 'step' ORDER BY topic")
    assert [row["topic"] for row in told] == ["core-engine.market", "core-engine.order-requests"]
    assert told[0]["payload"] == told[1]["payload"]


async def test_a_step_waits_for_the_last_of_its_bars(silent_bus: tuple[Bus, Database]) -> None:
    bus, database = silent_bus
    for symbol in SYMBOLS[:2]:
        async with bus.transaction() as tx:
            await handle_bar(tx, symbol)
    async with bus.transaction() as tx:
        await handle_step(tx)
    assert await steps_passed_on(database) == 0
    async with bus.transaction() as tx:
        await handle_bar(tx, SYMBOLS[2])
    assert await steps_passed_on(database) == 1
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM pending_steps") == 0
