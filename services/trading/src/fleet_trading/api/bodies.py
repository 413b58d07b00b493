"""The order body: parsed by hand-picked exact types, since every microsecond here is paid per order."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from fleet_chassis.problems import FieldError, Problem
from fleet_chassis.shapes import Symbol
from fleet_simulator import OrderType, Side, TimeInForce
from pydantic import TypeAdapter, ValidationError

from fleet_trading.domain import ZERO, Asked, OrderClass, Terms, Twap, malformed, merged

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


class TakeProfit(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A limit order that takes the order's position out with a profit."""

    limit_price: Number


class StopLoss(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A stop order that takes it out with a loss; with `limit_price` a stop-limit order."""

    stop_price: Number
    limit_price: Number | None = None


def _said(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class OrderBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """API.md's order. Decimals are strings, integers are taken too. What is not built yet answers `unsupported`."""

    symbol: str
    side: Literal["buy", "sell"]
    type: Literal["market", "limit", "stop", "stop_limit", "trailing_stop", "market_if_touched", "limit_if_touched"]
    quantity: Number | None = None
    notional: Annotated[
        Number | None,
        _said(
            "Instead of quantity: for so much of the quote currency, at its limit or stop price, else at the ask or bid of "
            "the moment, down to whole lots."
        ),
    ] = None
    limit_price: Annotated[Number | None, _said("Of limit, stop_limit and limit_if_touched, and of these only.")] = None
    stop_price: Annotated[
        Number | None,
        _said(
            "Of orders that wait for a price, but for trailing stops: a buy stop fires there or above, a sell stop there "
            "or below, an if-touched order the other way round."
        ),
    ] = None
    trail_amount: Annotated[
        Number | None, _said("Of a trailing_stop: how far behind the best price. Or trail_percent.")
    ] = None
    trail_percent: Annotated[Number | None, _said('The same in percent of the best price: "1.5" is 1.5 %.')] = None
    display_quantity: Annotated[Number | None, _said("Of an order with a limit: how much of it the book shows.")] = None
    time_in_force: Literal["gtc", "ioc", "fok", "gtd", "day", "at_open", "at_close"] = "gtc"
    expires_at: Annotated[str | None, _said("Of gtd: RFC 3339 with an offset, in the future of the market.")] = None
    post_only: Annotated[bool, _said("Of an order with a limit: it never takes, rather it is canceled.")] = False
    reduce_only: Annotated[bool, _said("Of a sell: never for more than the position.")] = False
    client_order_id: str | None = None
    account_id: UUID | None = None
    venue: str | None = None
    order_class: Annotated[
        Literal["simple", "bracket", "oco", "oto"],
        _said(
            "bracket: take_profit and stop_loss wait for the order to fill, and each makes the other smaller. oto: one of "
            "them does. oco: the order is the take-profit itself, at work together with its stop_loss."
        ),
    ] = "simple"
    take_profit: TakeProfit | None = None
    stop_loss: StopLoss | None = None
    algo: Annotated[
        dict[str, Any] | None,
        _said(
            "Of market and limit orders: execution works it in equal parts, evenly over a time. "
            '{"type": "twap", "duration_s": 600, "slices": 10}: from 1 second to a day, in 2 to 1,000 parts, at most one a '
            "second."
        ),
    ] = None


class ReplaceBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What is left out stays as it is; at least one of the first three is there."""

    quantity: Annotated[Number | None, _said("The new total, with what has been filled in it.")] = None
    limit_price: Number | None = None
    stop_price: Number | None = None
    expected_version: Annotated[
        int | None,
        _said("The `version` of the order that is meant: 409 `version_conflict` if another change came first."),
    ] = None


SIMPLE = {"symbol": "AAPL/USD", "side": "buy", "type": "market", "quantity": "10"}
_PROFIT, _LOSS = {"limit_price": "240"}, {"stop_price": "180"}
EXAMPLES: dict[str, dict[str, Any]] = {
    "simple": SIMPLE,
    "stop": SIMPLE | {"side": "sell", "type": "stop", "stop_price": "180"},
    "trailing stop": SIMPLE | {"side": "sell", "type": "trailing_stop", "trail_percent": "1.5"},
    "bracket": SIMPLE | {"order_class": "bracket", "take_profit": _PROFIT, "stop_loss": _LOSS},
    "oto": SIMPLE | {"type": "limit", "limit_price": "200", "order_class": "oto", "stop_loss": _LOSS},
    "twap": SIMPLE | {"algo": {"type": "twap", "duration_s": 600, "slices": 10}},
    "oco": SIMPLE | {"side": "sell", "type": "limit", "order_class": "oco", "take_profit": _PROFIT, "stop_loss": _LOSS},
}
"""Bodies of an order, by what they show."""
BATCHES = {"two orders": {"orders": [SIMPLE, EXAMPLES["stop"]]}}
CHANGES = {"a new total": {"quantity": "12"}, "a new price": {"limit_price": "199.5"}}


class BatchBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    orders: list[msgspec.Raw]


class ParsedOrder(msgspec.Struct, frozen=True):
    """A body with its exact values. With a `notional` the quantity is 0, and found at acceptance."""

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
    terms: Terms | None = None
    notional: Decimal | None = None


_order_decoder = msgspec.json.Decoder(OrderBody)
_batch_decoder = msgspec.json.Decoder(BatchBody)
_SIDES = {side.value: side for side in Side}
_TYPES = {kind.value: kind for kind in OrderType}
_TIMES = {time.value: time for time in TimeInForce}
_ALGO_TIMES = (TimeInForce.GTC, TimeInForce.IOC, TimeInForce.DAY)
_replace_decoder = msgspec.json.Decoder(ReplaceBody)


def parse_order(content: bytes | msgspec.Raw) -> ParsedOrder:
    """The order in a body. Raises Problem: 400 `malformed_json`, 422 `invalid_request` or `unsupported`."""
    body: OrderBody = _decoded(_order_decoder, content)
    order_type, time_in_force = _TYPES[body.type], _TIMES[body.time_in_force]
    if body.quantity is None and body.notional is None:
        raise _invalid("quantity", "is required, or notional", "missing")
    if body.quantity is not None and body.notional is not None:
        raise _invalid("notional", "is given instead of quantity, not with it", "notional")
    client_order_id = body.client_order_id
    if client_order_id is not None:
        if not _CLIENT_ORDER_ID.fullmatch(client_order_id):
            raise _invalid("client_order_id", "must be 1 to 64 printable ASCII characters", "client_order_id")
        if client_order_id.startswith("sig-"):
            raise _invalid("client_order_id", "must not begin with sig-, which is kept for strategies", "reserved")
    if body.venue is not None and not _VENUE.fullmatch(body.venue):
        raise _invalid("venue", "must be the name of a venue, such as paper", "venue")
    side, quantity = _SIDES[body.side], _parse_optional("quantity", body.quantity)
    limit_price = None if body.limit_price is None else _parse_number("limit_price", body.limit_price)
    terms = None
    if not _is_plain(body, order_type):
        limit_price, terms = merged(limit_price, _parse_terms(body))
        wrong = malformed(Asked(side, order_type, quantity or ZERO, limit_price, time_in_force, terms))
        if wrong is not None:
            raise _invalid(wrong.field, wrong.message, wrong.code)
    if body.algo is not None and (terms is not None or time_in_force not in _ALGO_TIMES):
        raise _invalid("algo", "works simple market and limit orders of gtc, ioc and day only", "algo")
    return ParsedOrder(
        symbol=_parse_symbol(body.symbol),
        side=side,
        type=order_type,
        quantity=ZERO if quantity is None else quantity,
        limit_price=limit_price,
        time_in_force=time_in_force,
        client_order_id=client_order_id,
        notional=_parse_optional("notional", body.notional),
        account_id=body.account_id,
        venue=body.venue,
        algo=None if body.algo is None else _parse_algo(body.algo),
        terms=terms,
    )


def _is_plain(body: OrderBody, order_type: OrderType) -> bool:
    """Whether it has nothing but what market and limit orders have."""
    return (
        (order_type is OrderType.MARKET or order_type is OrderType.LIMIT)
        and body.order_class == "simple"
        and body.time_in_force != "gtd"
        and not (body.post_only or body.reduce_only)
        and body.stop_price is None
        and body.trail_amount is None
        and body.trail_percent is None
        and body.display_quantity is None
        and body.expires_at is None
        and body.take_profit is None
        and body.stop_loss is None
    )


def _parse_terms(body: OrderBody) -> Terms:
    profit, loss = body.take_profit, body.stop_loss
    return Terms(
        stop_price=_parse_optional("stop_price", body.stop_price),
        trail_amount=_parse_optional("trail_amount", body.trail_amount),
        trail_percent=_parse_optional("trail_percent", body.trail_percent),
        display_quantity=_parse_optional("display_quantity", body.display_quantity),
        expires_at=None if body.expires_at is None else _parse_time("expires_at", body.expires_at),
        post_only=body.post_only,
        reduce_only=body.reduce_only,
        order_class=OrderClass(body.order_class),
        take_profit_price=None if profit is None else _parse_number("take_profit.limit_price", profit.limit_price),
        stop_loss_price=None if loss is None else _parse_number("stop_loss.stop_price", loss.stop_price),
        stop_loss_limit_price=None if loss is None else _parse_optional("stop_loss.limit_price", loss.limit_price),
    )


class ParsedReplace(msgspec.Struct, frozen=True):
    """A replace's body with its exact values."""

    quantity: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    expected_version: int | None


def parse_replace(content: bytes) -> ParsedReplace:
    """What is to be replaced. Raises Problem: 400 `malformed_json`, 422 `invalid_request`."""
    body: ReplaceBody = _decoded(_replace_decoder, content)
    parsed = ParsedReplace(
        _parse_optional("quantity", body.quantity),
        _parse_optional("limit_price", body.limit_price),
        _parse_optional("stop_price", body.stop_price),
        body.expected_version,
    )
    if parsed.quantity is None and parsed.limit_price is None and parsed.stop_price is None:
        raise _invalid("body", "must name a quantity, limit_price or stop_price", "missing")
    return parsed


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


def _parse_optional(field: str, value: Number | None) -> Decimal | None:
    return None if value is None else _parse_number(field, value)


def _parse_time(field: str, text: str) -> datetime:
    try:
        at = msgspec.convert(text, datetime)
    except msgspec.ValidationError as error:
        raise _invalid(field, "must be a time such as 2026-01-05T14:30:00Z", "time") from error
    if at.tzinfo is None:
        raise _invalid(field, "must have an offset, as in 2026-01-05T14:30:00Z", "time")
    try:
        return at.astimezone(UTC)
    except OverflowError as error:
        raise _invalid(field, "must be a time that UTC has as well", "time") from error


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
