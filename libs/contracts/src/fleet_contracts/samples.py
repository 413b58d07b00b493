"""A deterministic sample of any message type, built from its own annotations."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from msgspec import inspect as shape

from .message import Message

_AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def sample(message_type: type[Message]) -> Message:
    """A message of this type with every field filled."""
    built = _value(shape.type_info(message_type), message_type.__name__)
    return msgspec.convert(built, message_type)


def _value(node: shape.Type, name: str) -> Any:
    """A JSON-like value that fits the type."""
    match node:
        case shape.StructType():
            fields: dict[str, Any] = {f.encode_name: _value(f.type, f.name) for f in node.fields}
            if node.tag_field is not None:
                fields[node.tag_field] = node.tag
            return fields
        case shape.UnionType():
            return _value(next(t for t in node.types if not isinstance(t, shape.NoneType)), name)
        case shape.EnumType():
            return next(iter(node.cls)).value
        case shape.VarTupleType():
            members = node.item_type.types if isinstance(node.item_type, shape.UnionType) else (node.item_type,)
            return [_value(member, name) for member in members]
        case shape.BoolType():
            return True
        case shape.IntType():
            return 7
        case shape.StrType():
            return f"a {name}"
        case shape.DecimalType():
            return Decimal("101.25")
        case shape.DateTimeType():
            return _AT
        case shape.UUIDType():
            return UUID(int=sum(name.encode()))
        case _:
            raise TypeError(f"no sample for the type of {name}, was {node!r}")
