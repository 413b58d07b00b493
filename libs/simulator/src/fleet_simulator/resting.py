"""The orders of one market that have not ended, found by reference, by arrival, and by price."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import takewhile

from fleet_simulator.orders import Order, OrderType, Side, TimeInForce

_Ranked = tuple[int, int, Order]
"""(price, nearest to the market first; arrival; order): two are never equal in arrival, so orders are not compared."""


class RestingOrders:
    """Price priority, then arrival. A look at the prices touches only the orders they reach."""

    def __init__(self) -> None:
        self.by_ref: dict[str, Order] = {}
        self._market: dict[str, Order] = {}
        self._immediate: dict[str, Order] = {}
        self._limits: dict[Side, list[_Ranked]] = {Side.BUY: [], Side.SELL: []}

    def add(self, order: Order) -> None:
        self.by_ref[order.order_ref] = order
        if order.time_in_force is TimeInForce.IOC:
            self._immediate[order.order_ref] = order
        if order.type is OrderType.MARKET:
            self._market[order.order_ref] = order
        else:
            insort(self._limits[order.side], _ranked(order))

    def remove(self, order: Order) -> None:
        del self.by_ref[order.order_ref]
        self._immediate.pop(order.order_ref, None)
        if order.type is OrderType.MARKET:
            del self._market[order.order_ref]
        else:
            limits = self._limits[order.side]
            del limits[bisect_left(limits, _ranked(order))]

    def reached(self, *, lowest: int | None, highest: int | None) -> list[Order]:
        """Market orders by arrival, then buys whose limit `lowest` reaches, then sells that `highest` reaches.

        Limits come by price, then arrival; `None` reaches none.
        """
        found = list(self._market.values())
        if lowest is not None:
            found += [o for _, _, o in takewhile(lambda ranked: -ranked[0] >= lowest, self._limits[Side.BUY])]
        if highest is not None:
            found += [o for _, _, o in takewhile(lambda ranked: ranked[0] <= highest, self._limits[Side.SELL])]
        return found

    def immediate(self) -> list[Order]:
        """Those that do not outlive the next price."""
        return list(self._immediate.values())

    def __iter__(self) -> Iterator[Order]:
        """By arrival."""
        return iter(self.by_ref.values())


def _ranked(order: Order) -> _Ranked:
    assert order.limit_price is not None, "a limit order has a limit price"
    return (-order.limit_price if order.side is Side.BUY else order.limit_price, order.arrival, order)
