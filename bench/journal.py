"""What one command of the internal venue costs journaled through Kafka, and how soon its books are there again.

The commands lie in the log; the venue claims, matches, says and is acknowledged, batch by batch, in this process. The
baseline is the same machine driven by the same records in memory: what Kafka and PostgreSQL add is the difference."""

import asyncio
import contextlib
import os
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import fleet_simulator as sim
from fleet_bus import Bus, Fact, Journaled
from fleet_bus.admin import create_topics
from fleet_bus.forking import Forked
from fleet_bus.journal_partition import JournalPartition
from fleet_bus.journal_store import JournalStore, StoredFact
from fleet_bus.kafka import producer
from fleet_bus.received import Record, headers
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_contracts import TOPICS, encode
from fleet_contracts.partitioning import partition
from fleet_contracts.topics import MATCHING_ENGINE_MARKET_DATA, VENUE_INTERNAL_COMMANDS, VENUE_INTERNAL_REPORTS
from fleet_contracts.venue import PlaceVenueOrder
from fleet_contracts.vocabulary import OrderType, Side, TimeInForce
from fleet_launcher.stack import Endpoints
from fleet_matching_engine.app import engine_of
from fleet_matching_engine.domain.rules import INSTRUMENT, RULES, Rules, Terms
from fleet_matching_engine.service import VenueMachine, fact
from fleet_matching_engine.store import PostgresArchive
from fleet_simulator.book import commands as c
from fleet_testkit.databases import TestDatabases
from fleet_testkit.peers import Keys
from fleet_testkit.stack import test_stack

from bench.gateway import free_ports

COMMANDS = 10_000
RESTING = 1_000_000
SINGLES = 200
SYMBOL = "AAPL/USD"
_PARTITION = partition(SYMBOL, VENUE_INTERNAL_COMMANDS.partitions)
_ACCOUNTS = 1_000
_EACH_FILLED = 20
_WARM = 1_000
_TERMS = Terms(SYMBOL, "USD", Decimal("0.01"), Decimal(1), Decimal(1), Decimal(1), Decimal("0.001"), Decimal("0.002"))
_RULES = Rules(Decimal("0.9"), Decimal(10) ** 9, 1_000_000, "cancel_newest")
_FACTS = (fact(RULES, _RULES), fact(INSTRUMENT, _TERMS))


@dataclass(frozen=True)
class _Process:
    kafka_url: str
    topic_prefix: str
    database_url: str
    service: str = "matching-engine"
    ordinal: int = 0
    feed: str = "simulated"


def measure() -> dict[str, Any]:
    with test_stack() as endpoints:
        found = asyncio.run(_measure_commands(endpoints))
        return found | asyncio.run(_measure_ready(endpoints))


async def _measure_commands(endpoints: Endpoints) -> dict[str, Any]:
    records = _records(COMMANDS)
    async with _place(endpoints) as (process, database):
        in_memory = _in_memory(records)
        async with producer(endpoints.kafka_url, "bench") as client:
            await _send(client, process, records)
            wall, cpu = time.perf_counter(), time.process_time()
            bus, reading = _journal(process, database)
            async with bus.running(Health()):
                await _until(lambda: COMMANDS in reading.places.values())
                wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
                singles = await _singles(client, process, reading)
    return {
        "commands": COMMANDS,
        "in_memory_cpu_us": round(in_memory * 1e6, 1),
        "journaled_us": round(wall / COMMANDS * 1e6, 1),
        "journaled_cpu_us": round(cpu / COMMANDS * 1e6, 1),
        "one_alone_p50_ms": round(statistics.median(singles) * 1e3, 2),
        "one_alone_p95_ms": round(statistics.quantiles(singles, n=20)[-1] * 1e3, 2),
    }


async def _singles(client: Any, process: _Process, reading: Any) -> list[float]:
    """From the send of one command to the acknowledgement of what it caused, with nothing else under way."""
    found = []
    for number, record in enumerate(_records(SINGLES, first=COMMANDS)):
        started = time.perf_counter()
        await _send(client, process, [record])
        await _until(lambda at=COMMANDS + number + 1: at in reading.places.values())
        found.append(time.perf_counter() - started)
    return found


async def _measure_ready(endpoints: Endpoints) -> dict[str, Any]:
    """A snapshot of a million resting orders; then a new owner, from the start of its process until it may be asked."""
    journal = JournalPartition(
        VENUE_INTERNAL_COMMANDS, _PARTITION, "matching-engine", 1, VenueMachine(engine_of("fast"), _PARTITION)
    )
    facts = journal.next_facts(_FACTS, datetime.now(UTC))
    _learn(journal, facts)
    machine = journal.machine
    assert isinstance(machine, VenueMachine)
    _fill(machine)
    async with _place(endpoints) as (process, database):
        store = JournalStore(database, VENUE_INTERNAL_COMMANDS.name, _PARTITION)
        epoch, _ = await store.take_over()
        await store.claim(epoch, 0, facts)
        started = time.perf_counter()
        child = Forked.begin(journal.snapshot)
        forked = time.perf_counter()
        content = await child.answer()
        encoded = time.perf_counter()
        await store.add_snapshot(epoch, journal.place, content, datetime.now(UTC))
        stored = time.perf_counter()
        ready_s, shown = await _started(process)
    book = machine.venue.books[SYMBOL]
    if (shown["orders"], shown["checksum"]) != (RESTING, book.checksum()):
        raise RuntimeError(f"{RESTING} orders were to be taken over, was {shown['orders']}")
    return {
        "resting_orders": RESTING,
        "partly_filled": sum(order.filled_quantity > 0 for order in book.orders.values()),
        "snapshot_mb": round(len(content) / 1e6, 1),
        "snapshot_stall_ms": round((forked - started) * 1e3, 1),
        "snapshot_encode_s": round(encoded - forked, 2),
        "snapshot_store_s": round(stored - encoded, 2),
        "ready_s": round(ready_s, 2),
    }


async def _started(process: _Process) -> tuple[float, Any]:
    """Seconds from the start of the service to its /health/ready, and the book that it shows then."""
    topics = [t for t in TOPICS if t.owner == process.service or any(r.service == process.service for r in t.readers)]
    await create_topics(process.kafka_url, topics, prefix=process.topic_prefix)
    with tempfile.TemporaryDirectory() as folder:
        keys, (port,) = Keys.make(Path(folder), process.service, "gateway"), free_ports(1)
        fields = keys.settings(
            process.service, process.database_url, process.kafka_url, topic_prefix=process.topic_prefix
        )
        environment = {f"FLEET_{name.upper()}": str(value) for name, value in {**fields, "port": port}.items()}
        url, headers = f"http://127.0.0.1:{port}", keys.of_user(process.service, uuid4(), "read")
        started = time.perf_counter()
        service = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "fleet_matching_engine"),
            env={**os.environ, **environment},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with aiohttp.ClientSession() as http:
                while not await _is_ready(http, url):
                    if service.returncode is not None:
                        raise RuntimeError(f"matching-engine ended with {service.returncode}")
                    await asyncio.sleep(0.02)
                ready_s = time.perf_counter() - started
                async with http.get(f"{url}/api/v1/books/{SYMBOL.replace('/', '-')}", headers=headers) as answer:
                    return ready_s, await answer.json()
        finally:
            if service.returncode is None:
                service.kill()
            await service.wait()


async def _is_ready(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(f"{url}/health/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientConnectionError:
        return False


def _in_memory(records: list[Record]) -> float:
    """CPU seconds a record, of the machine alone; what is compiled is loaded before."""
    engine_of("fast")().apply(c.batch([c.add(1, 1, 0, 1, 1)])).tolist()
    journal = JournalPartition(
        VENUE_INTERNAL_COMMANDS, _PARTITION, "matching-engine", 1, VenueMachine(engine_of("fast"), _PARTITION)
    )
    _learn(journal, journal.next_facts(_FACTS, datetime.now(UTC)))
    for record in records[:_WARM]:
        journal.obey(record)
    started = time.process_time()
    for record in records[_WARM:]:
        journal.obey(record)
    return (time.process_time() - started) / (len(records) - _WARM)


def _learn(journal: JournalPartition, facts: list[StoredFact]) -> None:
    for one in facts:
        journal.learn(one)


def _fill(machine: VenueMachine) -> None:
    """A million resting orders of a thousand accounts on a thousand prices, without the commands that would make them. Each
    tenth is partly filled: at the best price for a moment, and then at its own."""
    book = machine.venue.books[SYMBOL]
    exchange, now = book.exchange, machine.venue.moment(datetime.now(UTC), None)
    accounts = [str(uuid4()) for _ in range(_ACCOUNTS)]
    for number in range(1, RESTING + 1):
        price = 10_001 + number % 500 if number % 2 else 9_999 - number % 500
        is_filled = number % _EACH_FILLED < 2  # of either side
        order = sim.Place(
            order_ref=UUID(int=number << 64).hex,
            account_id=accounts[number % _ACCOUNTS],
            command_sequence=0,
            side=sim.Side.SELL if number % 2 else sim.Side.BUY,
            type=sim.OrderType.LIMIT,
            quantity=10,
            limit_price=10_000 if is_filled else price,
            self_trade=sim.SelfTrade.CANCEL_NEWEST,
        )
        if not is_filled:
            exchange.apply(order, 1_700_000_000_000_000_000 + number)
            continue
        book.apply(order, now)
        side = sim.Side.BUY if number % 2 else sim.Side.SELL
        taker = replace(order, order_ref=UUID(int=number).hex, account_id="taker", side=side, quantity=4)
        book.apply(replace(taker, time_in_force=sim.TimeInForce.IOC), now)
        book.apply(sim.Replace(order.order_ref, order.account_id, 0, limit_price=price), now)
    book.apply(sim.Cancel("", "", 0), now)
    machine.venue.archived(0)


def _records(count: int, first: int = 0) -> list[Record]:
    """Limit orders round one price: about half of them trade."""
    chance = random.Random(first)  # noqa: S311
    accounts = [uuid4() for _ in range(_ACCOUNTS)]
    found = []
    for offset in range(first, first + count):
        placed = PlaceVenueOrder(
            venue_order_ref=uuid4(),
            account_id=chance.choice(accounts),
            user_id=accounts[0],
            command_sequence=offset,
            send_by=None,
            symbol=SYMBOL,
            side=chance.choice([Side.BUY, Side.SELL]),
            order_type=OrderType.LIMIT,
            quantity=Decimal(chance.randint(1, 100)),
            limit_price=Decimal(10_000 + chance.randint(-50, 50)) / 100,
            protection_price=None,
            time_in_force=TimeInForce.GTC,
        )
        found.append(
            Record(
                topic=VENUE_INTERNAL_COMMANDS.name,
                partition=_PARTITION,
                offset=offset,
                key=SYMBOL,
                writer="execution",
                type=placed.type_name(),
                event_id=uuid4(),
                epoch=1,
                sequence=offset + 1,
                occurred_at=datetime.now(UTC),
                market_at=None,
                traceparent=None,
                payload=encode(placed),
            )
        )
    return found


async def _send(client: Any, process: _Process, records: list[Record]) -> None:
    sent = [
        await client.send(
            process.topic_prefix + record.topic,
            value=record.payload,
            key=record.key.encode(),
            partition=record.partition,
            headers=headers(record),
        )
        for record in records
    ]
    await asyncio.gather(*sent)


def _journal(process: _Process, database: Database) -> tuple[Bus, Any]:
    engine = engine_of("fast")

    def wanted(machine: VenueMachine) -> list[Fact]:
        return [] if machine.number != _PARTITION or machine.venue.admission.rules is not None else list(_FACTS)

    bus = Bus(process, database)
    journaled = Journaled(
        name="commands",
        topic=VENUE_INTERNAL_COMMANDS,
        machine=lambda number: VenueMachine(engine, number),
        wanted=wanted,
        snapshot_every=10 * COMMANDS,
        archive=PostgresArchive(database),
    )
    return bus, bus.journal(journaled)


@contextlib.asynccontextmanager
async def _place(endpoints: Endpoints) -> AsyncIterator[tuple[_Process, Database]]:
    """Topics and a database of its own."""
    prefix = f"bench-{secrets.token_hex(4)}."
    topics = [VENUE_INTERNAL_COMMANDS, VENUE_INTERNAL_REPORTS, MATCHING_ENGINE_MARKET_DATA]
    await create_topics(endpoints.kafka_url, topics, prefix=prefix)
    databases = TestDatabases(endpoints.postgres_url)
    try:
        url = await databases.make("matching-engine")
        async with Database(url, application_name="bench") as database:
            yield _Process(endpoints.kafka_url, prefix, url), database
    finally:
        await databases.drop_all()


async def _until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.0005)
