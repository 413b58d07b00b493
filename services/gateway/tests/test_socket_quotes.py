"""`market_data` of a quote whose source falls silent: who watches it is told that it must not be trusted any more."""

import contextlib
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from defined_instruments import instrument
from fleet_bus.bus import Bus
from fleet_contracts.data import BestQuote
from fleet_contracts.exchange_connector import Quote
from fleet_contracts.topics import DATA_INSTRUMENTS, DATA_QUOTES, EXCHANGE_CONNECTOR_MARKET_DATA
from fleet_testkit.eventually import eventually
from socket_clients import Client, Trader, connected

TRUSTED_FOR = timedelta(seconds=60)


def best(symbol: str, at: datetime, bid: str = "100", trusted_for: timedelta | None = TRUSTED_FOR) -> BestQuote:
    return BestQuote(
        symbol=symbol,
        venue="paper",
        bid=Decimal(bid),
        bid_size=Decimal(1),
        ask=Decimal("200.5"),
        ask_size=Decimal(2),
        last=Decimal(150),
        market_at=at,
        stale_after=None if trusted_for is None else at + trusted_for,
    )


async def tell_best(fleet: Any, quote: BestQuote) -> None:
    async with fleet.bus.transaction() as tx:
        tx.publish(DATA_QUOTES, quote.symbol, quote, market_at=quote.market_at)


async def tell_of_connector(fleet: Any, symbol: str, at: datetime, bid: str) -> None:
    quote = best(symbol, at, bid)
    raw = {name: getattr(quote, name) for name in ("symbol", "venue", "bid", "bid_size", "ask", "ask_size")}
    connector = Bus(fleet.settings.model_copy(update={"service": "exchange-connector"}), None)
    async with connector.direct(EXCHANGE_CONNECTOR_MARKET_DATA, 1) as producer:
        await producer.send([(symbol, Quote(**raw, market_at=at))], market_at=at)


@contextlib.asynccontextmanager
async def later(fleet: Any, by: timedelta) -> AsyncIterator[None]:
    fleet.clock.shift += by
    try:
        yield
    finally:
        fleet.clock.shift -= by


async def watch(client: Client, symbol: str) -> Any:
    """The quote of the snapshot, None if it shows none."""
    shown = await client.subscribe("market_data", symbols=[symbol])
    return shown[0] if shown else None


async def quiet(client: Client) -> None:
    """Nothing is told: of two heartbeats, each after a second without anything, one at least comes after a sweep."""
    for _ in range(2):
        assert await client.hear(heartbeat=True) == {"channel": "heartbeat"}


async def known(fleet: Any, trader: Trader, quote: BestQuote) -> None:
    """Once a socket that opens now is shown it."""
    async with fleet.bus.transaction() as tx:
        tx.publish(DATA_INSTRUMENTS, quote.symbol, instrument(quote.symbol))
    await tell_best(fleet, quote)

    async def is_shown() -> bool:
        async with connected(fleet, trader.user.token) as client:
            await client.say(method="subscribe", params={"channel": "market_data", "symbols": [quote.symbol]}, req_id=1)
            if not (await client.hear())["success"]:
                return False
            return bool((await client.hear())["data"])

    await eventually(is_shown)


async def test_who_watches_is_told_once_that_a_quote_has_become_stale(fleet: Any, trader: Trader) -> None:
    """fresh → its time is over: the same, stale, once → who comes now sees that too → a new quote: fresh again"""
    symbol, at = "SIL/USD", fleet.clock.now()
    await known(fleet, trader, best(symbol, at))
    async with connected(fleet, trader.user.token) as client, connected(fleet, trader.user.token) as other:
        fresh = await watch(client, symbol)
        assert fresh["stale"] is False
        assert (await watch(other, symbol)) == fresh
        async with later(fleet, TRUSTED_FOR):
            for one in (client, other):
                (stale,) = (await one.hear())["data"]
                assert stale == fresh | {"stale": True, "version": fresh["version"] + 1}
            await quiet(client)
            async with connected(fleet, trader.user.token) as late:
                assert await watch(late, symbol) == stale
                await quiet(late)
            await tell_best(fleet, best(symbol, fleet.clock.now(), bid="101"))
            for one in (client, other):
                (update,) = (await one.hear())["data"]
                assert (update["bid"], update["stale"]) == ("101", False)
                assert update["version"] > stale["version"]


async def test_the_first_who_watches_a_stale_quote_is_told_once(fleet: Any, trader: Trader) -> None:
    """It has become so while nobody watched."""
    symbol = "OLD/USD"
    await known(fleet, trader, best(symbol, fleet.clock.now()))
    async with later(fleet, TRUSTED_FOR), connected(fleet, trader.user.token) as client:
        assert (await watch(client, symbol))["stale"] is True
        await quiet(client)


async def test_a_quote_without_an_end_does_not_become_stale(fleet: Any, trader: Trader) -> None:
    """A replay's market stands between its steps."""
    symbol = "STANDS/USD"
    await known(fleet, trader, best(symbol, fleet.clock.now(), trusted_for=None))
    async with connected(fleet, trader.user.token) as client:
        assert (await watch(client, symbol))["stale"] is False
        async with later(fleet, TRUSTED_FOR * 4):
            await quiet(client)


async def test_the_connectors_quote_is_trusted_as_long_as_datas(fleet: Any, trader: Trader) -> None:
    """data's and later the connector's → data's time is over, the connector's is not → that too, though data tells nothing"""
    symbol, at = "CON/USD", fleet.clock.now()
    await known(fleet, trader, best(symbol, at))
    async with connected(fleet, trader.user.token) as client:
        await watch(client, symbol)
        await tell_of_connector(fleet, symbol, at + TRUSTED_FOR / 2, bid="102")
        (update,) = (await client.hear())["data"]
        assert (update["bid"], update["stale"]) == ("102", False)
        # Who comes now sees what those before see, and not what data has told last.
        async with connected(fleet, trader.user.token) as late:
            assert await watch(late, symbol) == update
        async with later(fleet, TRUSTED_FOR):
            await quiet(client)
        async with later(fleet, TRUSTED_FOR * 2):
            (stale,) = (await client.hear())["data"]
            assert stale == update | {"stale": True, "version": update["version"] + 1}


async def test_a_quote_that_comes_too_late_is_stale_from_the_first(fleet: Any, trader: Trader) -> None:
    symbol, at = "LATE/USD", fleet.clock.now()
    await known(fleet, trader, best(symbol, at - 3 * TRUSTED_FOR))
    async with connected(fleet, trader.user.token) as client:
        await watch(client, symbol)
        await tell_of_connector(fleet, symbol, at - 2 * TRUSTED_FOR, bid="103")
        (update,) = (await client.hear())["data"]
        assert (update["bid"], update["stale"]) == ("103", True)
        await quiet(client)
