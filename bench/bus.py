"""The bus beside the bare clients under it: the same records written, relayed and read with one row each.

The bare baseline reads the same topic with aiokafka and inserts the same rows with asyncpg, batch by batch, without
sequences, decoding into messages, or a place kept with the effect."""

import asyncio
import contextlib
import secrets
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import asyncpg
from counting_service import BUS_MIGRATIONS, EFFECTS, NUMBERS, Effects, ProcessSettings, Service, work
from fleet_bus.admin import create_topics
from fleet_bus.kafka import consumer, started
from fleet_chassis.database import Database
from fleet_launcher.stack import Endpoints
from fleet_testkit.databases import TestDatabases
from fleet_testkit.stack import test_stack

RECORDS = 20_000
KEYS = 200
RUNS = 3
_BATCH = 500
_INSERT = "INSERT INTO effects (key, number, sequence) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[])"


class BulkEffects(Effects):
    """The unit of work of a service on a hot path: one statement a batch."""

    async def flush(self) -> None:
        if self.rows:
            await self.tx.connection.execute(_INSERT, *(list(column) for column in zip(*self.rows, strict=True)))


def measure() -> dict[str, Any]:
    """Records per second and CPU microseconds of this process a record, medians of some runs; and their ratio."""
    runs = []
    with test_stack() as endpoints:
        for _ in range(RUNS):
            runs.append(asyncio.run(_measure_once(endpoints)))
    found: dict[str, Any] = {name: round(statistics.median(run[name] for run in runs), 1) for name in runs[0]}
    found["read_to_bare_cpu_ratio"] = round(found["read_cpu_us"] / found["bare_read_cpu_us"], 2)
    return found | {"records": RECORDS, "keys": KEYS, "runs": RUNS}


async def _measure_once(endpoints: Endpoints) -> dict[str, float]:
    prefix = f"bench-{secrets.token_hex(4)}."
    await create_topics(endpoints.kafka_url, [NUMBERS], prefix=prefix)
    databases = TestDatabases(endpoints.postgres_url)
    try:
        async with contextlib.AsyncExitStack() as stack:
            writer = await stack.enter_async_context(_service("writer", endpoints, prefix, databases))
            reader = await stack.enter_async_context(_service("reader", endpoints, prefix, databases))
            bare = await stack.enter_async_context(_service("bare", endpoints, prefix, databases))
            found = _figures("write", await _timed(_write(writer)))
            async with writer.running():
                found |= _figures("relay", await _timed(_relayed(writer)))
            found |= _figures("bare_read", await _timed(_read_bare(endpoints, prefix, bare.database)))
            reader.bus.add(replace(work(), unit_of_work=BulkEffects))
            found |= _figures("read", await _timed(_read(reader)))
            return found
    finally:
        await databases.drop_all()


@contextlib.asynccontextmanager
async def _service(name: str, endpoints: Endpoints, prefix: str, databases: TestDatabases) -> AsyncIterator[Service]:
    url = await databases.make([BUS_MIGRATIONS])
    async with Database(url, application_name=name) as database:
        async with database.connection() as connection:
            await connection.execute(EFFECTS)
        yield Service(ProcessSettings(name, endpoints.kafka_url, prefix), database)


async def _write(writer: Service) -> None:
    for start in range(0, RECORDS, _BATCH):
        await writer.send(*((f"k{n % KEYS}", n) for n in range(start, start + _BATCH)))


async def _relayed(writer: Service) -> None:
    async with writer.database.connection() as connection:
        while await connection.fetchval("SELECT EXISTS (SELECT FROM outbox)"):
            await asyncio.sleep(0.01)


async def _read(reader: Service) -> None:
    async with reader.running(), reader.database.connection() as connection:
        while await connection.fetchval("SELECT count(*) FROM effects") < RECORDS:
            await asyncio.sleep(0.02)


async def _read_bare(endpoints: Endpoints, prefix: str, database: Database) -> None:
    topic = prefix + NUMBERS.name
    client = consumer(endpoints.kafka_url, "bare", group=topic + "-bare")
    client.subscribe([topic])
    read = 0
    async with started(client):
        while read < RECORDS:
            polled = await client.getmany(timeout_ms=500, max_records=_BATCH)
            records = [record for found in polled.values() for record in found]
            async with database.transaction() as connection:
                await _insert(connection, [(r.key.decode(), len(r.value), r.offset) for r in records])
            await client.commit()
            read += len(records)


async def _insert(connection: asyncpg.Connection, rows: list[tuple[str, int, int]]) -> None:
    if rows:
        await connection.execute(_INSERT, *(list(column) for column in zip(*rows, strict=True)))


async def _timed(task: Any) -> tuple[float, float]:
    """Seconds of wall and of this process's CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    await task
    return time.perf_counter() - wall, time.process_time() - cpu


def _figures(name: str, seconds: tuple[float, float]) -> dict[str, float]:
    return {f"{name}_per_s": RECORDS / seconds[0], f"{name}_cpu_us": seconds[1] / RECORDS * 1e6}
