"""A venue's book as its readers keep it: followed by checked deltas, and never whole with one missing."""

from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any
from zlib import crc32

from fleet_contracts.matching_engine import BookDelta, BookLevel, BookSnapshot
from fleet_contracts.order_books import FollowedBook, Levels
from hypothesis import given
from hypothesis import strategies as st

D = Decimal
Sides = tuple[Levels, Levels]


def snapshot(sequence: int, book: Sides) -> BookSnapshot:
    return BookSnapshot(**_told(sequence, book, book), depth=100)


def delta(sequence: int, changed: Sides, *, after: Sides) -> BookDelta:
    return BookDelta(**_told(sequence, changed, after))


def _told(sequence: int, sides: Sides, book: Sides) -> dict[str, Any]:
    bids, asks = (tuple(BookLevel(price=price, quantity=size) for price, size in side.items()) for side in sides)
    best = sorted(book[0].items(), reverse=True)[:10] + sorted(book[1].items())[:10]
    text = "".join(f"{int(price * 100)}:{int(size)};" for price, size in best)
    return {
        "symbol": "AAPL/USD",
        "venue": "internal",
        "sequence": sequence,
        "bids": bids,
        "asks": asks,
        "checksum": crc32(text.encode()),
        "market_at": datetime(2026, 1, 5, 15, tzinfo=UTC),
    }


def take(book: FollowedBook, message: BookSnapshot | BookDelta) -> bool:
    book.take(message)
    return is_right(book)


def is_right(book: FollowedBook) -> bool:
    book.check(tick=D("0.01"), lot=D(1))
    return book.is_whole


@given(st.randoms(use_true_random=True), st.integers(1, 40))
def test_a_followed_book_is_the_venues_and_a_gap_is_noticed(chance: Random, steps: int) -> None:
    theirs: Sides = ({D(99): D(1)}, {D(101): D(2)})
    book = FollowedBook()
    assert not take(book, delta(7, ({}, {}), after=theirs)), "nothing to begin with"
    assert take(book, snapshot(7, theirs))
    missed = chance.randint(8, 7 + 2 * steps)
    for sequence in range(8, 8 + steps):
        changed: Sides = ({}, {})
        for side, low in ((0, 85), (1, 101)):
            for price in chance.sample(range(low, low + 15), 3):
                changed[side][D(price)] = theirs[side][D(price)] = D(chance.randint(0, 3))
                if not theirs[side][D(price)]:
                    del theirs[side][D(price)]
        if sequence != missed:
            take(book, delta(sequence, changed, after=theirs))
        assert book.is_whole is (sequence <= missed), "a gap shows with the next delta"
        assert (book.bids, book.asks) == theirs or sequence >= missed
    assert take(book, snapshot(99, theirs))
    assert (book.bids, book.asks) == theirs
    assert not take(book, delta(100, ({D(98): D(5)}, {}), after=({}, {}))), "the checksum is that of another book"


def test_a_checksum_is_looked_at_when_it_is_asked_for_and_wrong_for_good() -> None:
    """a delta that does not fit its checksum -> whole while nobody looks -> looked at: not whole -> nor by the next"""
    book, theirs = FollowedBook(), ({D(99): D(1)}, {D(101): D(2)})
    assert take(book, snapshot(7, theirs))
    book.take(delta(8, ({D(98): D(5)}, {}), after=theirs))
    assert book.is_whole
    assert not is_right(book)
    assert not take(book, delta(9, ({D(98): D(0)}, {}), after=theirs))
