"""What matching-engine says of the books of the `internal` venue; its reports are venue messages."""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from .message import Message, Value


class MatchingEngineMessage(Message, frozen=True, kw_only=True):
    owner: ClassVar[str] = "matching-engine"


class BookLevel(Value, frozen=True, kw_only=True):
    """All that rests at one price; quantity 0 where nothing does any more."""

    price: Decimal
    quantity: Decimal


class BookDelta(MatchingEngineMessage, frozen=True, kw_only=True):
    """The levels that one cause changed, as they are now.

    `sequence` counts a symbol's deltas without a gap; who misses one waits for the next BookSnapshot. `checksum` is that
    of the book after it, as in BookSnapshot."""

    symbol: str
    venue: str
    sequence: int
    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]
    checksum: int
    market_at: datetime


class BookSnapshot(MatchingEngineMessage, frozen=True, kw_only=True):
    """The best levels of a side each (`depth` of them at most), the best first, as they are after delta `sequence`.

    `checksum`: CRC-32 of the ten best bids and then the ten best asks, each as `price:quantity;`, in ticks and lots of the
    instrument. Levels beyond `depth` come to be known as deltas change them."""

    symbol: str
    venue: str
    sequence: int
    depth: int
    bids: tuple[BookLevel, ...]
    asks: tuple[BookLevel, ...]
    checksum: int
    market_at: datetime
