"""The best prices of venues that show their order books and no quotes: each book is followed from a snapshot by its deltas."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from heapq import nlargest, nsmallest
from zlib import crc32

from fleet_bus import TableView
from fleet_contracts.data import InstrumentDefined
from fleet_contracts.matching_engine import BookDelta, BookLevel, BookSnapshot

CHECKED_LEVELS = 10
"""Of each side, by the contract of BookSnapshot."""


@dataclass(frozen=True, slots=True)
class BookTop:
    """The best prices with what rests there; None where nothing does."""

    symbol: str
    venue: str
    bid: Decimal | None
    bid_size: Decimal | None
    ask: Decimal | None
    ask_size: Decimal | None
    market_at: datetime

    @property
    def prices(self) -> tuple[Decimal | None, ...]:
        return self.bid, self.bid_size, self.ask, self.ask_size


@dataclass(slots=True)
class _Book:
    """`is_whole`: no delta is missing. What is not whole waits for the next snapshot."""

    sequence: int = 0
    is_whole: bool = False
    checksum: int = 0
    market_at: datetime | None = None
    bids: dict[Decimal, Decimal] = field(default_factory=dict)
    asks: dict[Decimal, Decimal] = field(default_factory=dict)

    def take(self, message: BookSnapshot | BookDelta) -> None:
        if isinstance(message, BookSnapshot):
            self.bids, self.asks, self.is_whole = {}, {}, True
        elif not self.is_whole or message.sequence != self.sequence + 1:
            self.is_whole = False
            return
        _lay(self.bids, message.bids)
        _lay(self.asks, message.asks)
        self.sequence, self.checksum, self.market_at = message.sequence, message.checksum, message.market_at

    def is_right(self, tick: Decimal, lot: Decimal) -> bool:
        best = nlargest(CHECKED_LEVELS, self.bids.items()) + nsmallest(CHECKED_LEVELS, self.asks.items())
        text = "".join(f"{int(price / tick)}:{int(quantity / lot)};" for price, quantity in best)
        return crc32(text.encode()) == self.checksum


class Books:
    """Of all symbols, so that who begins to watch one need not wait for its next snapshot."""

    def __init__(self, instruments: TableView[InstrumentDefined]) -> None:
        self._instruments = instruments
        self._books: dict[str, dict[str, _Book]] = {}
        self.changed: set[str] = set()
        """Symbols whose tops may be others than when they were asked for last."""

    def take(self, message: BookSnapshot | BookDelta) -> None:
        self._books.setdefault(message.symbol, {}).setdefault(message.venue, _Book()).take(message)
        self.changed.add(message.symbol)

    def tops(self, symbol: str) -> Iterator[tuple[str, BookTop | None]]:
        """Venues and their best prices; None where a delta is missing. The checksum is looked at here and not at every
        delta, thousands of which may come in a second."""
        self.changed.discard(symbol)
        instrument = self._instruments.get(symbol)
        for venue, book in self._books.get(symbol, {}).items():
            if book.is_whole and instrument is not None:
                book.is_whole = book.is_right(instrument.tick_size, instrument.lot_size)
            if not book.is_whole or book.market_at is None:
                yield venue, None
                continue
            bid, ask = max(book.bids, default=None), min(book.asks, default=None)
            bid_size, ask_size = (None if bid is None else book.bids[bid]), (None if ask is None else book.asks[ask])
            yield venue, BookTop(symbol, venue, bid, bid_size, ask, ask_size, book.market_at)


def _lay(levels: dict[Decimal, Decimal], changed: tuple[BookLevel, ...]) -> None:
    """Levels as they are now; quantity 0 takes one away."""
    for level in changed:
        if level.quantity:
            levels[level.price] = level.quantity
        else:
            levels.pop(level.price, None)
