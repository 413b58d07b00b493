"""JSON by msgspec, with decimals as people write them: on the wire, in the API, on sockets and in jsonb."""

import re
from decimal import Decimal
from typing import Any

import msgspec

# Where a decimal's exponent may be. Exact enough: what is found is judged by its type.
_EXPONENT = re.compile(rb'E[+-]\d+"')
_encode = msgspec.json.Encoder().encode


def plain(value: Decimal) -> str:
    """The number without an exponent: "0.00000001", not "1E-8"."""
    return format(value, "f")


def encode_json(content: Any) -> bytes:
    """JSON of anything msgspec knows (Structs, dataclasses, dicts …), about ten times as fast as a pydantic model.

    Decimals are strings without exponent, aware UTC times end in Z; `msgspec.Raw` passes JSON that is encoded already.
    """
    body = _encode(content)
    # The letter alone is looked for first: that costs next to nothing, and most content has none.
    if b"E" in body and _EXPONENT.search(body):
        # msgspec writes str(Decimal), which turns to exponents below 0.000001 and for 0.00000000, and can be told
        # nothing else; rare, so that it is mended rather than prevented.
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
