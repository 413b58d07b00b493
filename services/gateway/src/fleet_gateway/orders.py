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
    orders: list[_Named]


_named = msgspec.json.Decoder(_Named)
_batch = msgspec.json.Decoder(_Batch)
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])
_objects = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
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

    Raises Problem 422 for a reserved one.
    """
    try:
        order = _named.decode(body)
    except (msgspec.MsgspecError, RecursionError):
        return NamedOrders(body)
    if order.client_order_id is not None:
        _refuse_reserved([("client_order_id", order.client_order_id)])
        return NamedOrders(body)
    minted = str(new_id())
    # Only the name is added: every other value keeps the very bytes it was sent with.
    named = {**_object.decode(body), "client_order_id": msgspec.Raw(_encode(minted))}
    return NamedOrders(_encode(named), minted={0: minted})


def name_batch(body: bytes, new_id: Callable[[], UUID]) -> NamedOrders:
    """A batch in which every order has a client_order_id; it weighs a tenth of its orders, and at least one."""
    try:
        orders = _batch.decode(body).orders
    except (msgspec.MsgspecError, RecursionError):
        return NamedOrders(body)
    weight = max(1.0, len(orders) / 10)
    _refuse_reserved(
        [
            (f"orders.{at}.client_order_id", order.client_order_id)
            for at, order in enumerate(orders)
            if order.client_order_id is not None
        ]
    )
    if all(order.client_order_id is not None for order in orders):
        return NamedOrders(body, weight)
    prefix = str(new_id())
    minted = {at: f"{prefix}-{at}" for at, order in enumerate(orders) if order.client_order_id is None}
    whole = _object.decode(body)
    named = _objects.decode(whole["orders"])
    for at, client_order_id in minted.items():
        named[at]["client_order_id"] = msgspec.Raw(_encode(client_order_id))
    whole["orders"] = msgspec.Raw(_encode(named))
    return NamedOrders(_encode(whole), weight, minted, prefix)


def _refuse_reserved(given: list[tuple[str, str]]) -> None:
    errors = [
        FieldError(place, f"must not begin with {RESERVED_PREFIX}", "reserved_prefix")
        for place, client_order_id in given
        if client_order_id.startswith(RESERVED_PREFIX)
    ]
    if errors:
        raise Problem(422, "invalid_request", "The request does not have the expected shape.", errors=errors)
