"""Creates the topics of the contracts, explicitly and with every setting that matters."""

from collections.abc import Sequence

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import NoError, TopicAlreadyExistsError, for_code
from fleet_contracts import Topic

_FOR_EVER = -1


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


async def create_topics(bootstrap: str, topics: Sequence[Topic], *, brokers: int = 1, prefix: str = "") -> list[str]:
    """Creates what is missing and answers its names. Replication is 3 where there are brokers for it."""
    replication = min(brokers, 3)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    await admin.start()
    try:
        there = set(await admin.list_topics())
        missing = [topic for topic in topics if prefix + topic.name not in there]
        if missing:
            answer = await admin.create_topics(
                [
                    NewTopic(
                        prefix + topic.name,
                        topic.partitions,
                        replication,
                        topic_configs=configuration(topic, replication),
                    )
                    for topic in missing
                ]
            )
            for name, code, *_ in answer.topic_errors:
                if code not in (NoError.errno, TopicAlreadyExistsError.errno):  # another may have been faster
                    raise for_code(code)(f"topic {name} was not created")
        return [topic.name for topic in missing]
    finally:
        await admin.close()


async def delete_topics(bootstrap: str, topics: Sequence[Topic], *, prefix: str = "") -> None:
    """Deletes what is there of them, with all records: `fleet reset` on a broker that is not its own."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    await admin.start()
    try:
        there = set(await admin.list_topics())
        await admin.delete_topics([name for topic in topics if (name := prefix + topic.name) in there])
    finally:
        await admin.close()
