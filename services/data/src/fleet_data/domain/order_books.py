"""A venue's order book, followed from a snapshot by its deltas, each checked; what does not fit waits for the next one."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from heapq import nlargest, nsmallest
from typing import Final
from zlib import crc32

CHECKED_LEVELS: Final = 10

Levels = dict[Decimal, Decimal]
"""Quantities by price."""


@dataclass(slots=True)
class OrderBook:
    """`sequence` is that of the last delta in it; `is_whole`: no delta is missing."""

    tick: Decimal
    lot: Decimal
    sequence: int = 0
    is_whole: bool = False
    bids: Levels = field(default_factory=dict)
    asks: Levels = field(default_factory=dict)
    market_at: datetime | None = None

    def take_snapshot(self, sequence: int, bids: Levels, asks: Levels, checksum: int, *, market_at: datetime) -> None:
        self.bids, self.asks = bids, asks
        self._stands_at(sequence, checksum, market_at)

    def take_delta(self, sequence: int, bids: Levels, asks: Levels, checksum: int, *, market_at: datetime) -> None:
        """Levels as they are now; quantity 0 takes one away."""
        if not self.is_whole or sequence != self.sequence + 1:
            self.is_whole = False
            return
        for held, changed in ((self.bids, bids), (self.asks, asks)):
            held.update(changed)
            for price in [price for price, quantity in changed.items() if not quantity]:
                del held[price]
        self._stands_at(sequence, checksum, market_at)

    def _stands_at(self, sequence: int, checksum: int, market_at: datetime) -> None:
        self.sequence, self.market_at = sequence, market_at
        self.is_whole = self._checksum() == checksum

    def levels(self) -> tuple[list[tuple[Decimal, Decimal]], list[tuple[Decimal, Decimal]]]:
        """Bids and asks, the best first."""
        return sorted(self.bids.items(), reverse=True), sorted(self.asks.items())

    def _checksum(self) -> int:
        """As the contract of BookSnapshot has it."""
        best = nlargest(CHECKED_LEVELS, self.bids.items()) + nsmallest(CHECKED_LEVELS, self.asks.items())
        text = "".join(f"{int(price / self.tick)}:{int(quantity / self.lot)};" for price, quantity in best)
        return crc32(text.encode())
