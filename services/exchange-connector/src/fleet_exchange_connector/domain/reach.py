"""Which quotes do something to the orders of a book: a look at the market is needed at those, and at no others."""

from collections.abc import Iterable

import fleet_simulator as core
import numpy as np
from fleet_simulator.triggers import PPM, fires_rising
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_ANY = 1 << 62


class _Side:
    """Of the orders that take from one side of the market: they wait for its price at `most`, or at `least`."""

    __slots__ = ("least", "most", "trailing")

    def __init__(self) -> None:
        self.most, self.least = -_ANY, _ANY
        self.trailing: list[core.Order] = []

    def add(self, order: core.Order) -> None:
        if order.phase is core.Phase.TRIGGER:
            if order.type is core.OrderType.TRAILING_STOP:
                self.trailing.append(order)
            elif fires_rising(order):
                self.least = min(self.least, order.stop_price or 0)
            else:
                self.most = max(self.most, order.stop_price or 0)
        elif order.limit_price is None or order.taking or order.phase is core.Phase.AUCTION:
            self.most = _ANY
        elif order.is_buy:
            self.most = max(self.most, order.limit_price)
        else:
            self.least = min(self.least, order.limit_price)

    def touched(self, prices: Ints) -> Bools:
        found: Bools = (prices <= self.most) | (prices >= self.least)
        for order in self.trailing:
            found |= _moves(order, prices) | _fires(order, prices)
        return found

    def fired(self, prices: Ints) -> Bools:
        found: Bools = (prices <= self.most) | (prices >= self.least)
        for order in self.trailing:
            found |= _fires(order, prices)
        return found


class Reach:
    """Of the orders of a market that are nearest to its price, as they are now."""

    def __init__(self, nearest: Iterable[core.Order]) -> None:
        self._bid, self._ask = _Side(), _Side()
        for order in nearest:
            (self._ask if order.is_buy else self._bid).add(order)

    @property
    def has_trailing(self) -> bool:
        return bool(self._bid.trailing or self._ask.trailing)

    def touched(self, bid: Ints, ask: Ints) -> Bools:
        """Which of these consecutive quotes change something. It holds up to the first, which may change the rest."""
        return self._bid.touched(bid) | self._ask.touched(ask)

    def fired(self, bid: Ints, ask: Ints) -> Bools:
        """The same, but for those that only move a trailing stop along: what they do follows from the quotes later."""
        return self._bid.fired(bid) | self._ask.fired(ask)


def _moves(order: core.Order, prices: Ints) -> Bools:
    if order.mark is None:
        return np.ones(len(prices), dtype=np.bool_)
    return prices < order.mark if order.is_buy else prices > order.mark


def _fires(order: core.Order, prices: Ints) -> Bools:
    """With the mark following each of them, as `fleet_simulator.triggers` has it."""
    best = np.minimum.accumulate(prices) if order.is_buy else np.maximum.accumulate(prices)
    if order.mark is not None:
        best = np.minimum(best, order.mark) if order.is_buy else np.maximum(best, order.mark)
    trail = order.trail_amount if order.trail_amount is not None else -(-best * (order.trail_ppm or 0) // PPM)
    return prices >= best + trail if order.is_buy else prices <= np.maximum(best - trail, 1)
