"""The bare baseline of an order's way to its fill: five hops of commit, relay, Kafka, commit, and nothing else.

Each hop is a process of its own: it reads a record, writes one row and one outbox row in one transaction, commits,
reads the outbox, sends, deletes. No sequences, no decisions, no HTTP."""

import asyncio
import contextlib
import multiprocessing
import secrets
import time
from collections.abc import Iterator

import asyncpg
import uvloop
from fleet_bus.admin import create_topics
from fleet_bus.kafka import TopicPartition, consumer, producer
from fleet_contracts.topics import Topic

HOPS = 5
_SCHEMA = """
CREATE TABLE state (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload bytea NOT NULL);
CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload bytea NOT NULL);
"""


def _topic(prefix: str, hop: int) -> Topic:
    return Topic(f"{prefix}hop-{hop}", "bench", "none", (), (), partitions=1)


async def _relay(url: str, bootstrap: str, topic: str, wake: asyncio.Event) -> None:
    connection = await asyncpg.connect(url)
    async with producer(bootstrap, f"{topic}-relay") as client:
        while True:
            await wake.wait()
            wake.clear()
            rows = await connection.fetch("SELECT id, payload FROM outbox ORDER BY id LIMIT 500")
            sends = [await client.send(topic, value=row["payload"], partition=0) for row in rows]
            await asyncio.gather(*sends)
            await connection.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", [row["id"] for row in rows])


async def _hop(url: str, bootstrap: str, prefix: str, hop: int) -> None:
    connection = await asyncpg.connect(url)
    wake = asyncio.Event()
    relay = asyncio.create_task(_relay(url, bootstrap, _topic(prefix, hop + 1).name, wake))
    source = _topic(prefix, hop).name
    client = consumer(bootstrap, source, group=source)
    client.subscribe([source])
    await client.start()
    try:
        while not relay.done():
            polled = await client.getmany(timeout_ms=500)
            payloads = [record.value for records in polled.values() for record in records]
            if payloads:
                async with connection.transaction():
                    await connection.execute("INSERT INTO state (payload) SELECT unnest($1::bytea[])", payloads)
                    await connection.execute("INSERT INTO outbox (payload) SELECT unnest($1::bytea[])", payloads)
                wake.set()
    finally:
        await client.stop()


def _run_hop(url: str, bootstrap: str, prefix: str, hop: int) -> None:
    uvloop.run(_hop(url, bootstrap, prefix, hop))


@contextlib.contextmanager
def _processes(urls: list[str], bootstrap: str, prefix: str) -> Iterator[None]:
    context = multiprocessing.get_context("spawn")
    running = [
        context.Process(target=_run_hop, args=(url, bootstrap, prefix, hop), daemon=True)
        for hop, url in enumerate(urls)
    ]
    for process in running:
        process.start()
    try:
        yield
    finally:
        for process in running:
            process.terminate()
            process.join()


async def _drive(bootstrap: str, prefix: str, *, rate: float, count: int) -> list[float]:
    """Milliseconds from the send of each record to its arrival after the last hop."""
    sink = _topic(prefix, HOPS).name
    client = consumer(bootstrap, sink)
    client.assign([TopicPartition(sink, 0)])
    await client.start()
    found: list[float] = []

    async def collect() -> None:
        while len(found) < count:
            polled = await client.getmany(timeout_ms=500)
            now = time.perf_counter_ns()
            found.extend((now - int(r.value)) / 1e6 for records in polled.values() for r in records)

    async with producer(bootstrap, "bench-source") as source:
        for _ in range(5):  # until every hop has its partition
            await source.send_and_wait(_topic(prefix, 0).name, value=str(time.perf_counter_ns()).encode(), partition=0)
        async with asyncio.timeout(60):
            while len(found) < 5:
                polled = await client.getmany(timeout_ms=500)
                found.extend(0.0 for records in polled.values() for _ in records)
        found.clear()
        collecting = asyncio.create_task(collect())
        begun = time.perf_counter()
        for n in range(count):
            if (wait := begun + n / rate - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            await source.send(_topic(prefix, 0).name, value=str(time.perf_counter_ns()).encode(), partition=0)
        async with asyncio.timeout(60):
            await collecting
    await client.stop()
    return found


async def measure(bootstrap: str, superuser_url: str, *, rate: float, seconds: float) -> list[float]:
    """Milliseconds of every record through five bare hops at this rate."""
    name = f"bench-{secrets.token_hex(4)}"
    prefix = f"{name}."
    await create_topics(bootstrap, [_topic(prefix, hop) for hop in range(HOPS + 1)])
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
        with _processes(urls, bootstrap, prefix):
            return await _drive(bootstrap, prefix, rate=rate, count=int(rate * seconds))
    finally:
        for hop in range(len(urls)):
            await server.execute(f'DROP DATABASE IF EXISTS "{name}-{hop}" WITH (FORCE)')
        await server.close()
