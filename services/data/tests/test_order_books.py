"""Order books of a venue that shows its own: followed by checked deltas, and never shown with one missing."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
from fleet_contracts.exchange_connector import Trade
from fleet_contracts.matching_engine import BookDelta, BookLevel, BookSnapshot
from fleet_contracts.order_books import Levels, checksum
from fleet_contracts.topics import MATCHING_ENGINE_MARKET_DATA
from fleet_contracts.vocabulary import Side
from fleet_testkit.eventually import eventually

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
D = Decimal


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

    def checked(bids: Levels, asks: Levels) -> int:
        return checksum(bids, asks, tick=D("0.01"), lot=D(1))

    head: dict[str, Any] = {"symbol": symbol, "venue": "internal", "market_at": AT}
    bids, asks = {D(99): D(3), D(98): D(4), D(97): D(5)}, {D(101): D(6)}
    whole = BookSnapshot(
        **head,
        sequence=11,
        depth=100,
        bids=levels(_99=3, _98=4, _97=5),
        asks=levels(_101=6),
        checksum=checked(bids, asks),
    )
    await tell(whole)
    bids[D(99)] = D(1)
    await tell(BookDelta(**head, sequence=12, bids=levels(_99=1), asks=(), checksum=checked(bids, asks)))
    shown = await eventually(lambda: answers(200))
    if shown["sequence"] == 11:
        shown = await eventually(lambda: _with_sequence(answers, 12))
    assert (shown["bids"], shown["asks"]) == ([["99", "1"], ["98", "4"]], [["101", "6"]])
    await tell(BookDelta(**head, sequence=14, bids=(), asks=(), checksum=checked(bids, asks)))
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
