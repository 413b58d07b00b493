"""`market_data` of the venue whose books are ours: its trades, and its best prices as its deltas make them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from defined_instruments import instrument
from fleet_bus.bus import Bus
from fleet_contracts.exchange_connector import Trade
from fleet_contracts.matching_engine import BookDelta, BookLevel, BookSnapshot
from fleet_contracts.order_books import checksum
from fleet_contracts.topics import DATA_INSTRUMENTS, MATCHING_ENGINE_MARKET_DATA
from fleet_testkit.eventually import eventually
from socket_clients import Client, Trader, connected

AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
Side = dict[str, str]


@dataclass
class Venue:
    """What matching-engine says of one book. `tick` and `lot` are the instrument's."""

    producer: Any
    symbol: str
    tick: Decimal
    lot: Decimal
    sequence: int = 0
    bids: dict[Decimal, Decimal] = field(default_factory=dict)
    asks: dict[Decimal, Decimal] = field(default_factory=dict)

    async def change(self, *, bids: Side | None = None, asks: Side | None = None, is_lost: bool = False) -> None:
        """A delta with the levels as they are now; one that is lost never comes."""
        self.sequence += 1
        changed = [{Decimal(price): Decimal(size) for price, size in (side or {}).items()} for side in (bids, asks)]
        for held, new in zip((self.bids, self.asks), changed, strict=True):
            held.update(new)
            for price in [price for price, size in held.items() if not size]:
                del held[price]
        if not is_lost:
            await self._say(BookDelta(**self._told(*changed)))

    async def show(self) -> None:
        await self._say(BookSnapshot(**self._told(self.bids, self.asks), depth=100))

    async def trade(self, price: str) -> None:
        print_of = Trade(
            symbol=self.symbol,
            venue="internal",
            venue_trade_id=f"{self.symbol}-1",
            price=Decimal(price),
            quantity=Decimal(1),
            market_at=AT,
        )
        await self._say(print_of)

    def _told(self, bids: dict[Decimal, Decimal], asks: dict[Decimal, Decimal]) -> dict[str, Any]:
        return {
            "symbol": self.symbol,
            "venue": "internal",
            "sequence": self.sequence,
            "checksum": checksum(self.bids, self.asks, tick=self.tick, lot=self.lot),
            "bids": tuple(BookLevel(price=price, quantity=size) for price, size in bids.items()),
            "asks": tuple(BookLevel(price=price, quantity=size) for price, size in asks.items()),
            # Journals tell milliseconds: many commands have the same.
            "market_at": AT,
        }

    async def _say(self, message: Any) -> None:
        await self.producer.send([(self.symbol, message)], market_at=AT)


@pytest.fixture
async def venue(fleet: Any, trader: Trader) -> AsyncIterator[Venue]:
    """A book of a symbol that the gateway knows."""
    symbol = f"B{uuid4().hex[:6].upper()}/USD"
    defined = instrument(symbol)
    async with fleet.bus.transaction() as tx:
        tx.publish(DATA_INSTRUMENTS, symbol, defined)

    async def is_known() -> bool:
        async with connected(fleet, trader.user.token) as client:
            await client.say(method="subscribe", params={"channel": "market_data", "symbols": [symbol]}, req_id=1)
            return bool((await client.hear())["success"])

    await eventually(is_known)
    engine = Bus(fleet.settings.model_copy(update={"service": "matching-engine"}), None)
    async with engine.direct(MATCHING_ENGINE_MARKET_DATA, 1) as producer:
        yield Venue(producer, symbol, defined.tick_size, defined.lot_size)


async def told(client: Client) -> Any:
    """The next quote that is told."""
    (item,) = (await client.hear())["data"]
    assert (item["type"], item["venue"]) == ("quote", "internal")
    return item


def prices(quote: Any) -> list[str | None]:
    return [quote[name] for name in ("bid", "bid_size", "ask", "ask_size")]


async def test_the_best_prices_of_a_book_and_its_trades(fleet: Any, trader: Trader, venue: Venue) -> None:
    """shown → its best; one side empty → null; a level below the best → nothing; a trade → the trade, then as `last`"""
    async with connected(fleet, trader.user.token) as client:
        assert await client.subscribe("market_data", symbols=[venue.symbol]) == []
        await venue.show()
        await venue.change(bids={"100": "2"})
        first = await told(client)
        assert (prices(first), first["stale"], first["last"]) == (["100", "2", None, None], False, None)
        await venue.change(bids={"99": "5"})
        await venue.trade("100")
        (trade,) = (await client.hear())["data"]
        assert (trade["type"], trade["venue"], trade["price"]) == ("trade", "internal", "100")
        await venue.change(bids={"100": "0"}, asks={"101": "7"})
        second = await told(client)
        assert (prices(second), second["last"]) == (["99", "5", "101", "7"], "100")
        assert second["version"] > first["version"], "though both are of one millisecond"
        async with connected(fleet, trader.user.token) as late:
            assert await late.subscribe("market_data", symbols=[venue.symbol]) == [second]


async def test_a_book_of_which_a_delta_is_missing_is_stale_until_it_is_shown(
    fleet: Any, trader: Trader, venue: Venue
) -> None:
    """whole → a delta is lost, the next comes: stale → another: nothing → shown whole: as it is now"""
    async with connected(fleet, trader.user.token) as client:
        await client.subscribe("market_data", symbols=[venue.symbol])
        await venue.show()
        await venue.change(bids={"100": "2"}, asks={"101": "7"})
        whole = await told(client)
        await venue.change(bids={"100": "1"}, is_lost=True)
        await venue.change(asks={"101": "3"})
        stale = await told(client)
        assert stale == whole | {"stale": True, "version": whole["version"] + 1}
        await venue.change(asks={"101": "4"})
        await venue.show()
        again = await told(client)
        assert (prices(again), again["stale"]) == (["100", "1", "101", "4"], False)
        assert again["version"] > stale["version"]


async def test_a_book_whose_checksum_is_wrong_is_not_told(fleet: Any, trader: Trader, venue: Venue) -> None:
    async with connected(fleet, trader.user.token) as client:
        await client.subscribe("market_data", symbols=[venue.symbol])
        await venue.show()
        await venue.change(bids={"100": "2"})
        right = await told(client)
        venue.bids[Decimal(98)] = Decimal(1)  # it has what no delta told
        await venue.change(bids={"99": "5"})
        assert await told(client) == right | {"stale": True, "version": right["version"] + 1}
        await venue.show()
        assert prices(await told(client)) == ["100", "2", None, None]


async def test_many_changes_within_a_moment_are_told_as_what_they_come_to(
    fleet: Any, trader: Trader, venue: Venue
) -> None:
    async with connected(fleet, trader.user.token) as client:
        await client.subscribe("market_data", symbols=[venue.symbol])
        await venue.show()
        begun = fleet.clock.now()
        for size in range(1, 101):
            await venue.change(bids={"100": str(size)})
        sizes: list[str] = []
        while sizes[-1:] != ["100"]:
            sizes.append((await told(client))["bid_size"])
        took = fleet.clock.now() - begun
        assert len(sizes) <= took / timedelta(seconds=1) * 10 + 1
