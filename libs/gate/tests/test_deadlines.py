"""Deadlines: the one set last holds, what has passed stays so, and both outlive the process."""

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import aiohttp
import fleet_bus
import fleet_gate
import pytest
from fastapi import FastAPI
from fleet_bus import Bus
from fleet_bus.admin import create_topics
from fleet_chassis.app import new_app
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_chassis.settings import ServiceSettings
from fleet_contracts import encode
from fleet_contracts.topics import CORE_ENGINE_STATE, TRADING_CANCEL_AFTER
from fleet_contracts.trading import CancelAfterSet
from fleet_gate import Cutoffs, Deadlines, set_cancel_after
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually
from fleet_testkit.fixtures import KafkaForTests, MakeDatabase
from fleet_testkit.http import served
from fleet_testkit.peers import Keys
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

START = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
MIGRATIONS = [
    Path(fleet_bus.__file__).with_name("migrations"),
    Path(fleet_gate.__file__).with_name("migrations"),
]
A, B = UUID(int=1), UUID(int=2)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def told(
    cancel_in: float | None, *, at: float = 0, passed: float | None = None, account_id: UUID = A
) -> CancelAfterSet:
    return CancelAfterSet(
        account_id=account_id,
        user_id=UUID(int=9),
        set_at=after(at),
        cancel_at=None if cancel_in is None else after(at + cancel_in),
        passed_at=None if passed is None else after(passed),
    )


def test_each_heartbeat_pushes_it_back_and_zero_disables_it() -> None:
    cutoffs = Cutoffs()
    cutoffs.obey(told(10))
    cutoffs.obey(told(10, at=8))
    cutoffs.advance(after(17.9))
    assert cutoffs.passed == {}
    cutoffs.advance(after(18))
    assert cutoffs.passed == {A: after(18)}
    cutoffs.obey(told(10, at=30, passed=18))
    assert not cutoffs.obey(told(5, at=20)), "older than what is held"
    cutoffs.obey(told(None, at=35, passed=18))
    cutoffs.advance(after(100))
    assert cutoffs.passed == {A: after(18)}


STEPS = st.lists(st.tuples(st.sampled_from([A, B]), st.integers(1, 30), st.integers(0, 20)), max_size=12)


@given(STEPS, st.data())
def test_whoever_hears_of_some_in_any_order_cuts_off_where_trading_would(
    steps: list[tuple[UUID, int, int]], data: st.DataObject
) -> None:
    """Trading sets deadlines one after the other; a gate hears some of them, the last of each account among them."""
    said: list[CancelAfterSet] = []
    now = 0
    for account_id, pause, timeout in steps:
        now += pause
        held = next((one for one in reversed(said) if one.account_id == account_id), None)
        passed_at = None if held is None else held.passed_at
        if held is not None and held.cancel_at is not None and held.cancel_at <= after(now):
            passed_at = held.cancel_at
        passed = None if passed_at is None else (passed_at - START).total_seconds()
        said.append(told(timeout or None, at=now, passed=passed, account_id=account_id))
    last = {one.account_id: one for one in said}
    heard = [one for one in said if one is last[one.account_id] or data.draw(st.booleans())]
    cutoffs = Cutoffs()
    for one in data.draw(st.permutations(heard)):
        cutoffs.obey(one)
    end = after(now + data.draw(st.integers(0, 40)))
    cutoffs.advance(end)
    expected = {
        account_id: at
        for account_id, one in last.items()
        if (at := one.cancel_at if one.cancel_at is not None and one.cancel_at <= end else one.passed_at) is not None
    }
    assert cutoffs.passed == expected


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.make(tmp_path_factory.mktemp("deadlines"), "exchange-connector", "trading", "core-engine")


class Process:
    def __init__(self, deadlines: Deadlines, url: str, keys: Keys) -> None:
        self.deadlines = deadlines
        self.url = url
        self._keys = keys

    async def tell(self, deadline: CancelAfterSet, *, by: str = "trading") -> int:
        headers = self._keys.of_service(by, "exchange-connector") | {"Content-Type": "application/json"}
        async with aiohttp.ClientSession() as client:
            url = f"{self.url}/internal/cancel-after"
            async with client.post(url, data=encode(deadline), headers=headers) as response:
                return response.status


def settings_of(keys: Keys, service: str, kafka_url: str, prefix: str) -> ServiceSettings:
    fields = keys.settings(service, "", kafka_url, topic_prefix=prefix)
    return ServiceSettings.model_validate({name: value for name, value in fields.items() if name != "database_url"})


@contextlib.asynccontextmanager
async def process(
    keys: Keys, database_url: str, clock: FakeClock, *, kafka_url: str = "127.0.0.1:9", prefix: str = ""
) -> AsyncIterator[Process]:
    settings = settings_of(keys, "exchange-connector", kafka_url, prefix)
    health = Health()
    async with Database(SecretStr(database_url), application_name="deadlines-test") as database:
        bus = Bus(settings, database, clock=clock)
        deadlines = Deadlines(bus, database)

        @contextlib.asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[None]:
            async with deadlines.running(health), bus.running(health):
                yield

        app = new_app(settings, "Deadlines", lifespan, health)
        app.include_router(deadlines.router)
        async with served(app) as url:
            yield Process(deadlines, url, keys)


async def test_told_directly_it_passes_without_kafka_and_over_a_restart(
    keys: Keys, make_database: MakeDatabase
) -> None:
    database_url, clock = await make_database(MIGRATIONS), FakeClock(START)
    async with process(keys, database_url, clock) as gate:
        assert await gate.tell(told(10)) == 204
        assert await gate.tell(told(10, at=-1)) == 204, "an older one is answered, and changes nothing"
        assert await gate.tell(told(10), by="core-engine") == 403
        assert not gate.deadlines.has_passed.is_set()
    clock.advance(seconds=10)
    async with process(keys, database_url, clock) as gate:
        await eventually(gate.deadlines.has_passed.is_set)
        assert gate.deadlines.is_over(A, after(10))
        assert not gate.deadlines.is_over(A, after(10.001))
        assert not gate.deadlines.is_over(B, START)


async def test_heard_from_kafka_it_is_kept(keys: Keys, make_database: MakeDatabase, kafka: KafkaForTests) -> None:
    database_url, writer_url = await make_database(MIGRATIONS), await make_database(MIGRATIONS)
    prefix, clock = kafka.unique("deadlines") + ".", FakeClock(START)
    await create_topics(kafka.url, [TRADING_CANCEL_AFTER, CORE_ENGINE_STATE], prefix=prefix)
    account_id = uuid4()
    writer = settings_of(keys, "trading", kafka.url, prefix)
    async with Database(SecretStr(writer_url), application_name="deadlines-test") as database:
        bus = Bus(writer, database, clock=clock)
        async with bus.running(Health()), process(keys, database_url, clock, kafka_url=kafka.url, prefix=prefix):
            for seconds, timeout in ((0, 10), (20, 60)):
                clock.set(after(seconds))
                async with bus.transaction() as tx:
                    deadline = await set_cancel_after(
                        tx.connection, account_id, uuid4(), now=tx.now, timeout=timedelta(seconds=timeout)
                    )
                    tx.publish(TRADING_CANCEL_AFTER, str(account_id), deadline)
            assert (deadline.cancel_at, deadline.passed_at) == (after(80), after(10))

            async def is_kept() -> bool:
                async with Database(SecretStr(database_url), application_name="t") as kept, kept.connection() as c:
                    return bool(await c.fetchval("SELECT passed_at = $1 FROM cancel_after", after(10)))

            await eventually(is_kept)
    async with process(keys, database_url, clock) as gate:
        assert gate.deadlines.is_over(account_id, after(10))
        assert not gate.deadlines.is_over(account_id, after(20))


async def test_who_sets_it_twice_in_one_moment_is_heard_in_order(make_database: MakeDatabase) -> None:
    async with (
        Database(SecretStr(await make_database(MIGRATIONS)), application_name="t") as database,
        database.transaction() as c,
    ):
        first = await set_cancel_after(c, A, B, now=START, timeout=timedelta(seconds=5))
        second = await set_cancel_after(c, A, B, now=START - timedelta(seconds=1), timeout=None)
    assert first.set_at < second.set_at
    assert (second.cancel_at, second.passed_at) == (None, None)
