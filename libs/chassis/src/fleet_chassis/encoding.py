"""JSON by msgspec, with decimals as people write them."""

import re
from decimal import Decimal
from typing import Any

import msgspec

_EXPONENT = re.compile(rb'"-?\d+(?:\.\d+)?E[+-]\d+"')
_encode = msgspec.json.Encoder().encode


def plain(value: Decimal) -> str:
    """The number without an exponent: "0.00000001", not "1E-8"."""
    return format(value, "f")


def encode_json(content: Any) -> bytes:
    """JSON of anything msgspec knows (Structs, dataclasses, dicts …), about ten times as fast as a pydantic model.

    Decimals are strings without exponent, aware UTC times end in Z; `msgspec.Raw` passes JSON that is encoded already.
    """
    body = _encode(content)
    if _EXPONENT.search(body):
        # str(Decimal) turns to exponents below 0.000001; rare, so that it is mended rather than prevented.
        builtins = msgspec.to_builtins(content, builtin_types=(Decimal,), enc_hook=_open_raw)
        body = _encode(_without_exponents(builtins))
    return body


def _open_raw(value: Any) -> Any:
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    raise NotImplementedError(f"JSON has no form for {type(value).__name__}")


def _without_exponents(value: Any) -> Any:
    if isinstance(value, Decimal):
        return plain(value)
    if isinstance(value, dict):
        return {key: _without_exponents(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_exponents(item) for item in value]
    return value
