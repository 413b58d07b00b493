"""Does the broker really work? It answers on its port well before its coordinators do."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError

from .address import KafkaAddress

PROBE_TOPIC = "fleet.probe"


async def broker_answers(kafka_url: str, *, timeout_s: float) -> bool:
    """Make the probe topic, write a message, read it back as a member of a group and commit. False: not yet."""
    # The client logs every refused connection; here that is the expected answer of a broker that still starts.
    quiet = logging.getLogger("aiokafka")
    level = quiet.level
    quiet.setLevel(logging.CRITICAL)
    try:
        async with asyncio.timeout(timeout_s):
            await _round_trip(kafka_url)
    except (KafkaError, TimeoutError, OSError, AttributeError):
        # AttributeError is how aiokafka's admin client says that no controller is elected yet.
        return False
    else:
        return True
    finally:
        quiet.setLevel(level)


async def _round_trip(kafka_url: str) -> None:
    address = KafkaAddress.parse(kafka_url).for_aiokafka()
    admin = AIOKafkaAdminClient(**address)
    try:
        await admin.start()
        topic = NewTopic(PROBE_TOPIC, num_partitions=1, replication_factor=1, topic_configs={"retention.ms": "60000"})
        with suppress(TopicAlreadyExistsError):
            await admin.create_topics([topic])
    finally:
        await admin.close()
    producer = AIOKafkaProducer(**address, acks="all", enable_idempotence=True)
    try:
        await producer.start()
        sent = await producer.send_and_wait(PROBE_TOPIC, b"probe")
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer(**address, group_id=PROBE_TOPIC, enable_auto_commit=False)
    try:
        await consumer.start()
        partition = TopicPartition(PROBE_TOPIC, 0)
        consumer.assign([partition])
        consumer.seek(partition, sent.offset)
        message = await consumer.getone(partition)
        await consumer.commit({partition: message.offset + 1})
    finally:
        await consumer.stop()
