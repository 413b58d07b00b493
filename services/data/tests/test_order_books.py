"""Order books of a venue that shows its own: followed by checked deltas, and never shown with one missing."""

from datetime import UTC, datetime
from decimal import Decimal
from random import Random
from typing import Any
from zlib import crc32

import msgspec
from fleet_contracts.exchange_connector import Trade
from fleet_contracts.matching_engine import BookDelta, BookLevel, BookSnapshot
from fleet_contracts.topics import MATCHING_ENGINE_MARKET_DATA
from fleet_contracts.vocabulary import Side
from fleet_data.domain.order_books import OrderBook
from fleet_testkit.eventually import eventually
from hypothesis import given
from hypothesis import strategies as st

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
D = Decimal
Side_ = dict[Decimal, Decimal]


def checksum(bids: Side_, asks: Side_) -> int:
    """For a tick of 0.01 and a lot of 1."""
    best = sorted(bids.items(), reverse=True)[:10] + sorted(asks.items())[:10]
    return crc32("".join(f"{int(price * 100)}:{int(quantity)};" for price, quantity in best).encode())


@given(st.randoms(use_true_random=True), st.integers(1, 40))
def test_a_followed_book_is_the_venues_and_a_gap_is_noticed(chance: Random, steps: int) -> None:
    theirs: tuple[Side_, Side_] = ({D(99): D(1)}, {D(101): D(2)})
    book = OrderBook(D("0.01"), D(1))
    book.take_delta(7, {}, {}, 0, market_at=AT)
    assert not book.is_whole
    book.take_snapshot(7, dict(theirs[0]), dict(theirs[1]), checksum(*theirs), market_at=AT)
    missed = chance.randint(8, 7 + 2 * steps)
    for sequence in range(8, 8 + steps):
        changed: tuple[Side_, Side_] = ({}, {})
        for side, low in ((0, 90), (1, 101)):
            for price in chance.sample(range(low, low + 10), 2):
                changed[side][D(price)] = theirs[side][D(price)] = D(chance.randint(0, 3))
                if not theirs[side][D(price)]:
                    del theirs[side][D(price)]
        if sequence != missed:
            book.take_delta(sequence, *changed, checksum(*theirs), market_at=AT)
        assert book.is_whole is (sequence <= missed), "a gap shows with the next delta"
    book.take_snapshot(99, dict(theirs[0]), dict(theirs[1]), checksum(*theirs), market_at=AT)
    assert (book.is_whole, book.bids, book.asks) == (True, *theirs)
    book.take_delta(100, {D(98): D(5)}, {}, checksum(*theirs), market_at=AT)
    assert not book.is_whole, "the checksum is that of another book"


def levels(**prices: int) -> tuple[BookLevel, ...]:
    return tuple(BookLevel(price=D(name[1:]), quantity=D(quantity)) for name, quantity in prices.items())


async def test_the_internal_venues_book_and_trades_are_shown(data: Any) -> None:
    """no snapshot -> 503 -> snapshot and delta -> shown -> a delta missing -> 503 -> snapshot -> shown"""
    (symbol,) = await data.define("BOOK")
    path = f"/{symbol.replace('/', '-')}"
    assert (await data.get(f"{path}/order-book"))[0] == 404
    await data.others.say(data.instrument(symbol, venue="internal", tick_size="0.01"))

    async def answers(status: int) -> Any:
        found, body = await data.get(f"{path}/order-book?depth=2")
        return body if found == status else None

    assert (await eventually(lambda: answers(503)))["code"] == "book_not_ready"

    async def tell(message: Any) -> None:
        await data.others.say((MATCHING_ENGINE_MARKET_DATA, symbol, message))

    head: dict[str, Any] = {"symbol": symbol, "venue": "internal", "market_at": AT}
    bids, asks = {D(99): D(3), D(98): D(4), D(97): D(5)}, {D(101): D(6)}
    whole = BookSnapshot(
        **head,
        sequence=11,
        depth=100,
        bids=levels(_99=3, _98=4, _97=5),
        asks=levels(_101=6),
        checksum=checksum(bids, asks),
    )
    await tell(whole)
    bids[D(99)] = D(1)
    await tell(BookDelta(**head, sequence=12, bids=levels(_99=1), asks=(), checksum=checksum(bids, asks)))
    shown = await eventually(lambda: answers(200))
    if shown["sequence"] == 11:
        shown = await eventually(lambda: _with_sequence(answers, 12))
    assert (shown["bids"], shown["asks"]) == ([["99", "1"], ["98", "4"]], [["101", "6"]])
    await tell(BookDelta(**head, sequence=14, bids=(), asks=(), checksum=checksum(bids, asks)))
    assert (await eventually(lambda: answers(503)))["code"] == "book_not_ready"
    await tell(msgspec.structs.replace(whole, sequence=15))
    assert (await eventually(lambda: answers(200)))["bids"][0] == ["99", "3"]
    trade = Trade(
        **head,
        venue_trade_id=f"{symbol}-1",
        price=D(99),
        quantity=D(2),
        aggressor=Side.SELL,
    )
    await tell(trade)

    async def trades() -> Any:
        return (await data.get(f"{path}/trades?venue=internal"))[1]["data"]

    assert [(one["trade_id"], one["side"]) for one in await eventually(trades)] == [(f"{symbol}-1", "sell")]
    assert (await data.get(f"{path}/trades"))[1]["data"] == [], "the reference venue's are others"


async def _with_sequence(answers: Any, sequence: int) -> Any:
    shown = await answers(200)
    return shown if shown is not None and shown["sequence"] == sequence else None
