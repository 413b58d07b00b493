"""The edge as a newcomer meets it: pages, documents, health, and what is not built."""

import asyncio
from decimal import Decimal

import aiohttp
import pytest
from fleet_sdk.problems import SocketClosed
from fleet_testkit.eventually import eventually
from whole_fleet import User, WholeFleet, until_priced

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]


async def test_pages_and_documents_are_served(fleet: WholeFleet) -> None:
    async with aiohttp.ClientSession(fleet.url) as session:
        for path in ("/", "/docs"):
            async with session.get(path) as response:
                assert response.status == 200
                text = await response.text()
                assert "https://" not in text.replace("https://www.w3.org", "") or path == "/"
        async with session.get("/api/v1/openapi.json") as response:
            document = await response.json()
    for path in ("/api/v1/orders", "/api/v1/auth/login", "/api/v1/markets", "/api/v1/deployments", "/api/v1/exchanges"):
        assert path in document["paths"], path
    assert not [path for path in document["paths"] if "/internal" in path]


async def test_what_is_not_there_is_404_and_what_is_internal_is_not_there(fleet: WholeFleet, user: User) -> None:
    headers = await user.client._authorization()
    async with aiohttp.ClientSession(fleet.url, headers=headers) as session:
        for path in ("/api/v1/nothing", "/api/v1/backtests", "/internal/rest", "/api/v1/internal/rest", "/metrics"):
            async with session.get(path) as response:
                assert response.status == 404, path
                assert (await response.json(content_type=None))["code"] == "not_found"


async def test_markets_are_labelled_and_priced(user: User) -> None:
    """each says what it is, that its prices are made up, where it is traded and at what price, inside bid and ask"""
    symbols = {"AAPL/USD", "FB/USD", "GOOG/USD", "IBM/USD", "MSFT/USD", "BTC/USD", "ETH/USD"}
    for symbol in symbols:
        await until_priced(user.client, symbol)
    markets = {market["symbol"]: market for market in await user.client.markets()}
    assert set(markets) == symbols
    for symbol, market in markets.items():
        assert market["simulated"] is True, market
        assert market["name"] and f"{market['base']}/{market['quote']}" == symbol
        assert market["asset_class"] == ("crypto" if market["base"] in {"BTC", "ETH"} else "stock")
        assert set(market["venues"]) == {"paper", "internal"} and market["reference_venue"] == "paper"
        assert Decimal(market["last_price"]) > 0, market
        ticker = await user.client.ticker(symbol)
        bid, last, ask = (Decimal(ticker[name]) for name in ("bid", "last", "ask"))
        assert 0 < bid < ask and abs(last - Decimal(market["last_price"])) < last / 10, (market, ticker)


async def test_logout_revokes_the_token_and_closes_the_sockets(fleet: WholeFleet, user: User) -> None:
    headers = await user.client._authorization()
    async with user.client.socket() as socket:
        await socket.subscribe("order_updates")
        await user.client.logout()
        with pytest.raises(SocketClosed) as closed:
            async with asyncio.timeout(5):
                async for _ in socket:
                    pass
        assert closed.value.code == 4401
    async with aiohttp.ClientSession(fleet.url, headers=headers) as session:

        async def refused() -> bool:
            async with session.get("/api/v1/auth/me") as response:
                return response.status == 401

        await eventually(refused, timeout_s=5)
