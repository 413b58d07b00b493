"""The best prices of venues that show their order books and no quotes."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from fleet_bus import TableView
from fleet_contracts.data import InstrumentDefined
from fleet_contracts.matching_engine import BookDelta, BookSnapshot
from fleet_contracts.order_books import FollowedBook


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


class Books:
    """Of all symbols, so that who begins to watch one need not wait for its next snapshot."""

    def __init__(self, instruments: TableView[InstrumentDefined]) -> None:
        self._instruments = instruments
        self._books: dict[str, dict[str, FollowedBook]] = {}
        self.changed: set[str] = set()
        """Symbols whose tops may be others than when they were asked for last."""

    def take(self, message: BookSnapshot | BookDelta) -> None:
        self._books.setdefault(message.symbol, {}).setdefault(message.venue, FollowedBook()).take(message)
        self.changed.add(message.symbol)

    def tops(self, symbol: str) -> Iterator[tuple[str, BookTop | None]]:
        """Venues and their best prices; None where a delta is missing. The checksum is looked at here and not at every
        delta, thousands of which may come in a second."""
        self.changed.discard(symbol)
        instrument = self._instruments.get(symbol)
        for venue, book in self._books.get(symbol, {}).items():
            if instrument is not None:
                book.check(tick=instrument.tick_size, lot=instrument.lot_size)
            if not book.is_whole or book.market_at is None:
                yield venue, None
                continue
            bid, ask = max(book.bids, default=None), min(book.asks, default=None)
            bid_size, ask_size = (None if bid is None else book.bids[bid]), (None if ask is None else book.asks[ask])
            yield venue, BookTop(symbol, venue, bid, bid_size, ask, ask_size, book.market_at)
