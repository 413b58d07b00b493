"""A record as it came from Kafka, before and after its message was decoded; CloudEvents binary mode in the headers."""

from datetime import datetime
from functools import cache
from typing import Generic, TypeVar
from uuid import UUID

import msgspec
from fleet_chassis.ids import id_text, parse_id
from fleet_contracts import MESSAGE_TYPES, Message

TOMBSTONE = "tombstone"
"""The type of a record that takes its key out of a compacted topic."""

M_co = TypeVar("M_co", bound=Message, covariant=True)


class Record(msgspec.Struct, frozen=True):
    """What the bus needs of a record to place it: where it stood, who wrote it, its number in its key."""

    topic: str
    partition: int
    offset: int
    key: str
    writer: str
    type: str
    event_id: UUID
    epoch: int
    sequence: int
    occurred_at: datetime
    market_at: datetime | None
    traceparent: str | None
    payload: bytes | None

    @property
    def place(self) -> tuple[str, str, str]:
        """Whose sequence it belongs to: (writer, topic, key)."""
        return (self.writer, self.topic, self.key)

    @property
    def number(self) -> tuple[int, int]:
        return (self.epoch, self.sequence)


class Received(msgspec.Struct, Generic[M_co], frozen=True):
    """A decoded message with what its record says about it. `sequence` counts per (writer, topic, key)."""

    message: M_co
    topic: str
    key: str
    partition: int
    offset: int
    writer: str
    epoch: int
    sequence: int
    event_id: UUID
    occurred_at: datetime
    market_at: datetime | None
    traceparent: str | None


class UnreadableRecord(Exception):
    """A record that is not of our making: a header missing, a type unknown, a payload that does not fit its type."""


@cache
def _decoder(type_name: str) -> msgspec.json.Decoder[Message]:
    message_type = MESSAGE_TYPES.get(type_name)
    if message_type is None:
        raise UnreadableRecord(f"message type is unknown, was {type_name!r}")
    return msgspec.json.Decoder(message_type)


def decode(record: Record) -> Received[Message]:
    """The message in a record. Raises UnreadableRecord."""
    if record.payload is None:
        raise UnreadableRecord("a tombstone has no message")
    try:
        message = _decoder(record.type).decode(record.payload)
    except msgspec.MsgspecError as error:
        raise UnreadableRecord(f"{record.type}: {error}") from error
    return Received(
        message=message,
        topic=record.topic,
        key=record.key,
        partition=record.partition,
        offset=record.offset,
        writer=record.writer,
        epoch=record.epoch,
        sequence=record.sequence,
        event_id=record.event_id,
        occurred_at=record.occurred_at,
        market_at=record.market_at,
        traceparent=record.traceparent,
    )


def headers(record: Record) -> list[tuple[str, bytes]]:
    """The Kafka headers of a record about to be sent."""
    found = [
        ("ce_specversion", b"1.0"),
        ("ce_id", id_text(record.event_id).encode()),
        ("ce_type", record.type.encode()),
        ("ce_source", record.writer.encode()),
        ("ce_time", record.occurred_at.isoformat().encode()),
        ("epoch", str(record.epoch).encode()),
        ("sequence", str(record.sequence).encode()),
        ("content-type", b"application/json"),
    ]
    if record.market_at is not None:
        found.append(("ce_marketat", record.market_at.isoformat().encode()))
    if record.traceparent is not None:
        found.append(("traceparent", record.traceparent.encode()))
    return found


def parse(topic: str, partition: int, offset: int, *, key: bytes | None, value: bytes | None, raw: object) -> Record:
    """A record from what the Kafka client gives. Raises UnreadableRecord."""
    try:
        found = {name: text.decode() for name, text in raw}  # type: ignore[attr-defined]
        market_at = found.get("ce_marketat")
        return Record(
            topic=topic,
            partition=partition,
            offset=offset,
            key=(key or b"").decode(),
            writer=found["ce_source"],
            type=found["ce_type"],
            event_id=parse_id(found["ce_id"]),
            epoch=int(found["epoch"]),
            sequence=int(found["sequence"]),
            occurred_at=datetime.fromisoformat(found["ce_time"]),
            market_at=None if market_at is None else datetime.fromisoformat(market_at),
            traceparent=found.get("traceparent"),
            payload=value,
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise UnreadableRecord(f"{topic}[{partition}]@{offset}: {error!r}") from error
