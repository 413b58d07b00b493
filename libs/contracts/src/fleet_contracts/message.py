"""What every message has in common: a frozen struct, JSON on the wire, `Decimal` as string, times in UTC."""

from inspect import cleandoc
from typing import Any, ClassVar

import msgspec

from .encoding import encode_json


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a message. Readers ignore fields they do not know and refuse unknown enum members."""


class Message(Value, frozen=True, kw_only=True):
    """One kind of Kafka record. `owner` names the module that defines it; the pair is the record's `ce_type`."""

    owner: ClassVar[str]
    cut_along: ClassVar[tuple[str, ...]] = ()
    """Tuple fields along which a message too long for one record is cut; the parts mean together what it meant."""

    @classmethod
    def type_name(cls) -> str:
        """The CloudEvents type, for example `trading.SubmitOrder`."""
        return f"{cls.owner}.{cls.__name__}"


def encode(message: msgspec.Struct) -> bytes:
    """The JSON of a message, as it is sent."""
    return encode_json(message)


class MessageTooLong(Exception):
    """A message that does not fit a record and cannot be cut any further."""


def encode_cut(message: Message, most_bytes: int) -> list[bytes]:
    """The JSON of a message, in as many valid messages of its type as it takes to keep each within `most_bytes`.

    What is cut is in one of them only, in its order; all else is in each."""
    encoded = encode(message)
    if len(encoded) <= most_bytes:
        return [encoded]
    longest = max(message.cut_along, key=lambda name: len(encode_json(getattr(message, name))), default="")
    parts = getattr(message, longest) if longest else ()
    if len(parts) < 2:
        raise MessageTooLong(f"{message.type_name()} is {len(encoded)} bytes long and must not exceed {most_bytes}")
    half = len(parts) // 2
    emptied = dict.fromkeys(message.cut_along, ())
    first = msgspec.structs.replace(message, **{longest: parts[:half]})
    rest = msgspec.structs.replace(message, **(emptied | {longest: parts[half:]}))
    return encode_cut(first, most_bytes) + encode_cut(rest, most_bytes)


def schema(message_type: type[Message]) -> dict[str, Any]:
    """The JSON Schema (2020-12) of a message type, the same on every Python: from 3.13 on docstrings are not indented."""
    found: dict[str, Any] = unindented(msgspec.json.schema(message_type))
    return found


def unindented(part: Any) -> Any:
    """A schema, or a part of one, whose descriptions have no indentation from the source."""
    match part:
        case dict():
            return {
                name: cleandoc(value) if name == "description" and isinstance(value, str) else unindented(value)
                for name, value in part.items()
            }
        case list():
            return [unindented(one) for one in part]
    return part
