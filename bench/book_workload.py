"""The operations that `make bench --only book` replays, and what they must come to. Seeded: the same file everywhere.

60 % passive limit orders (mid 10,000 ± 1 to `spread`, 1 to 100 lots), 35 % cancels of a random live order, 5 % takes that
cross every level (1 to 400 lots, at most what is there). Every operation is possible, so that no peer needs error paths.
Rows of little-endian int64: op (0 add, 1 cancel, 2 take), id, side (0 buy, 1 sell), price, quantity.
"""

from __future__ import annotations

import heapq
from array import array
from collections import deque
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

ADD, CANCEL, TAKE = range(3)


class Market:
    """A third matching of its own, so that the answer is not the one of the book that is measured."""

    def __init__(self) -> None:
        self.orders: dict[int, list[int]] = {}  # side, price, quantity
        self.live: list[int] = []  # in no order: what is taken out is replaced by the last
        self._places: dict[int, int] = {}
        self._levels: tuple[dict[int, deque[int]], dict[int, deque[int]]] = ({}, {})
        self._best: tuple[list[int], list[int]] = ([], [])
        self.quantity = [0, 0]
        self.fills = self.volume = self.notional = 0

    def add(self, order_id: int, side: int, price: int, quantity: int) -> None:
        self.orders[order_id] = [side, price, quantity]
        self._places[order_id] = len(self.live)
        self.live.append(order_id)
        self.quantity[side] += quantity
        if price not in self._levels[side]:
            self._levels[side][price] = deque()
            heapq.heappush(self._best[side], -price if side == 0 else price)
        self._levels[side][price].append(order_id)

    def remove(self, order_id: int) -> None:
        side, _, quantity = self.orders.pop(order_id)
        self.quantity[side] -= quantity
        place, last = self._places.pop(order_id), self.live.pop()
        if last != order_id:
            self.live[place] = last
            self._places[last] = place

    def best(self, side: int) -> int:
        """Levels whose orders have all gone are dropped on the way."""
        while True:
            price = abs(self._best[side][0])
            level = self._levels[side][price]
            while level and level[0] not in self.orders:
                level.popleft()
            if level:
                return price
            heapq.heappop(self._best[side])
            del self._levels[side][price]

    def take(self, side: int, quantity: int) -> None:
        while quantity:
            price = self.best(1 - side)
            maker = self._levels[1 - side][price][0]
            order = self.orders[maker]
            traded = min(quantity, order[2])
            quantity -= traded
            order[2] -= traded
            self.quantity[1 - side] -= traded
            self.fills += 1
            self.volume += traded
            self.notional += traded * price
            if not order[2]:
                self.remove(maker)


def generate(count: int, *, mid: int = 10_000, spread: int = 50, seed: int = 7) -> tuple[array[int], dict[str, Any]]:
    """The rows, and what they come to."""
    draw, market, rows = Random(seed).random, Market(), array("q")  # noqa: S311  a workload, no secret
    for order_id in range(1, count + 1):
        kind = draw()
        if kind < 0.35 and market.live:
            chosen = market.live[int(draw() * len(market.live))]
            rows.extend((CANCEL, chosen, *market.orders[chosen]))
            market.remove(chosen)
            continue
        if kind >= 0.95:
            side = int(draw() * 2)
            quantity = min(1 + int(draw() * 400), market.quantity[1 - side])
            if quantity:
                price = mid + spread + 10 if side == 0 else mid - spread - 10
                rows.extend((TAKE, order_id, side, price, quantity))
                market.take(side, quantity)
                continue
        side, distance = int(draw() * 2), 1 + int(draw() * spread)
        price, quantity = mid - distance if side == 0 else mid + distance, 1 + int(draw() * 100)
        rows.extend((ADD, order_id, side, price, quantity))
        market.add(order_id, side, price, quantity)
    answer = {
        "ops": count,
        "fills": market.fills,
        "volume": market.volume,
        "notional": market.notional,
        "best_bid": market.best(0),
        "best_ask": market.best(1),
        "live": len(market.orders),
    }
    return rows, answer


def with_sparse_ids(rows: array[int]) -> NDArray[np.int64]:
    """The same with ids from all over the 64 bits (the finalizer of splitmix64, which meets each number once)."""
    cells = np.array(rows, dtype=np.int64).reshape(-1, 5)
    mixed = cells[:, 1].astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    cells[:, 1] = (mixed ^ mixed >> np.uint64(31)).view(np.int64)
    return cells


def write(file: Path, rows: array[int] | NDArray[np.int64]) -> Path:
    np.array(rows, dtype="<i8").tofile(file)
    return file
