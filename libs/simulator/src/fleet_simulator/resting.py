"""The orders that wait for data to fill them, found by price and by time priority."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import takewhile

from fleet_simulator.orders import Order, Side

Rank = tuple[int, int]
"""(price, nearest to the market first; priority)."""
_Ranked = tuple[int, int, Order]
"""Two are never equal in priority, so orders are not compared."""


class RestingOrders:
    """Price priority, then time. A look at the prices touches only the orders they reach."""

    def __init__(self) -> None:
        self._ranks: dict[str, Rank] = {}
        self._unlimited: dict[str, Order] = {}
        self._once: dict[str, Order] = {}
        self._limits: dict[Side, list[_Ranked]] = {Side.BUY: [], Side.SELL: []}
        self._taking: dict[str, Order] = {}

    def add(self, order: Order) -> None:
        rank = rank_of(order)
        self._ranks[order.order_ref] = rank
        if order.time_in_force.is_immediate or order.minimum_quantity:
            self._once[order.order_ref] = order
        if order.taking:
            self._taking[order.order_ref] = order
        if order.limit_price is None:
            self._unlimited[order.order_ref] = order
        else:
            insort(self._limits[order.side], (*rank, order))

    def remove(self, order: Order) -> None:
        """By the rank it came with: its price may have changed since."""
        rank = self._ranks.pop(order.order_ref)
        self._once.pop(order.order_ref, None)
        self._taking.pop(order.order_ref, None)
        if order.limit_price is None:
            del self._unlimited[order.order_ref]
        else:
            limits = self._limits[order.side]
            del limits[bisect_left(limits, (*rank, order))]

    def __contains__(self, order: Order) -> bool:
        return order.order_ref in self._ranks

    def rank(self, order: Order) -> Rank:
        return self._ranks[order.order_ref]

    def nearest(self) -> list[Order]:
        """Orders without a limit, limits that still take, and the limit of each side that comes first."""
        first = (ranked[0][2] for ranked in self._limits.values() if ranked)
        return [*self._unlimited.values(), *self._taking.values(), *first]

    def taking(self) -> list[Order]:
        """Limits that go on taking with the next quote."""
        return list(self._taking.values())

    def set_taking(self, order: Order, taking: bool) -> bool:
        """Whether that is new."""
        if order.taking is taking:
            return False
        order.taking = taking
        if taking:
            self._taking[order.order_ref] = order
        else:
            del self._taking[order.order_ref]
        return True

    def reached(self, *, lowest: int | None, highest: int | None) -> list[Order]:
        """Unlimited orders by priority, then buys whose limit `lowest` reaches, then sells that `highest` reaches.

        Limits come by price, then priority; `None` reaches none.
        """
        found = list(self._unlimited.values())
        if lowest is not None:
            found += [o for _, _, o in takewhile(lambda ranked: -ranked[0] >= lowest, self._limits[Side.BUY])]
        if highest is not None:
            found += [o for _, _, o in takewhile(lambda ranked: ranked[0] <= highest, self._limits[Side.SELL])]
        return found

    def between(self, side: Side, price: int, target: int) -> Iterator[Order]:
        """Limits of one side on the way from `price` (excluded) to `target`, as they are reached."""
        for _, _, order in self._limits[side]:
            limit = order.limit_price or 0
            if limit < target if side is Side.BUY else limit > target:
                return
            if limit < price if side is Side.BUY else limit > price:
                yield order

    def first_price_only(self) -> list[Order]:
        """Those that do not outlive the next price, or have yet to show that they may."""
        return list(self._once.values())

    def __iter__(self) -> Iterator[Order]:
        yield from self._unlimited.values()
        for side in Side:
            yield from (order for _, _, order in self._limits[side])


def rank_of(order: Order) -> Rank:
    price = order.limit_price or 0
    return (-price if order.is_buy else price), order.priority
