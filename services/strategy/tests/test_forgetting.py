"""What nobody reads any more is forgotten, and no more than that."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest_asyncio
from fleet_bus import Bus, Due
from fleet_chassis.database import Database
from fleet_chassis.ids import first_id_of
from fleet_strategy.domain import MOST_WAITING
from fleet_strategy.settings import Settings
from fleet_strategy.store import forgetting
from fleet_strategy.store.forgetting import FORGET, KEPT_BARS, KEPT_ORDERS, KEPT_SIGNALS
from fleet_testkit.fixtures import MakeDatabase
from fleet_testkit.peers import Keys

NOW = datetime(2026, 1, 5, tzinfo=UTC)


@pytest_asyncio.fixture(loop_scope="session")
async def silent_bus(make_database: MakeDatabase, tmp_path: Path) -> Any:
    """A bus that sends nothing: transactions over the real tables."""
    keys = Keys.make(tmp_path, "strategy")
    settings = Settings.model_validate(keys.settings("strategy", await make_database("strategy"), "127.0.0.1:9"))
    async with Database(settings.database_url, application_name="test") as database:
        yield Bus(settings, database)


async def forget(bus: Bus) -> None:
    async with bus.transaction() as tx:
        await forgetting.forget(tx, Due(FORGET, "", 0, NOW))


async def execute(bus: Bus, statement: str, *values: object) -> None:
    async with bus.transaction() as tx:
        await tx.connection.execute(statement, *values)


async def rows(bus: Bus, statement: str) -> list[tuple[Any, ...]]:
    async with bus.transaction() as tx:
        return [tuple(row) for row in await tx.connection.fetch(statement)]


async def test_of_each_series_the_newest_bars_stay(silent_bus: Bus) -> None:
    add_bars = (
        "INSERT INTO bars SELECT $1, $2, $3::timestamptz - n * interval '1 minute', $3, 1, 1, 1, 1, 1"
        " FROM generate_series(1, $4::int) AS n"
    )
    for symbol, timeframe, number in (("A/USD", "1m", KEPT_BARS + 3), ("A/USD", "1d", 5), ("B/USD", "1m", 5)):
        await execute(silent_bus, add_bars, symbol, timeframe, NOW, number)
    await execute(
        silent_bus,
        "INSERT INTO withheld_bars SELECT 'A/USD', '1m', $1::timestamptz - n * interval '1 minute', 'late'"
        " FROM generate_series(1, $2::int) AS n",
        NOW,
        MOST_WAITING + 1,
    )
    for _ in range(2):
        await forget(silent_bus)
        kept = await rows(
            silent_bus, "SELECT symbol, timeframe, count(*), max(close_at) FROM bars GROUP BY 1, 2 ORDER BY 1, 2"
        )
        assert [row[:3] for row in kept] == [("A/USD", "1d", 5), ("A/USD", "1m", KEPT_BARS), ("B/USD", "1m", 5)]
        assert len({row[3] for row in kept}) == 1, "the newest of each are there"
        assert await rows(silent_bus, "SELECT count(*) FROM withheld_bars") == [(MOST_WAITING,)]
    [(again,)] = await rows(silent_bus, "SELECT due_at > now() + interval '50 minutes' FROM due WHERE kind = 'forget'")
    assert again


async def add_deployments(bus: Bus, *deployment_ids: UUID) -> None:
    """All of one strategy, stopped at NOW."""
    await execute(
        bus,
        "INSERT INTO strategies VALUES ($1, $1, 'a', 'sma_cross', 1, false, '', $2, $2)",
        UUID(int=1),
        NOW,
    )
    for deployment_id in deployment_ids:
        await execute(
            bus,
            "INSERT INTO deployments (deployment_id, strategy_id, strategy_version, builtin, account_id, user_id, symbols,"
            " timeframe, parameters, mode, state, version, last_step_at, body_hash, created_at, updated_at)"
            " VALUES ($1, $2, 1, 'sma_cross', $2, $2, '{A/USD}', '1d', '{}', 'paper', 'stopped', 1, $3, '', $3, $3)",
            deployment_id,
            UUID(int=1),
            NOW,
        )


async def test_of_each_deployment_the_newest_signals_stay_and_those_at_work(silent_bus: Bus) -> None:
    busy, quiet = uuid4(), uuid4()
    await add_deployments(silent_bus, busy, quiet)
    # One an hour of the busy one: more than a week of them, then more than are kept.
    add_signals = (
        "INSERT INTO signals (signal_id, deployment_id, market_at, number, action, symbol, raised_at)"
        " SELECT gen_random_uuid(), $1, $2::timestamptz - n * interval '1 hour', 0, 'submit', 'A/USD', $2"
        " FROM generate_series($3::int, $4::int) AS n"
    )
    await execute(silent_bus, add_signals, busy, NOW, 1, 7 * 24 + 50)
    await execute(silent_bus, add_signals, quiet, NOW, 7 * 24 + 1, 7 * 24 + KEPT_SIGNALS + 2)
    await execute(
        silent_bus,
        "INSERT INTO deployment_orders (order_id, deployment_id, signal_id, symbol, side, order_type, quantity,"
        " filled_quantity, status, is_open, version, updated_at)"
        " SELECT gen_random_uuid(), deployment_id, signal_id, symbol, 'buy', 'limit', 1, 0, 'new', true, 1, $1 FROM signals"
        " WHERE deployment_id = $2 ORDER BY market_at LIMIT 1",
        NOW,
        quiet,
    )
    await forget(silent_bus)
    kept = dict(await rows(silent_bus, "SELECT deployment_id, count(*) FROM signals GROUP BY 1"))
    assert kept == {busy: 7 * 24, quiet: KEPT_SIGNALS + 1}


async def test_orders_that_ended_long_ago_go_after_their_signals(silent_bus: Bus) -> None:
    """ended 90 days ago and its signal gone -> forgotten; open, ended since, or shown with its signal -> kept"""
    now = await _now(silent_bus)
    long_ago, lately = now - KEPT_ORDERS - timedelta(hours=1), now - KEPT_ORDERS + timedelta(hours=1)
    deployment_id, kept_signal = uuid4(), uuid4()
    await add_deployments(silent_bus, deployment_id)
    await execute(
        silent_bus,
        "INSERT INTO signals (signal_id, deployment_id, market_at, number, action, symbol, raised_at)"
        " VALUES ($1, $2, $3, 0, 'submit', 'A/USD', $3)",
        *(kept_signal, deployment_id, long_ago),
    )
    names = ("over", "open", "ended since", "shown")
    ids = [UUID(int=first_id_of(long_ago).int + n) for n, _ in enumerate(names)]
    for order_id, name in zip(ids, names, strict=True):
        await execute(
            silent_bus,
            "INSERT INTO deployment_orders (order_id, deployment_id, signal_id, symbol, side, order_type, quantity,"
            " filled_quantity, status, is_open, version, updated_at)"
            " VALUES ($1, $2, $3, 'A/USD', 'buy', 'limit', 1, 0, $4, $5, 1, $6)",
            *(order_id, deployment_id, kept_signal if name == "shown" else uuid4(), name, name == "open"),
            lately if name == "ended since" else long_ago,
        )
    await forget(silent_bus)
    assert await rows(silent_bus, "SELECT status FROM deployment_orders ORDER BY order_id") == [
        (name,) for name in names if name != "over"
    ]


async def _now(bus: Bus) -> datetime:
    async with bus.transaction() as tx:
        return tx.now
