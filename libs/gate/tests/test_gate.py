"""The gate over a real database: a halt told directly needs no Kafka, outlives the process, and is undone by nothing older."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from uuid import uuid4

import aiohttp
import asyncpg
import fleet_bus
import fleet_gate
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from fastapi import FastAPI
from fleet_bus import Bus
from fleet_bus.admin import create_topics
from fleet_chassis.app import new_app
from fleet_chassis.assertions import AssertionSigner
from fleet_chassis.database import Database, DatabaseUnavailable
from fleet_chassis.health import Health
from fleet_chassis.settings import ServiceSettings
from fleet_contracts import Message, encode
from fleet_contracts.core_engine import Heartbeat, TradingStateChanged
from fleet_contracts.topics import CORE_ENGINE_STATE
from fleet_contracts.vocabulary import StateScope, TradingStateWord
from fleet_gate import Gate, States, state_key, store, whenever
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually
from fleet_testkit.fixtures import KafkaForTests, MakeDatabase
from fleet_testkit.http import served
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

HALTED, REDUCING, ACTIVE = TradingStateWord.HALTED, TradingStateWord.REDUCING, TradingStateWord.ACTIVE
SILENT_KAFKA = "127.0.0.1:9"
MIGRATIONS = [
    Path(fleet_bus.__file__).with_name("migrations"),
    Path(fleet_gate.__file__).with_name("migrations"),
]


def change(
    state: TradingStateWord,
    version: int,
    *,
    scope: StateScope = StateScope.SYSTEM,
    target: str | None = None,
    epoch: int = 1,
) -> TradingStateChanged:
    return TradingStateChanged(
        scope=scope,
        target=target,
        state=state,
        epoch=epoch,
        version=version,
        by="an admin",
        reason="a test",
        changed_at=datetime(2026, 1, 5, tzinfo=UTC),
    )


class MayBeAway(Database):
    """A database that can be out of reach, and whose callers notice it only after a `silence`."""

    is_away = False
    silence: asyncio.Event | None = None

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        if self.is_away:
            if self.silence is not None:
                await self.silence.wait()
            raise DatabaseUnavailable("away")
        async with super().connection() as connection:
            yield connection


@dataclass
class Process:
    gate: Gate
    url: str
    signers: dict[str, AssertionSigner]
    heard: list[Message]
    database: MayBeAway
    bus: Bus

    async def tell(self, told: TradingStateChanged, *, by: str = "core-engine") -> aiohttp.ClientResponse:
        headers = {"Authorization": f"Bearer {self.signers[by].sign('trading')}", "Content-Type": "application/json"}
        async with aiohttp.ClientSession() as client:
            response = await client.post(f"{self.url}/internal/state", data=encode(told), headers=headers)
            await response.read()
            return response


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    public = {}
    for service in ("core-engine", "strategy", "cli"):
        key = Ed25519PrivateKey.generate()
        (folder / f"{service}.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        public[service] = pem.decode()
    (folder / "public.json").write_text(json.dumps(public))
    return folder


@contextlib.asynccontextmanager
async def process(
    keys: Path,
    database_url: str,
    kafka_url: str = SILENT_KAFKA,
    *,
    prefix: str = "",
    clock: FakeClock | None = None,
    feed: Literal["simulated", "replay"] = "simulated",
    knows: Callable[[StateScope, str], Awaitable[bool | None]] | None = None,
) -> AsyncIterator[Process]:
    """What trading, execution and exchange-connector have of the gate, as a process of its own would."""
    settings = ServiceSettings(
        service="trading",
        port=0,
        kafka_url=kafka_url,
        topic_prefix=prefix,
        feed=feed,
        instances=keys / "instances.json",
        private_key_file=keys / "core-engine.pem",
        public_keys_file=keys / "public.json",
    )
    health = Health()
    async with MayBeAway(SecretStr(database_url), application_name="gate-test") as database:
        bus = Bus(settings, database, clock=clock)
        gate = Gate(bus, database, knows=knows)
        heard: list[Message] = []
        bus.table(CORE_ENGINE_STATE, TradingStateChanged).on_change(
            lambda _, one: heard.append(one.message) if one else None
        )

        @contextlib.asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[None]:
            async with gate.running(health), bus.running(health):
                yield

        app = new_app(settings, "Gate", lifespan, health)
        app.include_router(gate.router)
        async with served(app) as url:
            signers = {name: AssertionSigner(name, keys / f"{name}.pem") for name in ("core-engine", "strategy", "cli")}
            yield Process(gate, url, signers, heard, database, bus)


async def test_a_halt_told_directly_holds_without_kafka_and_survives_a_restart(
    keys: Path, make_database: MakeDatabase
) -> None:
    database_url = await make_database(MIGRATIONS)
    async with process(keys, database_url) as trading:
        assert trading.gate.state() is ACTIVE
        assert (await trading.tell(change(HALTED, 7))).status == 200
        assert trading.gate.state(symbol="AAPL/USD") is HALTED
    async with process(keys, database_url) as trading:
        assert trading.gate.state() is HALTED
        older = await trading.tell(change(ACTIVE, 6))
        told = await older.json()
        assert (older.status, told["state"], told["version"]) == (200, "halted", 7)
        assert trading.gate.state() is HALTED
        assert (await trading.tell(change(ACTIVE, 8), by="cli")).status == 200
        assert trading.gate.state() is ACTIVE


async def test_a_halt_that_the_database_could_not_take_is_kept_when_it_is_back(
    keys: Path, make_database: MakeDatabase
) -> None:
    """told directly while the database takes nothing → obeyed, answered with an error → kept as soon as it can be"""
    database_url = await make_database(MIGRATIONS)
    async with process(keys, database_url) as trading:
        trading.database.is_away = True
        assert (await trading.tell(change(HALTED, 7))).status == 503
        assert trading.gate.state() is HALTED
        trading.database.is_away = False

        async def is_kept() -> bool:
            return [held.version for held in await store.load(trading.database)] == [7]

        await eventually(is_kept)


async def test_a_fleet_is_not_at_rest_while_a_gate_has_to_do_something_again(
    keys: Path, make_database: MakeDatabase
) -> None:
    """two cancel at once, one ends as a deadlock → it is done again a moment later → until then it is on its way"""
    tries: list[int] = []
    may_end, told = asyncio.Event(), asyncio.Event()

    async def cancel() -> None:
        tries.append(len(tries))
        if len(tries) == 1:
            raise asyncpg.DeadlockDetectedError
        await may_end.wait()

    async with process(keys, await make_database(MIGRATIONS)) as trading:
        doing = asyncio.create_task(whenever(told, cancel, trading.bus))
        told.set()
        await eventually(lambda: tries)
        assert (await trading.bus.rest()).busy == 1
        await eventually(lambda: len(tries) == 2)
        may_end.set()

        async def is_at_rest() -> bool:
            return (await trading.bus.rest()).busy == 0

        await eventually(is_at_rest)
        doing.cancel()


async def test_a_halt_that_is_kept_is_told_so_also_where_nobody_can_say_whether_there_is_its_target(
    keys: Path, make_database: MakeDatabase
) -> None:
    async def away(_scope: StateScope, _target: str) -> bool | None:
        raise DatabaseUnavailable("away")

    async with process(keys, await make_database(MIGRATIONS), knows=away) as trading:
        answer = await trading.tell(change(HALTED, 7, scope=StateScope.SYMBOL, target="AAPL/USD"))
        told = await answer.json()
        assert (answer.status, told["version"], told["is_known"]) == (200, 7, None)


async def test_a_restored_database_speaks_with_a_higher_epoch(keys: Path, make_database: MakeDatabase) -> None:
    async with process(keys, await make_database(MIGRATIONS)) as trading:
        await trading.tell(change(HALTED, 7))
        await trading.tell(change(ACTIVE, 1, epoch=2))
        assert trading.gate.state() is ACTIVE


async def test_only_core_engine_and_the_cli_may_tell(keys: Path, make_database: MakeDatabase) -> None:
    async with process(keys, await make_database(MIGRATIONS)) as trading:
        assert (await trading.tell(change(HALTED, 7), by="strategy")).status == 403
        assert (await trading.tell(change(HALTED, 7, target="AAPL/USD"))).status == 422
        assert trading.gate.state() is ACTIVE


async def test_a_state_heard_from_kafka_is_obeyed_and_kept(
    keys: Path, make_database: MakeDatabase, kafka: KafkaForTests
) -> None:
    symbol = f"{uuid4().hex[:8].upper()}/USD"  # the topic is shared by all test sessions
    await create_topics(kafka.url, [CORE_ENGINE_STATE])
    database_url, writer_url = await make_database(MIGRATIONS), await make_database(MIGRATIONS)
    halt = change(HALTED, 3, scope=StateScope.SYMBOL, target=symbol)
    async with process(keys, database_url, kafka.url) as trading:
        async with publishing(keys, writer_url, kafka.url) as core_engine, core_engine.transaction() as tx:
            tx.publish(CORE_ENGINE_STATE, state_key(halt.scope, halt.target), halt)
        await eventually(lambda: trading.gate.state(symbol=symbol) is HALTED)
        await eventually(lambda: kept(database_url, symbol))
    async with process(keys, database_url) as trading:
        assert trading.gate.state(symbol=symbol) is HALTED
        assert trading.gate.state(symbol="AAPL/USD") is ACTIVE


async def test_what_came_while_the_database_failed_to_take_an_older_state_is_kept(
    keys: Path, make_database: MakeDatabase, kafka: KafkaForTests
) -> None:
    """told directly while the database is silent → a newer one comes by Kafka → the database fails both → the newer is kept"""
    prefix = kafka.unique("gate") + "."
    await create_topics(kafka.url, [CORE_ENGINE_STATE], prefix=prefix)
    database_url, writer_url = await make_database(MIGRATIONS), await make_database(MIGRATIONS)
    async with (
        process(keys, database_url, kafka.url, prefix=prefix) as trading,
        publishing(keys, writer_url, kafka.url, prefix=prefix) as core_engine,
    ):
        database = trading.database
        database.is_away, database.silence = True, asyncio.Event()
        telling = asyncio.create_task(trading.tell(change(HALTED, 7)))
        await eventually(lambda: trading.gate.state() is HALTED)
        async with core_engine.transaction() as tx:
            tx.publish(CORE_ENGINE_STATE, "system", change(REDUCING, 8))
        await eventually(lambda: trading.gate.state() is REDUCING)
        database.is_away = False
        database.silence.set()
        assert (await telling).status == 503

        async def kept_version() -> int | None:
            return next((held.version for held in await store.load(database)), None)

        assert await eventually(kept_version) == 8


@contextlib.asynccontextmanager
async def publishing(keys: Path, database_url: str, kafka_url: str, *, prefix: str = "") -> AsyncIterator[Bus]:
    settings = ServiceSettings(
        service="core-engine",
        port=0,
        kafka_url=kafka_url,
        topic_prefix=prefix,
        instances=keys / "instances.json",
        private_key_file=keys / "core-engine.pem",
        public_keys_file=keys / "public.json",
    )
    async with Database(SecretStr(database_url), application_name="gate-test") as database:
        bus = Bus(settings, database)
        async with bus.running(Health()):
            yield bus


async def test_without_the_heartbeat_only_what_reduces_until_it_comes_again(
    keys: Path, make_database: MakeDatabase, kafka: KafkaForTests
) -> None:
    prefix = kafka.unique("gate") + "."
    await create_topics(kafka.url, [CORE_ENGINE_STATE], prefix=prefix)
    clock, database_url, writer_url = FakeClock(), await make_database(MIGRATIONS), await make_database(MIGRATIONS)
    for feed in ("simulated", "replay"):
        async with (
            process(keys, database_url, kafka.url, prefix=prefix, clock=clock, feed=feed) as trading,
            publishing(keys, writer_url, kafka.url, prefix=prefix) as core_engine,
        ):
            assert trading.gate.state() is ACTIVE, "a heartbeat that never came is not missed"
            await beat(core_engine, clock)
            await eventually(lambda: trading.heard)
            clock.advance(seconds=10)
            assert trading.gate.state() is ACTIVE
            clock.advance(seconds=1)
            assert trading.gate.state() is (REDUCING if feed == "simulated" else ACTIVE)
            await beat(core_engine, clock)
            await eventually(lambda: trading.gate.state() is ACTIVE)


async def beat(core_engine: Bus, clock: FakeClock) -> None:
    async with core_engine.transaction() as tx:
        tx.publish(CORE_ENGINE_STATE, "heartbeat", Heartbeat(at=clock.now()))


async def kept(database_url: str, symbol: str) -> bool:
    async with Database(SecretStr(database_url), application_name="gate-test") as database:  # noqa: SIM117
        async with database.connection() as connection:
            return bool(await connection.fetchval("SELECT true FROM trading_state WHERE target = $1", symbol))


VERSIONS = st.tuples(st.integers(1, 3), st.integers(1, 9))


@given(st.lists(st.tuples(VERSIONS, st.sampled_from(TradingStateWord)), unique_by=lambda told: told[0], min_size=1))
def test_the_highest_version_wins_in_whatever_order_it_comes(
    told: list[tuple[tuple[int, int], TradingStateWord]],
) -> None:
    states = States()
    for (epoch, version), word in told:
        states.obey(change(word, version, epoch=epoch))
    assert states.strictest() is max(told)[1]


@given(st.sampled_from(TradingStateWord), st.sampled_from(TradingStateWord), st.sampled_from(TradingStateWord))
def test_the_strictest_scope_decides(
    system: TradingStateWord, symbol: TradingStateWord, account: TradingStateWord
) -> None:
    account_id = uuid4()
    states = States()
    states.obey(change(system, 1))
    states.obey(change(symbol, 2, scope=StateScope.SYMBOL, target="AAPL/USD"))
    states.obey(change(account, 3, scope=StateScope.ACCOUNT, target=str(account_id)))
    words = {system, symbol, account}
    expected = HALTED if HALTED in words else REDUCING if REDUCING in words else ACTIVE
    assert states.strictest(symbol="AAPL/USD", account_id=account_id) is expected
    assert states.strictest(symbol="MSFT/USD") is system
