"""What only some orders have: conditions of price, time and size, a class with legs, and how a replace changes them."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from fleet_simulator import OrderType, Side, TimeInForce
from fleet_simulator.admission import MAX_SLICES
from fleet_simulator.fees import EXACT

from .values import ZERO, Twap

LATEST_END = datetime(2262, 1, 1, tzinfo=UTC)
"""Of an order: venues count nanoseconds in 64 bits, which come to an end in that year."""


class OrderClass(StrEnum):
    """`bracket`: take-profit and stop-loss wait for the order. `oto`: one of them does. `oco`: the order is the
    take-profit itself, at work together with its one leg, the stop-loss."""

    SIMPLE = "simple"
    BRACKET = "bracket"
    OCO = "oco"
    OTO = "oto"


@dataclass(frozen=True, slots=True)
class Figures:
    """All that a replace can change. `quantity` is the total, with what has been filled in it."""

    quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Kept with an order as one value, since most orders have none of it.

    `group` names the orders of its group, the one that the client placed first; its legs' prices stay with that one.
    `first` is how it was placed, once it has been changed since; `wanted` what its venue has been asked to make of it.
    `grown` says of a leg for how much of its order's fills its venue has made it larger.
    `asked_at` is when its client last asked for a change, `changed_at` when it was last changed unasked, both by the
    market's time: what a venue said of changes before that has been heard, and is told again. `cancel_request` and
    `replace_request` are the order's versions with its last wishes, by which most venues name the wish that they answer.
    """

    stop_price: Decimal | None = None
    trail_amount: Decimal | None = None
    trail_percent: Decimal | None = None
    display_quantity: Decimal | None = None
    expires_at: datetime | None = None
    post_only: bool = False
    reduce_only: bool = False
    order_class: OrderClass = OrderClass.SIMPLE
    take_profit_price: Decimal | None = None
    stop_loss_price: Decimal | None = None
    stop_loss_limit_price: Decimal | None = None
    group: tuple[UUID, ...] = ()
    is_triggered: bool = False
    has_corrections: bool = False
    algo: Twap | None = None
    """How execution works it."""
    first: Figures | None = None
    wanted: Figures | None = None
    grown: Decimal = ZERO
    asked_at: datetime | None = None
    changed_at: datetime | None = None
    cancel_request: int | None = None
    replace_request: int | None = None

    @property
    def leg_count(self) -> int:
        """How many orders come with the one that has these terms."""
        return {OrderClass.SIMPLE: 0, OrderClass.BRACKET: 2}.get(self.order_class, 1)

    def asked(self) -> str:
        """What the client asked for, the same text for the same wish."""
        return (
            f"{self.stop_price} {self.trail_amount} {self.trail_percent} {self.display_quantity} {self.expires_at} "
            f"{self.post_only} {self.reduce_only} {self.order_class} {self.take_profit_price} {self.stop_loss_price} "
            f"{self.stop_loss_limit_price}"
        )


NO_TERMS = Terms()


def leg_side(side: Side, order_class: OrderClass) -> Side:
    """Legs of an OCO get out of the same position as their order, others out of the one that their order gets into."""
    if order_class is OrderClass.OCO:
        return side
    return Side.SELL if side is Side.BUY else Side.BUY


def merged(limit_price: Decimal | None, terms: Terms) -> tuple[Decimal | None, Terms]:
    """An OCO's limit_price may be given as that of its take-profit, which it is."""
    if terms.order_class is OrderClass.OCO and limit_price is None:
        return terms.take_profit_price, replace(terms, take_profit_price=None)
    return limit_price, terms


class Malformed(NamedTuple):
    """A field that does not go with the others, whatever the market; `code` is that of a denial for it."""

    field: str
    message: str
    code: str


class Asked(NamedTuple):
    side: Side
    type: OrderType
    quantity: Decimal
    limit_price: Decimal | None
    time_in_force: TimeInForce
    terms: Terms


def malformed(asked: Asked) -> Malformed | None:
    """The first thing wrong with an order that has terms. What passes here, no venue refuses for its form
    (fleet_simulator.admission has the same rules, without the fields' names)."""
    for code, check in _CHECKS:
        for field, message in check(asked):
            return Malformed(field, message, code)
    return None


Found = Iterator[tuple[str, str]]


def _prices(asked: Asked) -> Found:
    terms, kind = asked.terms, asked.type
    given = {
        "limit_price": asked.limit_price,
        "stop_price": terms.stop_price,
        "trail_amount": terms.trail_amount,
        "trail_percent": terms.trail_percent,
        "take_profit.limit_price": terms.take_profit_price,
        "stop_loss.stop_price": terms.stop_loss_price,
        "stop_loss.limit_price": terms.stop_loss_limit_price,
    }
    for field, price in given.items():
        if price is not None and price <= 0:
            yield field, f"must be above 0, was {price:f}"
    is_trailing = kind is OrderType.TRAILING_STOP
    for field, is_due in (("limit_price", kind.has_limit), ("stop_price", kind.is_triggered and not is_trailing)):
        if (given[field] is not None) is not is_due:
            yield field, f"is required of a {kind} order" if is_due else f"is not for a {kind} order"
    trails = [field for field in ("trail_amount", "trail_percent") if given[field] is not None]
    if is_trailing and len(trails) != 1:
        yield "trail_amount", "either it or trail_percent is required of a trailing_stop order, not both"
    elif trails and not is_trailing:
        yield trails[0], f"is not for a {kind} order"
    percent = terms.trail_percent
    if percent is not None and (percent >= 100 or EXACT.remainder(percent, _PPM)):
        yield "trail_percent", f"must be below 100 with at most 4 decimals, was {percent:f}"


def _sizes(asked: Asked) -> Found:
    display = asked.terms.display_quantity
    if display is None:
        return
    if not asked.type.has_limit:
        yield "display_quantity", f"is not for a {asked.type} order"
    elif display <= 0:
        yield "display_quantity", f"must be above 0, was {display:f}"
    elif asked.quantity > display * MAX_SLICES:
        yield "display_quantity", f"must be at least the quantity / {MAX_SLICES}, was {display:f}"


def _times(asked: Asked) -> Found:
    terms, time = asked.terms, asked.time_in_force
    if (terms.expires_at is not None) is not (time is TimeInForce.GTD):
        yield "expires_at", "is required of gtd" if time is TimeInForce.GTD else f"is for gtd, not for {time}"
    elif terms.expires_at is not None and terms.expires_at >= LATEST_END:
        yield "expires_at", f"must be before {LATEST_END.year}, was {terms.expires_at.isoformat()}"
    if time.is_auction and asked.type.is_triggered:
        yield "time_in_force", f"must not be {time} of a {asked.type} order"
    if time.is_auction and terms.display_quantity is not None:
        yield "display_quantity", f"is not for {time}"
    if terms.post_only and not asked.type.has_limit:
        yield "post_only", f"is not for a {asked.type} order"
    if terms.post_only and (time.is_immediate or time.is_auction):
        yield "post_only", f"is not for {time}"


def _sides(asked: Asked) -> Found:
    if asked.terms.reduce_only and asked.side is Side.BUY:
        yield "reduce_only", "is for sells: an account is never short, so a buy reduces nothing"


def _classes(asked: Asked) -> Found:
    terms, kind = asked.terms, asked.terms.order_class
    profit, loss = terms.take_profit_price, terms.stop_loss_price
    if terms.stop_loss_limit_price is not None and loss is None:
        yield "stop_loss.stop_price", "is required"
    if kind is OrderClass.SIMPLE and (profit is not None or loss is not None):
        yield "order_class", "must be bracket, oco or oto of an order with take_profit or stop_loss"
    if kind is OrderClass.BRACKET and profit is None:
        yield "take_profit", "is required of a bracket"
    if kind in (OrderClass.BRACKET, OrderClass.OCO) and loss is None:
        yield "stop_loss", f"is required of {'a bracket' if kind is OrderClass.BRACKET else 'an oco'}"
    if kind is OrderClass.OTO and (profit is None) is (loss is None):
        yield "take_profit", "either it or stop_loss is required of an oto, not both"
    if kind is OrderClass.OCO:
        if asked.type is not OrderType.LIMIT:
            yield "type", f"must be limit of an oco, whose order is its take-profit, was {asked.type}"
        if profit is not None:
            yield "take_profit.limit_price", "is an oco's own limit_price and is given in one of the two places"
        if asked.time_in_force.is_immediate or asked.time_in_force.is_auction:
            yield "time_in_force", f"must be gtc, day or gtd of an oco, was {asked.time_in_force}"
        profit = asked.limit_price
    if profit is not None and loss is not None:
        is_sell = leg_side(asked.side, kind) is Side.SELL
        if not (profit > loss if is_sell else profit < loss):
            yield "stop_loss.stop_price", f"must be {'below' if is_sell else 'above'} the take-profit, was {loss:f}"


_PPM = Decimal("0.0001")
"""The finest percentage: a millionth."""
_CHECKS = (
    ("invalid_group", _classes),
    ("invalid_price", _prices),
    ("invalid_quantity", _sizes),
    ("invalid_time_in_force", _times),
    ("reduce_only", _sides),
)
