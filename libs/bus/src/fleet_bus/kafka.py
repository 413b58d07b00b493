"""Kafka clients with every dangerous default set. The only module that makes them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.structs import TopicPartition
from fleet_contracts import Topic

from .received import Record, UnreadableRecord, parse

__all__ = ["AIOKafkaConsumer", "AIOKafkaProducer", "ConsumerRecord", "TopicPartition"]

_REQUEST_TIMEOUT_MS = 15_000
_STOP_TIMEOUT_S = 3.0


@contextlib.asynccontextmanager
async def producer(bootstrap: str, client_id: str) -> AsyncIterator[AIOKafkaProducer]:
    """An idempotent producer; after any exception from it, close it and take a new one."""
    client = AIOKafkaProducer(
        bootstrap_servers=bootstrap.split(","),
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        max_batch_size=262_144,
        max_request_size=1_048_576,
    )
    await client.start()
    try:
        yield client
    finally:
        # stop() flushes, and a broker that does not answer would hold it; the outbox still has what was not acknowledged.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(client.stop(), _STOP_TIMEOUT_S)


def consumer(
    bootstrap: str, client_id: str, *, group: str | None = None, member: str | None = None
) -> AIOKafkaConsumer:
    """A consumer that commits only what it is told to and reads from the earliest offset where it has none."""
    return AIOKafkaConsumer(
        bootstrap_servers=bootstrap.split(","),
        client_id=client_id,
        group_id=group,
        group_instance_id=member,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        session_timeout_ms=20_000,
        heartbeat_interval_ms=3_000,
        max_poll_interval_ms=600_000,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        retry_backoff_ms=100,
        max_partition_fetch_bytes=1_048_576,
    )


def read(found: ConsumerRecord, prefix: str) -> Record | UnreadableRecord:
    """The record under its topic's own name, or why it cannot be read."""
    try:
        return parse(
            found.topic.removeprefix(prefix),
            found.partition,
            found.offset,
            key=found.key,
            value=found.value,
            raw=found.headers,
        )
    except UnreadableRecord as error:
        return error


def partitions_of(topics: Iterable[Topic], prefix: str) -> list[TopicPartition]:
    """All partitions of the topics, as Kafka names them."""
    return [TopicPartition(prefix + topic.name, number) for topic in topics for number in range(topic.partitions)]
