"""What every message has in common: a frozen struct, JSON on the wire, `Decimal` as string, times in UTC."""

from typing import Any, ClassVar

import msgspec


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a message. Readers ignore fields they do not know and refuse unknown enum members."""


class Message(Value, frozen=True, kw_only=True):
    """One kind of Kafka record. `owner` names the module that defines it; the pair is the record's `ce_type`."""

    owner: ClassVar[str]

    @classmethod
    def type_name(cls) -> str:
        """The CloudEvents type, for example `trading.SubmitOrder`."""
        return f"{cls.owner}.{cls.__name__}"


_encoder = msgspec.json.Encoder(decimal_format="string", uuid_format="canonical")


def encode(message: msgspec.Struct) -> bytes:
    """The JSON of a message, as it is sent."""
    return _encoder.encode(message)


def schema(message_type: type[Message]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a message type."""
    return msgspec.json.schema(message_type)
