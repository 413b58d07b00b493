"""Orders whose type their venue does not have: prices are watched for them, and what is triggered is placed. Pure.

The rule is that of libs/simulator (its rule 10), by its own functions and in its own integers; there is no second one."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from fleet_simulator import QUOTE_LIFETIME_NS, OffGrid, Scale
from fleet_simulator import orders as market
from fleet_simulator.scale import trail_ppm
from fleet_simulator.triggers import Shown, fires, fires_rising, follow
from msgspec.structs import replace

from .order import Decision, VenueOrder
from .values import (
    NO_CONDITIONS,
    Accepted,
    Amend,
    Change,
    Expired,
    Place,
    Prices,
    Refused,
    Replaced,
    ReplaceRejected,
    Stand,
    Terms,
    Trigger,
    Triggered,
)

LIFETIME = timedelta(microseconds=QUOTE_LIFETIME_NS // 1_000)
"""A price that is older triggers nothing: its rule 5."""
_UNTIL_DONE = frozenset({"gtc", "ioc", "fok"})


def refusal(terms: Terms, tick: Decimal, *, has_gtd: bool) -> Refused | None:
    """Why prices cannot be watched for such an order. Its end of day would be ours to keep, and we keep no sessions."""
    time_in_force = terms.time_in_force
    if time_in_force not in _UNTIL_DONE and not (time_in_force == "gtd" and has_gtd):
        return Refused("unsupported", f"a {terms.order_type} that its venue does not have is not {time_in_force}")
    return _off_grid(terms, tick)


def begin(order: VenueOrder, trigger: Trigger, *, now: datetime) -> Decision:
    """Accepted by us: no venue sees it before its price has come."""
    return replace(order, trigger=trigger, stand=Stand.WORKING, accepted_at=now), (Accepted(trigger.since),)


def at_venue(terms: Terms) -> Terms:
    """What a venue is sent of a triggered order. It is late by nature, so no time to send it by is left."""
    order_type = "limit" if market.OrderType(terms.order_type).has_limit else "market"
    conditions = replace(terms.conditions, stop_price=None, trail_amount=None, trail_percent=None)
    conditions = NO_CONDITIONS if conditions == NO_CONDITIONS else conditions
    return replace(terms, order_type=order_type, conditions=conditions, send_by=None)


@dataclass(slots=True)
class Watch:
    """An order under watch and all prices that it has been shown."""

    order: VenueOrder
    _order: market.Order
    tick: Decimal

    @classmethod
    def of(cls, order: VenueOrder) -> "Watch":
        assert order.trigger is not None
        return cls(order, _simulated(order.terms, order.trigger.tick, order.trigger.mark), order.trigger.tick)

    def look(self, prices: Prices) -> Decimal | None:
        """The price that triggers it, where these do; a trailing stop has followed them before."""
        price = self._price(prices)
        if price is None:
            return None
        follow(self._order, price)
        return self._scale.price(price) if fires(self._order, price) else None

    @property
    def mark(self) -> Decimal | None:
        return None if self._order.mark is None else self._scale.price(self._order.mark)

    @property
    def since(self) -> datetime:
        return since(self.order)

    @property
    def has_moved(self) -> bool:
        """Whether its row does not know its best price."""
        return self.order.trigger is not None and self.mark != self.order.trigger.mark

    @property
    def _scale(self) -> Scale:
        return Scale(self.tick, Decimal(1))

    def _price(self, prices: Prices) -> int | None:
        # Of a price between two ticks what counts is the tick that it has passed.
        rounding = ROUND_FLOOR if fires_rising(self._order) else ROUND_CEILING
        ticks = (None if p is None else int((p / self.tick).to_integral_value(rounding)) for p in prices[1:])
        return Shown(*ticks).to(self._order)


def since(order: VenueOrder) -> datetime:
    assert order.trigger is not None
    return order.trigger.since


def marked(order: VenueOrder, mark: Decimal | None) -> VenueOrder:
    """With the best price that it has been shown, as far as that is better."""
    assert order.trigger is not None
    known = order.trigger.mark
    if mark is None or mark == known:
        return order
    best = mark if known is None else min(mark, known) if order.terms.side == "buy" else max(mark, known)
    return replace(order, trigger=replace(order.trigger, mark=best))


def release(order: VenueOrder, price: Decimal, *, now: datetime, market_at: datetime) -> Decision:
    """To the venue, as what it is now."""
    released = replace(order, stand=Stand.SENT, triggered_at=now, updated_at=now)
    return released, (Triggered(market_at, price), Place(order.command_sequence, at_venue(order.terms)))


def expire(order: VenueOrder, *, now: datetime) -> Decision:
    ended = replace(order, stand=Stand.EXPIRED, ended_at=now, updated_at=now)
    return ended, (Expired(now, order.cumulative_quantity),)


def expires_at(order: VenueOrder) -> datetime | None:
    """When we have to end it; what its venue has, the venue ends."""
    return order.terms.conditions.expires_at if order.is_watched else None


def has_expired(order: VenueOrder, now: datetime) -> bool:
    at = expires_at(order)
    return at is not None and at <= now


def amend(order: VenueOrder, change: Change, *, command_sequence: int, market_at: datetime, now: datetime) -> Decision:
    """Of an order here, which no venue has yet, or of a leg: prices that it has, and that its grid has."""
    (outcome,) = order.amend(change, command_sequence=command_sequence, market_at=market_at, now=now)
    if not isinstance(outcome, Amend):
        return order, (outcome,)
    change, terms = outcome.change, order.terms
    quantity = terms.quantity if change.quantity is None else change.quantity
    limit, stop = change.limit_price or terms.limit_price, change.stop_price or terms.conditions.stop_price
    conditions = terms.conditions if stop is None else replace(terms.conditions, stop_price=stop)
    terms = replace(terms, quantity=quantity, limit_price=limit, conditions=conditions)
    refused = _bad_change(order, change, terms)
    if refused is not None:
        return order, (ReplaceRejected(market_at, *refused, change.request),)
    # Prices that were not shown to it as it is now do not trigger it; which was the best it knows all the same.
    trigger = None if order.trigger is None else replace(order.trigger, since=market_at)
    amended = replace(order, terms=terms, trigger=trigger, updated_at=now)
    told = Replaced(market_at, quantity, limit, stop, order.cumulative_quantity, request=change.request)
    return amended, (told,)


def _bad_change(order: VenueOrder, change: Change, terms: Terms) -> Refused | None:
    if change.quantity is not None and change.quantity <= 0:
        return Refused("invalid_quantity", f"a quantity is above 0, was {change.quantity}")
    has_stop = order.terms.conditions.stop_price is not None
    if (change.limit_price and order.terms.limit_price is None) or (change.stop_price and not has_stop):
        return Refused("invalid_price", "the order has no such price")
    return None if order.trigger is None else _off_grid(terms, order.trigger.tick)


def _off_grid(terms: Terms, tick: Decimal) -> Refused | None:
    try:
        _simulated(terms, tick)
    except OffGrid as off:
        return Refused("invalid_price", str(off))
    return None


def _simulated(terms: Terms, tick: Decimal, mark: Decimal | None = None) -> market.Order:
    scale, conditions = Scale(tick, Decimal(1)), terms.conditions

    def ticks(price: Decimal | None) -> int | None:
        return None if price is None else scale.ticks(price)

    percent = conditions.trail_percent
    return market.Order(
        order_ref="",
        account_id="",
        side=market.Side(terms.side),
        type=market.OrderType(terms.order_type),
        quantity=1,
        time_in_force=market.TimeInForce.GTC,
        limit_price=ticks(terms.limit_price),
        protection_price=None,
        accepted_at=0,
        arrival=0,
        stop_price=ticks(conditions.stop_price),
        trail_amount=ticks(conditions.trail_amount),
        trail_ppm=None if percent is None else trail_ppm(percent),
        mark=ticks(mark),
    )
