"""Market data without an outbox: produced directly by the one process that holds the feed's lock."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from fleet_chassis.clock import Clock
from fleet_chassis.ids import new_id
from fleet_contracts import Message, Topic, encode
from fleet_contracts.partitioning import partition

from .kafka import AIOKafkaProducer, producer
from .received import Record, headers
from .settings import BusSettings


class DirectProducer:
    """Sends at once, numbered per key from 1 in memory under the `epoch` that its holder took with the lock."""

    def __init__(self, settings: BusSettings, clock: Clock, topic: Topic, epoch: int, client: AIOKafkaProducer) -> None:
        self._settings = settings
        self._clock = clock
        self._topic = topic
        self._epoch = epoch
        self._client = client
        self._sequences: dict[str, int] = {}

    async def send(self, messages: Sequence[tuple[str, Message]], *, market_at: datetime) -> None:
        """Sends (key, message) in order and returns when all are acknowledged.

        Raises TimeoutError or a Kafka error: then what was sent is unknown, and a gap in the sequence is normal."""
        now = self._clock.now()
        async with asyncio.timeout(self._settings.send_deadline_s):
            futures = []
            for key, message in messages:
                number = self._sequences[key] = self._sequences.get(key, 0) + 1
                record = Record(
                    topic=self._topic.name,
                    partition=partition(key, self._topic.partitions),
                    offset=-1,
                    key=key,
                    writer=self._settings.service,
                    type=message.type_name(),
                    event_id=new_id(),
                    epoch=self._epoch,
                    sequence=number,
                    occurred_at=now,
                    market_at=market_at,
                    traceparent=None,
                    payload=encode(message),
                )
                futures.append(
                    await self._client.send(
                        self._settings.topic_prefix + record.topic,
                        value=record.payload,
                        key=key.encode(),
                        partition=record.partition,
                        headers=headers(record),
                    )
                )
            await asyncio.gather(*futures)


@contextlib.asynccontextmanager
async def open_direct(settings: BusSettings, clock: Clock, topic: Topic, epoch: int) -> AsyncIterator[DirectProducer]:
    """A producer for a topic whose gaps are normal."""
    if not topic.direct:
        raise TypeError(f"{topic.name} goes through the outbox")
    async with producer(settings.kafka_url, f"{settings.service}-{settings.ordinal}-direct") as client:
        yield DirectProducer(settings, clock, topic, epoch, client)
