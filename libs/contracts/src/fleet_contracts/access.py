"""Who may do what at the broker, drawn from the topics: only the owner writes, only the named readers read."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from .topics import TOPICS, Reading, Topic

OBSERVERS = ("exchange-connector", "cli")
"""Who compares the ends of all topics with what was read: a replay's feed, and `fleet rest`."""


class Operation(StrEnum):
    """Kafka's words. Who may read, write or delete may also describe; DELETE is for records behind a snapshot."""

    READ = "READ"
    WRITE = "WRITE"
    DELETE = "DELETE"
    DESCRIBE = "DESCRIBE"


@dataclass(frozen=True, slots=True)
class Permission:
    """What one service may do with one topic, or with the consumer groups whose names begin with `group`."""

    service: str
    operation: Operation
    topic: str | None = None
    group: str | None = None


def permissions(topics: Sequence[Topic] = TOPICS) -> frozenset[Permission]:
    """All that anybody may do; what is not here is refused."""
    return frozenset(_permissions(topics))


def _permissions(topics: Sequence[Topic]) -> Iterator[Permission]:
    for topic in topics:
        yield Permission(topic.owner, Operation.WRITE, topic.name)
        for reader in topic.readers:
            yield Permission(reader.service, Operation.READ, topic.name)
            if reader.reading is Reading.WORK:
                yield Permission(reader.service, Operation.READ, group=f"{reader.service}.")
                if topic.is_journal:
                    yield Permission(reader.service, Operation.DELETE, topic.name)
        known = {topic.owner, *(reader.service for reader in topic.readers)}
        for service in OBSERVERS:
            if service not in known:
                yield Permission(service, Operation.DESCRIBE, topic.name)
