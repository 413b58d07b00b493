"""Kafka and PostgreSQL stop, stall and come back on a stack of our own: services wait, say why, and lose nothing."""

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import structlog
from counting_service import (
    BUS_MIGRATIONS,
    EFFECTS,
    NUMBERS,
    PASSED_ON,
    Effects,
    ProcessSettings,
    Service,
    record,
    work,
)
from fleet_bus import Received
from fleet_bus.admin import create_topics
from fleet_bus.kafka import producer
from fleet_chassis.database import Database, is_down
from fleet_contracts.core_engine import SignalAccepted
from fleet_launcher.stack import Part, Stack
from fleet_testkit.databases import TestDatabases
from fleet_testkit.eventually import eventually

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

KEYS = ("a", "b")


@dataclass
class Private:
    """A stack that a test may harm."""

    kafka: Part
    postgres: Part
    kafka_url: str
    databases: TestDatabases

    @contextlib.contextmanager
    def kafka_stopped(self) -> Iterator[None]:
        assert self.kafka.pid is not None
        os.kill(self.kafka.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.kafka.pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Private]:
    stack = Stack(tmp_path_factory.mktemp("stack"), environment={})
    endpoints = stack.start()
    parts = {part.name: part for part in stack.parts}
    try:
        yield Private(parts["kafka"], parts["postgres"], endpoints.kafka_url, TestDatabases(endpoints.postgres_url))
    finally:
        stack.delete_data()


@dataclass
class Chain:
    writer: Service
    middle: Service
    last: Service

    async def arrived(self, highest: int) -> bool:
        return all([(await self.last.effects(key))[-1:] == [highest] for key in KEYS])


@pytest.fixture
async def open_chain(private: Private) -> AsyncIterator[Callable[[], Any]]:
    """writer → middle → last, each with a database of its own; not running yet."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(name: str, prefix: str, limits: dict[str, float]) -> Service:
            url = await private.databases.make([BUS_MIGRATIONS])
            database = await stack.enter_async_context(Database(url, application_name=name))
            async with database.connection() as connection:
                await connection.execute(EFFECTS)
            service = Service(ProcessSettings(name, private.kafka_url, prefix), database)
            service.bus.settings = replace(service.bus.settings, **limits)  # type: ignore[arg-type]
            return service

        async def open_(**limits: float) -> Chain:
            prefix = f"outage-{secrets.token_hex(4)}."
            await create_topics(private.kafka_url, [NUMBERS, PASSED_ON], prefix=prefix)
            chain = Chain(*[await make(name, prefix, limits) for name in ("writer", "middle", "last")])
            chain.middle.bus.add(work(pass_on))
            chain.last.bus.add(work(topic=PASSED_ON))
            return chain

        yield open_


async def pass_on(uow: Effects, received: Received[SignalAccepted]) -> None:
    await record(uow, received)
    uow.tx.publish(PASSED_ON, received.key, received.message)


class Load:
    """Sends rising numbers, each key in order, until stopped. What the database refused was not sent, and is sent again."""

    def __init__(self, chain: Chain) -> None:
        self.sent = 0
        self._chain = chain
        self._stop = asyncio.Event()

    async def run(self) -> None:
        while not self._stop.is_set():
            try:
                await self._chain.writer.send(*((key, self.sent) for key in KEYS))
            except Exception as error:
                if not is_down(error):
                    raise
                await asyncio.sleep(0.1)
                self.sent = await self._next()
                continue
            self.sent += 1
            await asyncio.sleep(0.01)

    async def _next(self) -> int:
        """Whether the last one was committed after all is asked of the writer's own numbers."""
        while True:
            try:
                async with self._chain.writer.database.connection() as connection:
                    return int(await connection.fetchval("SELECT coalesce(max(sequence), 0) FROM outbox_sequences"))
            except Exception as error:
                if not is_down(error):
                    raise
                await asyncio.sleep(0.1)

    def stop(self) -> None:
        self._stop.set()


@contextlib.asynccontextmanager
async def loaded(chain: Chain) -> AsyncIterator[Load]:
    """The chain under load; at the end everything has arrived once and in order."""
    async with chain.writer.running(), chain.middle.running(), chain.last.running():
        load = Load(chain)
        loading = asyncio.create_task(load.run())
        await eventually(lambda: _count(chain.last, 20), timeout_s=20)
        yield load
        load.stop()
        await loading
        await eventually(lambda: chain.arrived(load.sent - 1), timeout_s=60)
    for service in (chain.middle, chain.last):
        for key in KEYS:
            assert await service.effects(key) == list(range(load.sent))


@pytest.mark.parametrize("stuck_after_s", [30.0, 8.0])
async def test_a_broker_that_stands_still_for_20_s(private: Private, open_chain: Any, stuck_after_s: float) -> None:
    """Also for clients that are built anew meanwhile, again and again."""
    chain = await open_chain(stuck_after_s=stuck_after_s)
    async with loaded(chain):
        with private.kafka_stopped():
            await eventually(lambda: "has not heard of Kafka" in str(chain.last.bus.ready()), timeout_s=15)
            await eventually(lambda: "the outbox has not been sent" in str(chain.writer.bus.ready()), timeout_s=15)
            assert await chain.writer.bus.oldest_unsent_age_s(NUMBERS) > 3
            await asyncio.sleep(20 - 8)  # the length of the stall is the fault itself
        await eventually(
            lambda: [s.bus.ready() for s in (chain.writer, chain.middle, chain.last)] == [None] * 3, timeout_s=60
        )


async def test_a_broker_that_is_gone_for_longer_than_its_clients_are_kept(private: Private, open_chain: Any) -> None:
    chain = await open_chain(stuck_after_s=3.0)
    async with loaded(chain):
        await asyncio.to_thread(private.kafka.stop)
        try:
            for service in (chain.middle, chain.last):
                # This client has been closed, and the next one finds nobody.
                await eventually(partial(has_no_partitions, service), timeout_s=30)
        finally:
            await asyncio.to_thread(private.kafka.start)


async def test_postgresql_restarted_under_load(private: Private, open_chain: Any) -> None:
    chain = await open_chain()
    async with loaded(chain) as load:
        before = load.sent
        await asyncio.to_thread(private.postgres.stop)
        await asyncio.to_thread(private.postgres.start)
        await eventually(lambda: load.sent > before + 50, timeout_s=60)


async def test_kafka_down_at_the_start_is_waited_for_without_a_flood(private: Private, open_chain: Any) -> None:
    chain = await open_chain()
    await chain.writer.send(("a", 0), ("b", 0))
    await asyncio.to_thread(private.kafka.stop)
    try:
        with structlog.testing.capture_logs() as said:
            async with chain.writer.running(), chain.middle.running(), chain.last.running():
                await eventually(lambda: "no partitions yet" in str(chain.middle.bus.ready()))
                await asyncio.sleep(8)  # some rounds of tries
                assert chain.last.bus.ready()
                warnings = [line for line in said if line["log_level"] in ("warning", "error")]
                assert len(warnings) < 12, warnings
                await asyncio.to_thread(private.kafka.start)
                await eventually(lambda: chain.arrived(0), timeout_s=60)
                await eventually(lambda: chain.last.bus.ready() is None)
    finally:
        await asyncio.to_thread(private.kafka.start)


async def test_postgresql_down_at_the_start_is_waited_for(private: Private, open_chain: Any) -> None:
    chain = await open_chain()
    await chain.writer.send(("a", 0), ("b", 0))
    await asyncio.to_thread(private.postgres.stop)
    try:
        with structlog.testing.capture_logs() as said:
            async with chain.writer.running(), chain.middle.running(), chain.last.running():
                await eventually(lambda: any(line["event"] == "relay_waits" for line in said))
                assert isinstance(await chain.writer.database.check(), str)  # what readiness says
                await asyncio.to_thread(private.postgres.start)
                await eventually(lambda: chain.arrived(0), timeout_s=60)
    finally:
        await asyncio.to_thread(private.postgres.start)


async def test_a_stop_does_not_wait_for_a_kafka_that_stands_still(private: Private, open_chain: Any) -> None:
    chain = await open_chain()
    services = (chain.writer, chain.middle, chain.last)
    async with contextlib.AsyncExitStack() as stack:
        for service in services:
            await stack.enter_async_context(service.running())
        await chain.writer.send(("a", 0), ("b", 0))
        await eventually(lambda: chain.arrived(0), timeout_s=20)
        stopping = stack.pop_all()
    with private.kafka_stopped():
        await chain.writer.send(("a", 1), ("b", 1))
        started = time.monotonic()
        await stopping.aclose()
        assert (time.monotonic() - started) / len(services) < 6
    async with chain.writer.running(), chain.middle.running(), chain.last.running():
        await eventually(lambda: chain.arrived(1), timeout_s=60)


async def test_offsets_that_a_stop_could_not_commit_are_no_traceback(private: Private, open_chain: Any) -> None:
    chain = await open_chain(commit_every_s=300.0)
    gc.collect()
    with hearing() as heard, structlog.testing.capture_logs() as said:
        async with contextlib.AsyncExitStack() as stack:
            for service in (chain.writer, chain.middle, chain.last):
                await stack.enter_async_context(service.running())
            for round_ in range(2):  # The first one's offsets are committed at once.
                await chain.writer.send(*((key, round_) for key in KEYS))
                await eventually(lambda round_=round_: chain.arrived(round_), timeout_s=20)  # type: ignore[misc]
            assert all(service.bus._readings[0]._uncommitted for service in (chain.middle, chain.last))
            stopping = stack.pop_all()
        with private.kafka_stopped():
            await stopping.aclose()
            gc.collect()
    assert [r.getMessage() for r in heard if r.levelno >= logging.WARNING] == []
    assert [line for line in said if "OffsetCommit" in line.get("text", "") and line["log_level"] != "info"] == []


async def test_a_producer_that_is_closed_before_the_answer_comes_is_no_warning(private: Private) -> None:
    logging.getLogger("aiokafka").handlers.clear()  # it may have said so a moment ago
    prefix = f"outage-{secrets.token_hex(4)}."
    await create_topics(private.kafka_url, [NUMBERS], prefix=prefix)
    async with contextlib.AsyncExitStack() as closing:
        client = await closing.enter_async_context(producer(private.kafka_url, "writer"))
        await client.send_and_wait(
            prefix + NUMBERS.name, b"1"
        )  # of a new topic a broker may not know yet that it leads it
        with private.kafka_stopped(), structlog.testing.capture_logs() as said:
            await client.send(prefix + NUMBERS.name, b"2")
            await eventually(lambda: client._sender._in_flight)
            await closing.aclose()
    assert [line for line in said if line["log_level"] not in ("debug", "info")] == []


async def test_what_waits_for_a_connection_is_not_sent_once_its_producer_is_closed(private: Private) -> None:
    """connected → Kafka stands still, the connection is lost → asked to send → closed → Kafka is back → the next one sends"""
    prefix = f"outage-{secrets.token_hex(4)}."
    await create_topics(private.kafka_url, [NUMBERS], prefix=prefix)
    async with contextlib.AsyncExitStack() as closing:
        client = await closing.enter_async_context(producer(private.kafka_url, "writer"))
        await client.send_and_wait(prefix + NUMBERS.name, b"1", partition=0)
        with private.kafka_stopped():
            for connection in list(client.client._conns.values()):
                connection.close()
            await client.send(prefix + NUMBERS.name, b"2", partition=0)
            await eventually(lambda: client._sender._in_flight)
            await closing.aclose()
            left = [task for task in asyncio.all_tasks() if "aiokafka" in repr(task)]
    async with producer(private.kafka_url, "writer") as client:
        sent = await client.send_and_wait(prefix + NUMBERS.name, b"3", partition=0)
    assert (left, sent.offset) == ([], 1)


async def test_a_replica_joins_and_leaves_under_load(private: Private, open_chain: Any) -> None:
    chain = await open_chain()
    settings = ProcessSettings("middle", private.kafka_url, chain.middle.settings.topic_prefix, ordinal=1)
    second = Service(settings, chain.middle.database)
    second.bus.add(work(pass_on))
    async with loaded(chain) as load:
        async with second.running():
            await eventually(lambda: second.bus.ready() is None and _places(second) == 1, timeout_s=40)
            await eventually(lambda: _places(chain.middle) == 1, timeout_s=40)
            before = load.sent
            await eventually(lambda: load.sent > before + 100, timeout_s=30)
        # A static member that leaves says nothing; its partitions are given back when its session is over.
        await eventually(lambda: _places(chain.middle) == 2, timeout_s=60)


async def test_an_ordinary_life_is_told_without_a_warning(open_chain: Any) -> None:
    chain = await open_chain()
    gc.collect()  # what clients of a stopped broker left behind belongs to the tests before
    with hearing() as heard, structlog.testing.capture_logs() as said:
        for round_ in range(2):
            async with chain.writer.running(), chain.middle.running(), chain.last.running():
                await chain.writer.send(*((key, round_) for key in KEYS))
                await eventually(lambda round_=round_: chain.arrived(round_), timeout_s=20)  # type: ignore[misc]
    assert [line for line in said if line["log_level"] not in ("debug", "info")] == []
    assert [r.getMessage() for r in heard if r.levelno >= logging.WARNING] == []


@contextlib.contextmanager
def hearing() -> Iterator[list[logging.LogRecord]]:
    """What the libraries log meanwhile."""
    handler = _Hearing()
    logging.getLogger().addHandler(handler)
    try:
        yield handler.heard
    finally:
        logging.getLogger().removeHandler(handler)


class _Hearing(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record)


def has_no_partitions(service: Service) -> bool:
    return "no partitions yet" in str(service.bus.ready())


def _places(service: Service) -> int:
    return len(service.bus._readings[0].places)


async def _count(service: Service, wanted: int) -> bool:
    return len(await service.effects()) >= wanted
