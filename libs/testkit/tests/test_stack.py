"""The fixtures give a real stack."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from fleet_bus.probe import broker_answers
from fleet_launcher.stack import Endpoints, up
from fleet_testkit import stack as kit
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually
from fleet_testkit.fixtures import KafkaForTests, MakeDatabase
from redis.asyncio import Redis


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    folder = tmp_path / "sketch" / "migrations"
    folder.mkdir(parents=True)
    (folder / "0001_orders.sql").write_text(
        "CREATE TABLE orders (order_id integer PRIMARY KEY);\nINSERT INTO orders VALUES (1);\n"
    )
    return folder


async def test_each_call_makes_a_database_of_its_own_with_the_migrations(
    make_database: MakeDatabase, migrations: Path
) -> None:
    first, second = await make_database([migrations]), await make_database([migrations])
    assert first != second
    one, two = await asyncpg.connect(first), await asyncpg.connect(second)
    await one.execute("INSERT INTO orders VALUES (2)")
    assert await one.fetchval("SELECT count(*) FROM orders") == 2
    assert await two.fetchval("SELECT count(*) FROM orders") == 1
    assert await one.fetchval("SHOW transaction_timeout") == "10s"
    await one.close()
    await two.close()


async def test_the_shared_broker_and_valkey_work(stack: Endpoints, kafka: KafkaForTests) -> None:
    assert await broker_answers(kafka.url, timeout_s=10.0)
    assert kafka.unique("orders") != kafka.unique("orders")
    async with Redis.from_url(stack.redis_url) as client:
        assert await client.ping()


def test_what_the_shell_names_is_taken_only_where_it_is_asked_for() -> None:
    elsewhere = {f"FLEET_{name}_URL": f"{name.lower()}://elsewhere" for name in ("KAFKA", "POSTGRES", "REDIS")}
    here = {"DOCKER_HOST": "unix:///nowhere", **elsewhere}
    with kit.test_stack(environment=here) as taken:
        assert taken == up(kit.TEST_STATE) and "elsewhere" not in str(taken)
    with kit.test_stack(environment={**here, "FLEET_TEST_STACK": "given"}) as taken:
        assert taken == Endpoints("kafka://elsewhere", "postgres://elsewhere", "redis://elsewhere")
    with (
        pytest.raises(ValueError, match="native, given or containers, was docker"),
        kit.test_stack(environment={**here, "FLEET_TEST_STACK": "docker"}),
    ):
        pass


async def test_eventually_returns_the_first_truth_or_tells_the_last_value() -> None:
    seen = iter([0, 0, 7])
    assert await eventually(lambda: next(seen)) == 7
    with pytest.raises(AssertionError, match="last value was 0"):
        await eventually(lambda: 0, timeout_s=0.01)

    kept = ["something"]

    async def failing() -> bool:
        assert not kept, f"was {kept}"
        return True

    with pytest.raises(AssertionError, match="failing did not come true"):
        await eventually(failing, timeout_s=0.01)


def test_the_clock_stands_until_it_is_moved() -> None:
    clock = FakeClock(datetime(2026, 1, 5, tzinfo=UTC))
    assert clock.now() == clock.now()
    assert clock.advance(timedelta(minutes=1), seconds=5) == datetime(2026, 1, 5, 0, 1, 5, tzinfo=UTC)
    with pytest.raises(ValueError, match="aware"):
        clock.set(datetime(2026, 1, 5))  # noqa: DTZ001 - what it must refuse
