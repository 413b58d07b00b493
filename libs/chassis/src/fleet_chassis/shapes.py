"""Exact types of the API's edge: what a request body may hold, and how an answer is written."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Any

from fleet_contracts.encoding import encode_json, plain
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError
from starlette.responses import Response

_DECIMAL = re.compile(r"-?[0-9]{1,24}(?:\.[0-9]{1,18})?")
_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9._-]{0,23}/[A-Z0-9]{1,12}")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_INSTANT = re.compile(_DAY.pattern + "[Tt ].+")


def _parse_decimal(value: Any) -> Decimal:
    if isinstance(value, Decimal) and value.is_finite():
        return value
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return Decimal(value)
    raise PydanticCustomError("decimal_string", 'must be a decimal number in a string, such as "101.25"')


def _parse_symbol(value: Any) -> str:
    if isinstance(value, str):
        symbol = value.replace("%2F", "/").replace("%2f", "/")
        if "/" not in symbol:
            symbol = "/".join(symbol.rsplit("-", 1))
        if _SYMBOL.fullmatch(symbol):
            return symbol
    raise PydanticCustomError("symbol", "must be a symbol such as AAPL/USD")


_DECIMAL_SCHEMA = {"type": "string", "pattern": r"^-?\d{1,24}(\.\d{1,18})?$", "examples": ["101.25"]}
DecimalString = Annotated[
    Decimal,
    BeforeValidator(_parse_decimal),
    PlainSerializer(plain, return_type=str, when_used="json"),
    WithJsonSchema(_DECIMAL_SCHEMA),
]
"""A Decimal that is a string in JSON. Refused: numbers of JSON, exponents, NaN, Infinity."""

Level = Annotated[
    tuple[DecimalString, DecimalString],
    WithJsonSchema({"type": "array", "items": _DECIMAL_SCHEMA, "minItems": 2, "maxItems": 2}),
]
"""[price, quantity] in a book. Told as a list of two: of `prefixItems`, which a tuple is by itself, tools that read OpenAPI
make all sorts of things, and both members are alike."""

Symbol = Annotated[
    str,
    BeforeValidator(_parse_symbol),
    WithJsonSchema({"type": "string", "examples": ["AAPL/USD"]}),
]
"""A symbol as `BASE/QUOTE`; taken also with a dash (AAPL-USD) and with the slash encoded (AAPL%2FUSD)."""


def _written_out(value: Any) -> Any:
    """Pydantic takes numbers as well, for seconds since 1970: `start=5` would be a time."""
    if isinstance(value, datetime) or (isinstance(value, str) and _INSTANT.fullmatch(value)):
        return value
    raise PydanticCustomError("instant", "must be a time with its zone, such as 2026-01-05T14:30:00Z")


def _only_a_day(value: Any) -> Any:
    """Nor is a number a day, or an instant at midnight without a zone."""
    if isinstance(value, date) or (isinstance(value, str) and _DAY.fullmatch(value)):
        return value
    raise PydanticCustomError("day", "must be a day such as 2026-01-05")


def _only_text(value: Any) -> Any:
    """Pydantic takes numbers for addresses as well: `true` would be 0.0.0.1."""
    if isinstance(value, IPv4Network | IPv6Network | str):
        return value
    raise PydanticCustomError("network", "must be a network such as 203.0.113.0/24")


def _in_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise PydanticCustomError("instant", "must be a time that UTC has as well") from error


Instant = Annotated[AwareDatetime, AfterValidator(_in_utc), BeforeValidator(_written_out)]
"""A time with its zone, taken as UTC; at the ends of the calendar not every zone's time is one."""

Day = Annotated[date, BeforeValidator(_only_a_day)]
"""A day of the calendar, `2026-01-05`."""

Network = Annotated[IPv4Network | IPv6Network, BeforeValidator(_only_text)]
"""A network, `203.0.113.0/24`, or an address alone."""


class Body(BaseModel):
    """What a request sends. Unknown fields are an error; every price, quantity and amount is a DecimalString."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, str_max_length=65_536)


class Resource(BaseModel):
    """What an answer shows: aware UTC times end in Z; every price, quantity and amount is a DecimalString."""

    model_config = ConfigDict(frozen=True, from_attributes=True, allow_inf_nan=False)


class FastJSON(Response):
    """An answer encoded by `encode_json`, for hot routes: `return FastJSON(order, status_code=201)`."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return content if isinstance(content, bytes) else encode_json(content)
