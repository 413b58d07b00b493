"""The bare baseline of an order's way to its fill: five hops of commit, relay, Kafka, commit, and nothing else.

Each hop is a process of its own: it reads a record, writes one row and one outbox row in one transaction, commits,
reads the outbox, sends, deletes. No sequences, no decisions, no HTTP."""

import asyncio
import contextlib
import multiprocessing
import secrets
import time
from collections.abc import Iterator
from typing import Any

import asyncpg
import uvloop
from fleet_bus.admin import create_topics
from fleet_bus.kafka import TopicPartition, consumer, producer, started
from fleet_contracts.topics import Topic

from bench.cpu import Cpu, stores_of, us_each
from bench.orders import percentile

HOPS = 5
_SCHEMA = """
CREATE TABLE state (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload bytea NOT NULL);
CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload bytea NOT NULL);
"""


def _topic(prefix: str, hop: int) -> Topic:
    return Topic(f"{prefix}hop-{hop}", "bench", "none", (), (), partitions=1)


async def _relay(url: str, kafka_url: str, topic: str, wake: asyncio.Event) -> None:
    connection = await asyncpg.connect(url)
    async with producer(kafka_url, f"{topic}-relay") as client:
        while True:
            await wake.wait()
            wake.clear()
            rows = await connection.fetch("SELECT id, payload FROM outbox ORDER BY id LIMIT 500")
            sends = [await client.send(topic, value=row["payload"], partition=0) for row in rows]
            await asyncio.gather(*sends)
            await connection.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", [row["id"] for row in rows])


async def _hop(url: str, kafka_url: str, prefix: str, hop: int) -> None:
    connection = await asyncpg.connect(url)
    wake = asyncio.Event()
    relay = asyncio.create_task(_relay(url, kafka_url, _topic(prefix, hop + 1).name, wake))
    source = _topic(prefix, hop).name
    client = consumer(kafka_url, source, group=source)
    client.subscribe([source])
    async with started(client):
        while not relay.done():
            polled = await client.getmany(timeout_ms=500)
            payloads = [record.value for records in polled.values() for record in records]
            if payloads:
                async with connection.transaction():
                    await connection.execute("INSERT INTO state (payload) SELECT unnest($1::bytea[])", payloads)
                    await connection.execute("INSERT INTO outbox (payload) SELECT unnest($1::bytea[])", payloads)
                wake.set()


def _run_hop(url: str, kafka_url: str, prefix: str, hop: int) -> None:
    uvloop.run(_hop(url, kafka_url, prefix, hop))


@contextlib.contextmanager
def _processes(urls: list[str], kafka_url: str, prefix: str) -> Iterator[dict[str, int]]:
    context = multiprocessing.get_context("spawn")
    running = [
        context.Process(target=_run_hop, args=(url, kafka_url, prefix, hop), daemon=True)
        for hop, url in enumerate(urls)
    ]
    for process in running:
        process.start()
    try:
        yield {f"hop-{hop}": process.pid for hop, process in enumerate(running) if process.pid is not None}
    finally:
        for process in running:
            process.terminate()
            process.join()


class _Line:
    """The first topic and the last, held by whoever sends and awaits."""

    def __init__(self, kafka_url: str, prefix: str) -> None:
        self._source = _topic(prefix, 0).name
        self._sink = _topic(prefix, HOPS).name
        self._producer = producer(kafka_url, "bench-source")
        self._consumer = consumer(kafka_url, self._sink)
        self._started = started(self._consumer)

    async def __aenter__(self) -> "_Line":
        self._client = await self._producer.__aenter__()
        self._consumer.assign([TopicPartition(self._sink, 0)])
        await self._started.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._started.__aexit__(*raised)
        await self._producer.__aexit__(*raised)

    async def send(self) -> None:
        await self._client.send(self._source, value=str(time.perf_counter_ns()).encode(), partition=0)

    async def arrived(self, count: int) -> list[float]:
        """Milliseconds from the send of each record to its arrival after the last hop."""
        found: list[float] = []
        async with asyncio.timeout(60):
            while len(found) < count:
                polled = await self._consumer.getmany(timeout_ms=500)
                now = time.perf_counter_ns()
                found.extend((now - int(r.value)) / 1e6 for records in polled.values() for r in records)
        return found

    async def paced(self, *, rate: float, count: int) -> list[float]:
        arriving = asyncio.create_task(self.arrived(count))
        begun = time.perf_counter()
        for n in range(count):
            if (wait := begun + n / rate - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            await self.send()
        return await arriving

    async def in_batches(self, *, size: int, count: int) -> None:
        """The next batch when the one before has come through."""
        for _ in range(count // size):
            for _ in range(size):
                await self.send()
            await self.arrived(size)


async def measure(description: dict[str, Any], *, rate: float, seconds: float) -> dict[str, Any]:
    """Records through five bare hops at this rate, then in batches of 100: milliseconds, and microseconds of CPU each."""
    kafka_url, superuser_url = description["kafka"]["url"], description["postgres"]["url"]
    name = f"bench-{secrets.token_hex(4)}"
    prefix = f"{name}."
    await create_topics(kafka_url, [_topic(prefix, hop) for hop in range(HOPS + 1)])
    server = await asyncpg.connect(superuser_url)
    urls: list[str] = []
    try:
        for hop in range(HOPS):
            await server.execute(f'CREATE DATABASE "{name}-{hop}"')
            url = superuser_url.rpartition("/")[0] + f"/{name}-{hop}"
            connection = await asyncpg.connect(url)
            await connection.execute(_SCHEMA)
            await connection.close()
            urls.append(url)
        with _processes(urls, kafka_url, prefix) as hops:
            pids = stores_of(description) | hops
            async with _Line(kafka_url, prefix) as line:
                for _ in range(5):  # until every hop has its partition
                    await line.send()
                await line.arrived(5)
                paced, batches = int(rate * seconds), 20_000
                cpu = Cpu(pids)
                found = await line.paced(rate=rate, count=paced)
                alone, cpu = us_each(cpu.used(), paced), Cpu(pids)
                await line.in_batches(size=100, count=batches)
                together = us_each(cpu.used(), batches)
        return {
            "p50_ms": percentile(found, 50),
            "p95_ms": percentile(found, 95),
            "cpu_us_each": alone,
            "cpu_us_each_total": sum(alone.values()),
            "in_batches_of_100_cpu_us_each": together,
            "in_batches_of_100_cpu_us_each_total": sum(together.values()),
        }
    finally:
        for hop in range(len(urls)):
            await server.execute(f'DROP DATABASE IF EXISTS "{name}-{hop}" WITH (FORCE)')
        await server.close()
