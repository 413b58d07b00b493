"""The call auction: one price for all. Greatest volume, then least imbalance, then nearest to the reference.

As in NYSE Rule 7.35 and Xetra's market model (their further tie-breaks differ): if prices are equally good in all
three, the lower one. Without any limit and without a reference there is no price.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import NamedTuple

from fleet_simulator.orders import Order

_ANY = 1 << 62


class Clearing(NamedTuple):
    price: int
    volume: int


def clearing(orders: Sequence[Order], reference: int | None) -> Clearing | None:
    """The price at which the orders trade, and how much; `None` where nothing can."""
    buys = _Quantities((order.worst_price or _ANY, order.remaining) for order in orders if order.is_buy)
    sells = _Quantities((order.worst_price or 0, order.remaining) for order in orders if not order.is_buy)
    limits = {order.limit_price for order in orders if order.limit_price is not None}
    # Between two limits both sums stand still, so the ticks next to the limits and the reference stand for all prices.
    near = {price + step for price in limits for step in (-1, 0, 1)} | ({reference} if reference else set())
    found = [(buys.total - buys.below(price), sells.below(price + 1), price) for price in near if price > 0]
    ranked = [
        (-min(b, s), abs(b - s), 0 if reference is None else abs(price - reference), price) for b, s, price in found
    ]
    if not ranked or not (best := min(ranked))[0]:
        return None
    return Clearing(best[3], -best[0])


class _Quantities:
    """Of one side, by the worst price of each order: a book of a million is summed up once, not for each price."""

    def __init__(self, found: Iterable[tuple[int, int]]) -> None:
        by_price = sorted(found)
        self._prices = [price for price, _ in by_price]
        self._sums = list(accumulate((quantity for _, quantity in by_price), initial=0))

    @property
    def total(self) -> int:
        return self._sums[-1]

    def below(self, price: int) -> int:
        return self._sums[bisect_left(self._prices, price)]


def crosses(order: Order, other: Order) -> bool:
    """Whether there is a price at which these two, of opposite sides, could trade."""
    worst = other.worst_price
    return worst is None or order.takes(worst)


def eagerness(order: Order) -> tuple[int, int, int]:
    """Of one side: first whose worst price is the furthest from the market, then by time."""
    worst = order.worst_price
    if worst is None:
        return 0, 0, order.priority
    return 1, -worst if order.is_buy else worst, order.priority


def ranked(orders: Sequence[Order], price: int) -> list[Order]:
    """Those of one side that trade at this price: without limit first, then the furthest beyond it, then by time."""

    def turn(order: Order) -> tuple[int, int, int]:
        if order.limit_price is None:
            return 0, 0, order.priority
        return 1, -order.limit_price if order.is_buy else order.limit_price, order.priority

    return sorted((order for order in orders if order.takes(price)), key=turn)


def shares(orders: Sequence[Order], volume: int) -> list[tuple[Order, int]]:
    """The volume given out along the ranks."""
    found: list[tuple[Order, int]] = []
    for order in orders:
        quantity = min(order.remaining, volume)
        if quantity:
            found.append((order, quantity))
            volume -= quantity
    return found
