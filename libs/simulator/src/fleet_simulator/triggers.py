"""When a held order is elected. The rule, for every venue and every kind of data:

A trade (or a bar's path) is compared by its price; a quote or book by the side the order would take from: a buy by the
ask, a sell by the bid. A buy stop fires at its stop price or above, a sell stop at or below; an if-touched order the
other way round. A trailing stop is a stop whose price follows the best price since its acceptance, `trail` away from
it, and never comes back. A trigger sees the prices that come after its order, and a quote that stands when it comes.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from functools import partial
from itertools import takewhile
from typing import NamedTuple

from fleet_simulator.orders import Order, OrderType, Side

PPM = 1_000_000


class Shown(NamedTuple):
    """The prices of one moment; a trade is both, an empty side `None`."""

    bid: int | None
    ask: int | None

    @classmethod
    def trade(cls, price: int) -> "Shown":
        return cls(price, price)

    def to(self, order: Order) -> int | None:
        """What the order would take from."""
        return self.ask if order.is_buy else self.bid


def level(order: Order) -> int | None:
    """The price that elects it; a trailing stop has none before it has seen a price.

    A trail in millionths is rounded up to the tick, so that it never fires early.
    """
    if order.type is not OrderType.TRAILING_STOP:
        return order.stop_price
    if order.mark is None:
        return None
    trail = order.trail_amount if order.trail_amount is not None else -(-order.mark * (order.trail_ppm or 0) // PPM)
    return order.mark + trail if order.is_buy else max(order.mark - trail, 1)


def fires_rising(order: Order) -> bool:
    """Whether it is a rising price that elects it: a buy stop's, or that of a sell if touched."""
    return order.is_buy is not order.type.is_touched


def fires(order: Order, price: int) -> bool:
    at = level(order)
    return at is not None and (price >= at if fires_rising(order) else price <= at)


def follow(order: Order, price: int) -> bool:
    """Moves a trailing stop's mark; whether it moved."""
    if order.type is not OrderType.TRAILING_STOP:
        return False
    best = price if order.mark is None else min(order.mark, price) if order.is_buy else max(order.mark, price)
    moved = best != order.mark
    order.mark = best
    return moved


class Triggers:
    """The orders that wait for a price, those with a fixed one sorted by it: a look touches only what is reached."""

    def __init__(self) -> None:
        self._fixed: dict[tuple[Side, bool], list[tuple[int, int, Order]]] = {}
        self._trailing: dict[str, Order] = {}
        self.changed: set[str] = set()

    def add(self, order: Order) -> None:
        if order.type is OrderType.TRAILING_STOP:
            self._trailing[order.order_ref] = order
        else:
            insort(self._fixed.setdefault(_kind(order), []), _entry(order))

    def remove(self, order: Order) -> None:
        if order.type is OrderType.TRAILING_STOP:
            del self._trailing[order.order_ref]
        else:
            entries = self._fixed[_kind(order)]
            del entries[bisect_left(entries, _entry(order))]

    def nearest(self) -> list[Order]:
        """Those with a fixed price that come first in their kind, and all trailing ones."""
        return [entries[0][2] for entries in self._fixed.values() if entries] + list(self._trailing.values())

    def elected(self, shown: Shown, accepted_before: int | None, *, worst_first: bool) -> list[Order]:
        """Those that these prices fire, by arrival; trailing stops have followed them before.

        `worst_first`: only stops, as they stand.
        """
        found: list[Order] = []
        for (side, rising), entries in self._fixed.items():
            price = shown.ask if side is Side.BUY else shown.bid
            if price is not None and not (worst_first and rising is not (side is Side.BUY)):
                found += [order for _, _, order in takewhile(partial(_entry_fires, price), entries)]
        for order in self._trailing.values():
            price = shown.to(order)
            if price is not None and (accepted_before is None or order.accepted_at < accepted_before):
                if not worst_first and follow(order, price):
                    self.changed.add(order.order_ref)
                if fires(order, price):
                    found.append(order)
        return sorted(
            (order for order in found if accepted_before is None or order.accepted_at < accepted_before),
            key=lambda order: order.arrival,
        )

    def next_level(self, price: int, target: int, accepted_before: int, *, worst_first: bool) -> int | None:
        """The first price on the way from `price` (excluded) to `target` that fires something."""
        rising = target > price
        levels = [
            at
            for (side, each_rising), entries in self._fixed.items()
            if each_rising is rising and not (worst_first and rising is not (side is Side.BUY))
            for at in _first_between(entries, price, target, accepted_before)
        ]
        for order in self._trailing.values():
            at = level(order)
            if at is not None and fires_rising(order) is rising and order.accepted_at < accepted_before:
                levels.append(at)
        on_way = [at for at in levels if (price < at <= target if rising else target <= at < price)]
        return min(on_way, default=None) if rising else max(on_way, default=None)


def _entry_fires(price: int, entry: tuple[int, int, Order]) -> bool:
    return fires(entry[2], price)


def _kind(order: Order) -> tuple[Side, bool]:
    return order.side, fires_rising(order)


def _entry(order: Order) -> tuple[int, int, Order]:
    """Sorted so that what fires first comes first; two are never equal in arrival, so orders are not compared."""
    assert order.stop_price is not None, "what waits for a fixed price has one"
    return (order.stop_price if fires_rising(order) else -order.stop_price, order.arrival, order)


def _first_between(
    entries: list[tuple[int, int, Order]], price: int, target: int, accepted_before: int
) -> Iterator[int]:
    for rank, _, order in entries:
        at = abs(rank)
        if (at > target) if target > price else (at < target):
            return
        if order.accepted_at < accepted_before and at != price and (at > price) is (target > price):
            yield at
            return
