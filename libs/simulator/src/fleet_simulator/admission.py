"""Why an order, or a change of one, is refused before any price is looked at."""

from collections.abc import Mapping, Sequence
from decimal import Decimal

from fleet_simulator.orders import Order, OrderType, Place, Replace, Side, TimeInForce

Amount = int | Decimal
"""Ticks inside, exact prices at the edges."""

MAX_NS = (1 << 63) - 1
"""Times are kept in 64 bits, nanoseconds since 1970: until 2262."""
MAX_SLICES = 1000
"""Of an iceberg: each slice is a command and its fills are events of their own."""


def refusal(place: Place, orders: Mapping[str, Order], legs: Sequence[Order]) -> str | None:
    """`legs`: the orders of its group that are there."""
    if place.order_ref in orders:
        return "duplicate_order_ref"
    if not _has_quantities(place):
        return "invalid_quantity"
    if place.protection_price is not None and place.protection_price <= 0:
        return "invalid_price"
    if place.expires_at is not None and not 0 <= place.expires_at <= MAX_NS:
        return "invalid_time_in_force"
    reason = conditions_refusal(
        place.type,
        place.time_in_force,
        limit_price=place.limit_price,
        stop_price=place.stop_price,
        trail_amount=place.trail_amount,
        trail_ppm=place.trail_ppm,
        expires_at=place.expires_at,
        post_only=place.post_only,
    )
    if reason is not None:
        return reason
    if place.time_in_force.is_auction and (place.display_quantity or place.minimum_quantity):
        return "invalid_time_in_force"
    return None if _may_stand_together(place, legs) else "invalid_group"


def conditions_refusal(
    type: OrderType,  # noqa: A002  the field's name everywhere
    time_in_force: TimeInForce,
    *,
    limit_price: Amount | None = None,
    stop_price: Amount | None = None,
    trail_amount: Amount | None = None,
    trail_ppm: Amount | None = None,
    expires_at: object | None = None,
    post_only: bool = False,
) -> str | None:
    """Why what an order says of its prices and time does not go together: `invalid_price`, `invalid_time_in_force`."""
    prices, trails = (limit_price, stop_price, trail_amount, trail_ppm), (trail_amount, trail_ppm)
    if any(price is not None and price <= 0 for price in prices):
        return "invalid_price"
    is_trailing = type is OrderType.TRAILING_STOP
    if (limit_price is not None) is not type.has_limit or (post_only and not type.has_limit):
        return "invalid_price"
    if (stop_price is not None) is not (type.is_triggered and not is_trailing):
        return "invalid_price"
    if sum(trail is not None for trail in trails) != is_trailing or (trail_ppm is not None and trail_ppm >= 1_000_000):
        return "invalid_price"
    time = time_in_force
    is_timed = (expires_at is not None) is (time is TimeInForce.GTD)
    may_auction = not (time.is_auction and type.is_triggered)
    may_post = not (post_only and (time.is_immediate or time.is_auction))
    return None if is_timed and may_auction and may_post else "invalid_time_in_force"


def replace_refusal(replace: Replace, order: Order | None, other_legs: Sequence[Order]) -> str | None:
    if order is None or order.account_id != replace.account_id:
        return "unknown_order"
    is_child = order.parent_ref is not None
    if replace.quantity is not None and (replace.quantity <= 0 or is_child):
        return "invalid_quantity"
    limit, stop = replace.limit_price, replace.stop_price
    if limit is not None and (limit <= 0 or not order.type.has_limit):
        return "invalid_price"
    plain = [leg for leg in other_legs if leg.elected or not leg.type.is_triggered]
    stands = order.elected or not order.type.is_triggered
    if limit is not None and stands and any(_collide(leg, order.side, limit) for leg in plain):
        return "invalid_price"
    if stop is not None and (stop <= 0 or order.stop_price is None or order.elected):
        return "invalid_price"
    return None


def _has_quantities(place: Place) -> bool:
    display, minimum = place.display_quantity, place.minimum_quantity
    if place.quantity <= 0 or not 0 <= minimum <= place.quantity:
        return False
    if minimum and (place.post_only or place.parent_ref is not None):
        return False
    if display is None:
        return True
    return place.type.has_limit and not minimum and display > 0 and place.quantity <= display * MAX_SLICES


def _may_stand_together(place: Place, legs: Sequence[Order]) -> bool:
    """Two legs that can trade at once on one side would be swept together: all but one of a side must be triggered.
    Of both sides they must not cross, or they would trade with each other.
    """
    if any(leg.account_id != place.account_id or leg.parent_ref != place.parent_ref for leg in legs):
        return False
    plain = [leg for leg in legs if leg.elected or not leg.type.is_triggered]
    return place.type.is_triggered or not any(_collide(leg, place.side, place.limit_price) for leg in plain)


def _collide(leg: Order, side: Side, limit_price: int | None) -> bool:
    if leg.side is side or leg.limit_price is None or limit_price is None:
        return True
    return limit_price >= leg.limit_price if side is Side.BUY else limit_price <= leg.limit_price
