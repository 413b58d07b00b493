"""What the gateway does to orders on their way: every one gets a name under which its fate can be asked for."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

import msgspec
from fleet_chassis.problems import FieldError, Problem

RESERVED_PREFIX = "sig-"
"""Of orders that come from strategies' signals."""


class _Named(msgspec.Struct):
    client_order_id: str | None = None


class _Batch(msgspec.Struct):
    orders: list[msgspec.Raw]


_named = msgspec.json.Decoder(_Named)
_batch = msgspec.json.Decoder(_Batch)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class NamedOrders:
    """The body to be forwarded. `minted` are the ids the gateway made, by place in the batch; `prefix` begins them all."""

    body: bytes
    weight: float = 1
    minted: dict[int, str] = field(default_factory=dict)
    prefix: str | None = None

    @property
    def header(self) -> str | None:
        """X-Client-Order-ID: of one order its id; of a batch `<prefix>-*`, the star being the place, from 0."""
        if self.prefix is not None:
            return f"{self.prefix}-*"
        return self.minted.get(0)


def name_order(body: bytes, new_id: Callable[[], UUID]) -> NamedOrders:
    """An order with a client_order_id. What is no order at all is passed on as it is, for trading to say so.

    Raises Problem 422 for a reserved one, 400 for what is no text.
    """
    _require_text(body)
    try:
        order = _named.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return NamedOrders(body)
    if order.client_order_id is not None:
        _refuse_reserved([("client_order_id", order.client_order_id)])
        return NamedOrders(body)
    minted = str(new_id())
    return NamedOrders(bytes(_with_name(body, minted)), minted={0: minted})


def name_batch(body: bytes, new_id: Callable[[], UUID]) -> NamedOrders:
    """A batch in which every order has a client_order_id; it weighs a tenth of its orders, and at least one. Each by itself, as
    trading takes them: one that is no order makes the others no lighter, and is passed on as it is.

    Raises Problem 422 for a reserved name, 400 for what is no text."""
    _require_text(body)
    try:
        orders = _batch.decode(body).orders
    except (msgspec.MsgspecError, RecursionError):
        return NamedOrders(body)
    weight = max(1.0, len(orders) / 10)
    given = [_name_given(order) for order in orders]
    _refuse_reserved([(f"orders.{at}.client_order_id", name) for at, name in enumerate(given) if name])
    if None not in given:
        return NamedOrders(body, weight)
    prefix = str(new_id())
    minted = {at: f"{prefix}-{at}" for at, name in enumerate(given) if name is None}
    for at, client_order_id in minted.items():
        orders[at] = _with_name(orders[at], client_order_id)
    whole = {**_object.decode(body), "orders": msgspec.Raw(_encode(orders))}
    return NamedOrders(_encode(whole), weight, minted, prefix)


def _require_text(body: bytes) -> None:
    """JSON is UTF-8 (RFC 8259, 8.1), which msgspec looks at only in what it is asked for."""
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise Problem(400, "malformed_json", "The body is not valid JSON.") from error


def _name_given(order: msgspec.Raw) -> str | None:
    """The order's own, empty for what is no order; None where it has none."""
    try:
        return _named.decode(order).client_order_id
    except (msgspec.MsgspecError, RecursionError):
        return ""


def _with_name(order: msgspec.Raw | bytes, client_order_id: str) -> msgspec.Raw:
    """Only the name is added: every other value keeps the very bytes it was sent with."""
    return msgspec.Raw(_encode({**_object.decode(order), "client_order_id": client_order_id}))


def _refuse_reserved(given: list[tuple[str, str]]) -> None:
    errors = [
        FieldError(place, f"must not begin with {RESERVED_PREFIX}", "reserved_prefix")
        for place, client_order_id in given
        if client_order_id.startswith(RESERVED_PREFIX)
    ]
    if errors:
        raise Problem(422, "invalid_request", "The request does not have the expected shape.", errors=errors)
