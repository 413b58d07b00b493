"""The order body: parsed by hand-picked exact types, since every microsecond here is paid per order."""

import re
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec
from fleet_chassis.problems import FieldError, Problem
from fleet_chassis.shapes import Symbol
from fleet_simulator import OrderType, Side, TimeInForce
from pydantic import TypeAdapter, ValidationError

from fleet_trading.domain import Twap

MOST_ORDERS = 500
LONGEST_ALGO_S = 86_400
MOST_SLICES = 1_000

_DECIMAL = re.compile(r"-?\d{1,24}(?:\.\d{1,18})?")
CLIENT_ORDER_ID = r"^[\x21-\x7e]{1,64}$"
_CLIENT_ORDER_ID = re.compile(CLIENT_ORDER_ID)
_VENUE = re.compile(r"[a-z][a-z0-9-]{0,31}")
_PATH = re.compile(r"^(?P<what>.*?)(?: - at `(?P<path>[^`]*)`)?$", re.DOTALL)
_UNKNOWN_FIELD = re.compile(r"unknown field `([^`]*)`")
_symbol = TypeAdapter(Symbol)

Number = str | int


class OrderBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """API.md's order. Decimals are strings, integers are taken too. What is not built yet answers `unsupported`."""

    symbol: str
    side: Literal["buy", "sell"]
    type: Literal["market", "limit", "stop", "stop_limit", "trailing_stop", "market_if_touched", "limit_if_touched"]
    quantity: Number | None = None
    notional: Number | None = None
    limit_price: Number | None = None
    stop_price: Number | None = None
    trail_amount: Number | None = None
    trail_percent: Number | None = None
    display_quantity: Number | None = None
    time_in_force: Literal["gtc", "ioc", "fok", "gtd", "day", "at_open", "at_close"] = "gtc"
    expires_at: str | None = None
    post_only: bool = False
    reduce_only: bool = False
    client_order_id: str | None = None
    account_id: UUID | None = None
    venue: str | None = None
    order_class: Literal["simple", "bracket", "oco", "oto"] = "simple"
    take_profit: dict[str, Any] | None = None
    stop_loss: dict[str, Any] | None = None
    algo: dict[str, Any] | None = None


class BatchBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    orders: list[msgspec.Raw]


class ParsedOrder(msgspec.Struct, frozen=True):
    """A body with its exact values."""

    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    limit_price: Decimal | None
    time_in_force: TimeInForce
    client_order_id: str | None
    account_id: UUID | None
    venue: str | None
    algo: Twap | None = None


_order_decoder = msgspec.json.Decoder(OrderBody)
_batch_decoder = msgspec.json.Decoder(BatchBody)
_SIDES = {side.value: side for side in Side}
_TYPES = {kind.value: kind for kind in (OrderType.MARKET, OrderType.LIMIT)}
_TIMES = {time.value: time for time in (TimeInForce.GTC, TimeInForce.IOC, TimeInForce.DAY)}
_UNBUILT = (
    "notional",
    "stop_price",
    "trail_amount",
    "trail_percent",
    "display_quantity",
    "expires_at",
    "take_profit",
    "stop_loss",
)


def parse_order(content: bytes | msgspec.Raw) -> ParsedOrder:
    """The order in a body. Raises Problem: 400 `malformed_json`, 422 `invalid_request` or `unsupported`."""
    body: OrderBody = _decoded(_order_decoder, content)
    order_type, time_in_force = _TYPES.get(body.type), _TIMES.get(body.time_in_force)
    if order_type is None:
        raise _unsupported("type", body.type)
    if time_in_force is None:
        raise _unsupported("time_in_force", body.time_in_force)
    if body.order_class != "simple":
        raise _unsupported("order_class", body.order_class)
    if body.post_only or body.reduce_only:
        raise _unsupported("post_only" if body.post_only else "reduce_only", "true")
    for name in _UNBUILT:
        if getattr(body, name) is not None:
            raise _unsupported(name, str(getattr(body, name)))
    if body.quantity is None:
        raise _invalid("quantity", "is required", "missing")
    client_order_id = body.client_order_id
    if client_order_id is not None:
        if not _CLIENT_ORDER_ID.fullmatch(client_order_id):
            raise _invalid("client_order_id", "must be 1 to 64 printable ASCII characters", "client_order_id")
        if client_order_id.startswith("sig-"):
            raise _invalid("client_order_id", "must not begin with sig-, which is kept for strategies", "reserved")
    if body.venue is not None and not _VENUE.fullmatch(body.venue):
        raise _invalid("venue", "must be the name of a venue, such as paper", "venue")
    return ParsedOrder(
        symbol=_parse_symbol(body.symbol),
        side=_SIDES[body.side],
        type=order_type,
        quantity=_parse_number("quantity", body.quantity),
        limit_price=None if body.limit_price is None else _parse_number("limit_price", body.limit_price),
        time_in_force=time_in_force,
        client_order_id=client_order_id,
        account_id=body.account_id,
        venue=body.venue,
        algo=None if body.algo is None else _parse_algo(body.algo),
    )


def _parse_algo(algo: dict[str, Any]) -> Twap:
    """A TWAP over 1 second to a day in 2 to 1,000 parts, each of at least a second."""
    if algo.get("type") != "twap":
        raise _unsupported("algo", str(algo.get("type")))
    unknown = sorted(set(algo) - {"type", "duration_s", "slices"})
    if unknown:
        raise _invalid(f"algo.{unknown[0]}", "is not a field of a twap", "extra_forbidden")
    duration_s, slices = algo.get("duration_s"), algo.get("slices")
    if type(duration_s) is not int or not 1 <= duration_s <= LONGEST_ALGO_S:
        raise _invalid("algo.duration_s", f"must be whole seconds from 1 to {LONGEST_ALGO_S}", "duration")
    if type(slices) is not int or not 2 <= slices <= MOST_SLICES or slices > duration_s:
        raise _invalid("algo.slices", f"must be from 2 to {MOST_SLICES} and at most one a second", "slices")
    return Twap(duration_s, slices)


def parse_batch(content: bytes) -> list[msgspec.Raw]:
    """The orders of a batch, each still to be parsed. Raises Problem."""
    body: BatchBody = _decoded(_batch_decoder, content)
    if not 1 <= len(body.orders) <= MOST_ORDERS:
        raise _invalid("orders", f"must hold 1 to {MOST_ORDERS} orders, was {len(body.orders)}", "length")
    return body.orders


def _decoded(decoder: msgspec.json.Decoder[Any], content: bytes | msgspec.Raw) -> Any:
    try:
        return decoder.decode(content)
    except msgspec.ValidationError as error:
        found = _PATH.match(str(error))
        what, path = (found["what"], found["path"]) if found else (str(error), None)
        field = (path or "$").removeprefix("$").removeprefix(".")
        unknown = _UNKNOWN_FIELD.search(what)
        if unknown:
            field = f"{field}.{unknown[1]}".removeprefix(".")
        code = "extra_forbidden" if unknown else "missing" if "missing required field" in what else "invalid"
        raise _invalid(field or "body", what, code) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, "malformed_json", "The body is not valid JSON.") from error


def _parse_number(field: str, value: Number) -> Decimal:
    text = value if isinstance(value, str) else str(value)
    if not _DECIMAL.fullmatch(text):
        raise _invalid(field, 'must be a decimal number in a string, such as "101.25"', "decimal_string")
    return Decimal(text)


_symbols: dict[str, str] = {}


def _parse_symbol(text: str) -> str:
    symbol = _symbols.get(text)
    if symbol is None:
        try:
            symbol = _symbol.validate_python(text)
        except ValidationError as error:
            raise _invalid("symbol", "must be a symbol such as AAPL/USD", "symbol") from error
        if len(_symbols) < 10_000:
            _symbols[text] = symbol
    return symbol


def _invalid(field: str, message: str, code: str) -> Problem:
    detail = "The request does not have the expected shape."
    return Problem(422, "invalid_request", detail, errors=[FieldError(field, message, code)])


def _unsupported(field: str, value: str) -> Problem:
    detail = f"This {field} is not built yet, was {value[:100]}."
    return Problem(422, "unsupported", detail, errors=[FieldError(field, "is not built yet", "unsupported")])
