"""Creates the topics of the contracts, explicitly and with every setting that matters."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping, Sequence

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.errors import (
    InvalidReplicationFactorError,
    NoError,
    NotControllerError,
    RequestTimedOutError,
    TopicAlreadyExistsError,
    for_code,
)
from fleet_contracts import Topic

from .address import KafkaAddress
from .kafka import take_over_log

_FOR_EVER = -1
_RETRY_S = 0.25
_THERE = (NoError.errno, TopicAlreadyExistsError.errno)  # another may have been faster
# A broker that starts, or stood still for a while, is fenced off: there is none to hold a replica, for a moment.
_TRANSIENT = (InvalidReplicationFactorError.errno, RequestTimedOutError.errno, NotControllerError.errno)


def configuration(topic: Topic, replication: int) -> dict[str, str]:
    """The topic's settings at the broker."""
    retention_ms = _FOR_EVER if topic.retention is None else int(topic.retention.total_seconds() * 1000)
    settings = {
        "cleanup.policy": "compact" if topic.compacted else "delete",
        "retention.ms": str(retention_ms),
        "unclean.leader.election.enable": "false",
        "min.insync.replicas": "2" if replication >= 3 else "1",
        "max.message.bytes": "1048576",
    }
    if topic.compacted:
        settings |= {"min.cleanable.dirty.ratio": "0.5", "segment.ms": str(24 * 3600 * 1000)}
    return settings


@contextlib.asynccontextmanager
async def admin_client(kafka_url: str) -> AsyncIterator[AIOKafkaAdminClient]:
    """aiokafka's administrator, for one errand."""
    take_over_log()
    admin = AIOKafkaAdminClient(**KafkaAddress.parse(kafka_url).for_aiokafka())
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def create_topics(
    kafka_url: str, topics: Sequence[Topic], *, brokers: int = 1, prefix: str = "", timeout_s: float = 30.0
) -> list[str]:
    """Creates what is missing and answers its names. Replication is 3 where there are brokers for it.

    Raises a KafkaError if a topic cannot be created, or could not for `timeout_s`."""
    replication = min(brokers, 3)
    async with admin_client(kafka_url) as admin:
        there = set(await admin.list_topics())
        missing = [topic for topic in topics if prefix + topic.name not in there]
        wanted = {
            prefix + topic.name: NewTopic(
                prefix + topic.name, topic.partitions, replication, topic_configs=configuration(topic, replication)
            )
            for topic in missing
        }
        deadline = time.monotonic() + timeout_s
        while wanted:
            answer = await admin.create_topics(list(wanted.values()))
            codes: dict[str, int] = {name: code for name, code, *_ in answer.topic_errors}
            wanted = {name: new for name, new in wanted.items() if codes[name] not in _THERE}
            for name in wanted:
                if codes[name] not in _TRANSIENT or time.monotonic() > deadline:
                    raise for_code(codes[name])(f"topic {name} was not created")
            if wanted:
                await asyncio.sleep(_RETRY_S)
        return [topic.name for topic in missing]


async def delete_topics(kafka_url: str, topics: Sequence[Topic], *, prefix: str = "") -> None:
    """Deletes what is there of them, with all records: `fleet reset` on a broker that is not its own."""
    async with admin_client(kafka_url) as admin:
        there = set(await admin.list_topics())
        await admin.delete_topics([name for topic in topics if (name := prefix + topic.name) in there])


async def delete_records(kafka_url: str, before: Mapping[TopicPartition, int]) -> None:
    """Deletes what lies before these offsets: of a journal, behind the snapshots that stand in for it."""
    async with admin_client(kafka_url) as admin:
        await admin.delete_records({place: RecordsToDelete(offset) for place, offset in before.items()})
