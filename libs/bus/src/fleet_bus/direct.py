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
    """Sends at once, numbered per key from 1 in memory under the `epoch` that its holder took with the lock.

    After a failure it is done with: numbers that were given may or may not have arrived, so its holder takes a new one."""

    def __init__(self, settings: BusSettings, clock: Clock, topic: Topic, epoch: int, client: AIOKafkaProducer) -> None:
        self._settings = settings
        self._clock = clock
        self._topic = topic
        self._epoch = epoch
        self._client = client
        self._sequences: dict[str, int] = {}
        self._has_failed = False

    async def send(self, messages: Sequence[tuple[str, Message]], *, market_at: datetime) -> None:
        """Sends (key, message) in order and returns when all are acknowledged.

        Raises TimeoutError or a Kafka error: then what was sent is unknown, and a gap in the sequence is normal."""
        if self._has_failed:
            raise RuntimeError("this producer has failed before; take a new one")
        now = self._clock.now()
        try:
            async with asyncio.timeout(self._settings.send_deadline_s):
                futures = [await self._hand_over(key, message, now, market_at) for key, message in messages]
                await asyncio.gather(*futures)
        except BaseException:
            self._has_failed = True
            raise

    async def _hand_over(
        self, key: str, message: Message, now: datetime, market_at: datetime
    ) -> asyncio.Future[object]:
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
        future: asyncio.Future[object] = await self._client.send(
            self._settings.topic_prefix + record.topic,
            value=record.payload,
            key=key.encode(),
            partition=record.partition,
            headers=headers(record),
        )
        return future


@contextlib.asynccontextmanager
async def open_direct(settings: BusSettings, clock: Clock, topic: Topic, epoch: int) -> AsyncIterator[DirectProducer]:
    """A producer for a topic whose gaps are normal."""
    if not topic.direct:
        raise TypeError(f"{topic.name} goes through the outbox")
    async with producer(settings.kafka_url, f"{settings.service}-{settings.ordinal}-direct") as client:
        yield DirectProducer(settings, clock, topic, epoch, client)
