"""A small service to try the bus with: every message adds a row to `effects`, and may be answered with another."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import fleet_bus
from fleet_bus import Bus, Received, Transaction, Work
from fleet_bus.kafka import producer
from fleet_bus.received import Record, headers
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_contracts import Topic, encode
from fleet_contracts.core_engine import SignalAccepted
from fleet_contracts.partitioning import partition
from fleet_contracts.topics import CORE_ENGINE_SIGNAL_OUTCOMES

NUMBERS = replace(CORE_ENGINE_SIGNAL_OUTCOMES, name="numbers", partitions=2)
"""A gapless topic; the number travels in `signal_id`."""
PASSED_ON = replace(NUMBERS, name="passed-on")

BUS_MIGRATIONS = Path(fleet_bus.__file__).parent / "migrations"
EFFECTS = """
CREATE TABLE effects (id bigint GENERATED ALWAYS AS IDENTITY, key text, number bigint, sequence bigint);
"""
NOBODY = UUID(int=0)


def number(value: int) -> SignalAccepted:
    return SignalAccepted(signal_id=UUID(int=value), deployment_id=NOBODY, account_id=NOBODY, user_id=NOBODY)


@dataclass(frozen=True)
class ProcessSettings:
    service: str
    kafka_url: str
    topic_prefix: str
    ordinal: int = 0
    feed: str = "simulated"


class Effects:
    """The unit of work: collects rows and writes them at the end."""

    def __init__(self, tx: Transaction) -> None:
        self.tx = tx
        self.rows: list[tuple[str, int, int]] = []

    async def lock(self, ids: Sequence[str]) -> None:
        assert list(ids) == sorted(ids)

    async def flush(self) -> None:
        await self.tx.connection.executemany(
            "INSERT INTO effects (key, number, sequence) VALUES ($1, $2, $3)", self.rows
        )


async def record(uow: Effects, received: Received[SignalAccepted]) -> None:
    uow.rows.append((received.key, received.message.signal_id.int, received.sequence))


def work(
    handler: Callable[[Any, Any], Awaitable[None]] = record, *, topic: Topic = NUMBERS, name: str = "numbers"
) -> Work:
    return Work(
        name=name,
        topics=(topic,),
        unit_of_work=Effects,
        handlers={SignalAccepted: handler},
        touches=lambda message: [str(message.account_id)],
    )


class Service:
    """One process's worth of bus over a database of its own."""

    def __init__(self, settings: ProcessSettings, database: Database) -> None:
        self.settings = settings
        self.database = database
        self.bus = Bus(settings, database)

    async def send(self, *numbers: tuple[str, int], topic: Topic = NUMBERS) -> None:
        async with self.bus.transaction() as tx:
            for key, value in numbers:
                tx.publish(topic, key, number(value))

    async def effects(self, key: str | None = None) -> list[int]:
        async with self.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT number FROM effects WHERE $1::text IS NULL OR key = $1 ORDER BY id", key
            )
        return [row["number"] for row in rows]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Service"]:
        async with self.bus.running(Health()):
            yield self


@contextlib.asynccontextmanager
async def producing(service: Service) -> AsyncIterator[Callable[..., Coroutine[Any, Any, None]]]:
    """`await produce((key, number, epoch, sequence), …)`: sends as a writer's relay would, in this order."""
    async with producer(service.settings.kafka_url, "test") as client:

        async def produce(*records: tuple[str, int, int, int]) -> None:
            for key, value, epoch, sequence in records:
                message = number(value)
                sent = Record(
                    topic=NUMBERS.name,
                    partition=partition(key, NUMBERS.partitions),
                    offset=-1,
                    key=key,
                    writer="writer",
                    type=message.type_name(),
                    event_id=uuid4(),
                    epoch=epoch,
                    sequence=sequence,
                    occurred_at=datetime.now(UTC),
                    market_at=None,
                    traceparent=None,
                    payload=encode(message),
                )
                await client.send_and_wait(
                    service.settings.topic_prefix + sent.topic,
                    value=sent.payload,
                    key=key.encode(),
                    partition=sent.partition,
                    headers=headers(sent),
                )

        yield produce
