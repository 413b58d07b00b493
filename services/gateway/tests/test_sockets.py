"""`/ws`: snapshots, updates that are newer, gapless sequences, and the reasons for which a socket is closed."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
from fleet_bus.bus import Bus
from fleet_contracts import trading
from fleet_contracts.data import BarClosed, BestQuote, InstrumentDefined
from fleet_contracts.exchange_connector import BarValues, Quote, Trade
from fleet_contracts.topics import (
    DATA_BARS,
    DATA_INSTRUMENTS,
    DATA_QUOTES,
    EXCHANGE_CONNECTOR_MARKET_DATA,
    TRADING_ACCOUNTS,
    TRADING_ACTIVITY,
)
from fleet_contracts.vocabulary import Liquidity, OrderStatus, OrderType, Side, Timeframe, TimeInForce
from fleet_testkit.eventually import eventually
from prometheus_client import REGISTRY

NOW = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


class Client:
    """A socket's client that checks every sequence it sees."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse) -> None:
        self.connection = connection
        self.sequences: dict[str, int] = {}
        self.heartbeats = 0

    async def say(self, **message: Any) -> None:
        await self.connection.send_str(json.dumps(message))

    async def hear(self, *, heartbeat: bool = False) -> Any:
        while True:
            received = await self.connection.receive(timeout=10)
            if received.type is not aiohttp.WSMsgType.TEXT:
                return self.connection.close_code
            message = json.loads(received.data)
            if message.get("channel") == "heartbeat":
                self.heartbeats += 1
                if heartbeat:
                    return message
                continue
            if "sequence" in message:
                channel = message["channel"]
                assert message["sequence"] == self.sequences.get(channel, 0) + 1
                self.sequences[channel] = message["sequence"]
            return message

    async def subscribe(self, channel: str, **params: Any) -> Any:
        """The snapshot."""
        await self.say(method="subscribe", params={"channel": channel} | params, req_id=7)
        answer = await self.hear()
        assert answer["success"], answer
        assert answer["req_id"] == 7
        assert answer["result"]["channel"] == channel
        assert answer["time_in"] <= answer["time_out"]
        snapshot = await self.hear()
        assert (snapshot["channel"], snapshot["type"]) == (channel, "snapshot")
        return snapshot["data"]


@contextlib.asynccontextmanager
async def connected(fleet: Any, token: str) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {token}"}
    async with fleet.http.ws_connect(fleet.url + "/ws", headers=headers, max_msg_size=0) as connection:
        yield Client(connection)


class Trader:
    """A user, his account as trading would show it, and what trading would publish of it."""

    def __init__(self, fleet: Any, user: Any) -> None:
        self.fleet = fleet
        self.user = user
        self.account_id = uuid4()
        self.version = 10
        self.orders: list[trading.Order] = []
        self.answer()

    def order(self, version: int, status: OrderStatus = OrderStatus.NEW, order_id: UUID | None = None) -> trading.Order:
        return trading.Order(
            order_id=order_id or uuid4(),
            client_order_id="c",
            user_id=UUID(self.user.user_id),
            account_id=self.account_id,
            deployment_id=None,
            signal_id=None,
            symbol="AAPL/USD",
            side=Side.BUY,
            type=OrderType.LIMIT,
            quantity=Decimal(10),
            filled_quantity=Decimal(0),
            average_fill_price=None,
            limit_price=Decimal("101.25"),
            stop_price=None,
            time_in_force=TimeInForce.GTC,
            status=status,
            venue="paper",
            order_class="simple",
            legs=(),
            parent_order_id=None,
            strategy_id=None,
            fees=Decimal(0),
            created_at=NOW,
            updated_at=NOW,
            market_at=NOW,
            reason=None,
            version=version,
        )

    def trade(self, order: trading.Order) -> trading.Trade:
        return trading.Trade(
            trade_id=uuid4(),
            order_id=order.order_id,
            account_id=self.account_id,
            symbol=order.symbol,
            side=order.side,
            quantity=Decimal("0.0000001"),
            price=Decimal("101.25"),
            fee=Decimal("0.1"),
            fee_currency="USD",
            liquidity=Liquidity.TAKER,
            venue="paper",
            executed_at=NOW,
            market_at=NOW,
            version=self.version,
        )

    def portfolio(self) -> trading.Portfolio:
        zero = Decimal(0)
        return trading.Portfolio(
            account_id=self.account_id,
            equity=Decimal(100_000),
            cash=Decimal(100_000),
            buying_power=Decimal(100_000),
            positions_value=zero,
            unrealized_pnl=zero,
            realized_pnl=zero,
            day_pnl=zero,
            as_of=NOW,
            version=self.version,
        )

    def balance(self) -> trading.Balance:
        return trading.Balance(
            currency="USD",
            total=Decimal(100_000),
            reserved=Decimal(0),
            available=Decimal(100_000),
            version=self.version,
        )

    def answer(self) -> None:
        """What trading's API shows now; one user at a time."""
        answers = self.fleet.services["trading"].answers

        def shown(items: list[Any]) -> dict[str, Any]:
            return {"data": [as_json(item) for item in items], "next_cursor": None, "has_more": False}

        answers[("GET", "/api/v1/portfolio")] = (200, as_json(self.portfolio()))
        answers[("GET", "/api/v1/orders")] = (200, shown(self.orders))
        answers[("GET", "/api/v1/trades")] = (200, shown([]))
        answers[("GET", "/api/v1/positions")] = (200, shown([]))
        answers[("GET", f"/api/v1/accounts/{self.account_id}/balances")] = (200, shown([self.balance()]))

    async def changed(self, *orders: trading.Order, trades: int = 0, version: int | None = None) -> None:
        """One transaction of trading."""
        self.version = self.version + 1 if version is None else version
        message = trading.AccountChanged(
            account_id=self.account_id,
            user_id=UUID(self.user.user_id),
            version=self.version,
            orders=orders,
            trades=tuple(self.trade(orders[0]) for _ in range(trades)),
            balances=(self.balance(),),
            positions=(),
            portfolio=self.portfolio(),
        )
        async with self.fleet.bus.transaction() as tx:
            tx.publish(TRADING_ACTIVITY, str(self.account_id), message)


def as_json(item: Any) -> Any:
    from fleet_contracts import encode

    return json.loads(encode(item))


@pytest.fixture
async def trader(fleet: Any) -> Trader:
    return Trader(fleet, await fleet.new_user())


async def test_orders_snapshot_then_what_is_newer(fleet: Any, trader: Trader) -> None:
    resting = trader.order(3)
    trader.orders = [resting]
    trader.answer()
    async with connected(fleet, trader.user.token) as client:
        (shown,) = await client.subscribe("order_updates")
        assert shown["order_id"] == str(resting.order_id)
        seen = fleet.services["trading"].seen
        assert seen[-1].claims["sub"] == trader.user.user_id
        assert ["status=open" in asked.target for asked in seen[-2:]] == [True, False]

        # Old news: an account version that the snapshot has, then an order version that it has.
        await trader.changed(trader.order(1), version=9)
        await trader.changed(trader.order(3, order_id=resting.order_id), version=11)
        newer = trader.order(4, OrderStatus.CANCELED, resting.order_id)
        other = trader.order(1)
        await trader.changed(newer, other)
        update = await client.hear()
        assert update["type"] == "update"
        assert [(order["order_id"], order["version"]) for order in update["data"]] == [
            (str(newer.order_id), 4),
            (str(other.order_id), 1),
        ]
        assert update["data"][0]["status"] == "canceled"
        assert update["data"][0]["limit_price"] == "101.25"
        assert update["data"][0]["created_at"] == "2026-01-05T14:30:00Z"


async def test_what_comes_while_the_snapshot_is_read_is_kept(fleet: Any, trader: Trader) -> None:
    recorder = fleet.services["trading"]
    asked, go_on = asyncio.Event(), asyncio.Event()
    recorder.gate = (asked, go_on)
    first, second = trader.order(1), trader.order(1)
    trader.orders = [first]
    trader.answer()
    try:
        async with connected(fleet, trader.user.token) as client, connected(fleet, trader.user.token) as witness:
            recorder.gate = None
            await witness.subscribe("order_updates")
            recorder.gate = (asked, go_on)
            subscribing = asyncio.create_task(client.subscribe("order_updates"))
            await asyncio.wait_for(asked.wait(), 5)
            await trader.changed(second)
            await witness.hear()
            recorder.gate = None
            go_on.set()
            assert [order["order_id"] for order in await subscribing] == [str(first.order_id)]
            update = await client.hear()
            assert [order["order_id"] for order in update["data"]] == [str(second.order_id)]
    finally:
        recorder.gate = None
        go_on.set()


async def test_trades_and_portfolio(fleet: Any, trader: Trader) -> None:
    async with connected(fleet, trader.user.token) as client, connected(fleet, trader.user.token) as other:
        assert await client.subscribe("trades") == []
        (whole,) = await client.subscribe("portfolio")
        assert set(whole) == {"portfolio", "balances", "positions"}
        assert whole["balances"][0]["available"] == "100000"
        await other.subscribe("portfolio")

        await trader.changed(trader.order(1), trades=2)
        messages = {message["channel"]: message for message in [await client.hear(), await client.hear()]}
        assert [trade["quantity"] for trade in messages["trades"]["data"]] == ["0.0000001"] * 2
        (told,) = messages["portfolio"]["data"]
        assert told["portfolio"]["version"] == trader.version
        assert (await other.hear())["data"] == messages["portfolio"]["data"]

        await client.say(method="unsubscribe", params={"channel": "trades"}, req_id=8)
        assert (await client.hear())["success"]
        await trader.changed(trader.order(1), trades=1)
        assert (await client.hear())["channel"] == "portfolio"


async def test_every_account_of_the_user_is_in_the_snapshot(fleet: Any, trader: Trader) -> None:
    account = trading.Account(
        account_id=trader.account_id,
        user_id=UUID(trader.user.user_id),
        name="Paper",
        kind="paper",
        status="active",
        is_default=True,
        base_currency="USD",
        version=1,
    )
    async with fleet.bus.transaction() as tx:
        tx.publish(TRADING_ACCOUNTS, str(trader.account_id), account)

    async def is_asked_by_account() -> bool:
        async with connected(fleet, trader.user.token) as client:
            await client.subscribe("portfolio")
        targets = [seen.target for seen in fleet.services["trading"].seen[-4:]]
        return f"/api/v1/portfolio?account_id={trader.account_id}" in targets

    await eventually(is_asked_by_account)


async def test_other_users_hear_nothing(fleet: Any, trader: Trader) -> None:
    stranger = await fleet.new_user()
    async with connected(fleet, stranger.token) as client, connected(fleet, trader.user.token) as own:
        for one in (client, own):
            await one.subscribe("order_updates")
        await trader.changed(trader.order(1))
        await own.hear()
        await client.say(method="ping", req_id=3)
        assert await client.hear() == {"method": "pong", "req_id": 3}


async def test_market_data(fleet: Any, trader: Trader) -> None:
    await define(fleet.bus, "AAPL/USD")
    quote = BestQuote(
        symbol="AAPL/USD",
        venue="paper",
        bid=Decimal("100.1"),
        bid_size=Decimal(1),
        ask=Decimal("100.2"),
        ask_size=Decimal(2),
        last=Decimal("100.15"),
        market_at=NOW,
        stale_after=None,
    )
    async with fleet.bus.transaction() as tx:
        tx.publish(DATA_QUOTES, "AAPL/USD", quote, market_at=NOW)
    async with connected(fleet, trader.user.token) as client:

        async def is_known() -> Any:
            await client.say(method="subscribe", params={"channel": "market_data", "symbols": ["AAPL-USD"]}, req_id=1)
            answer = await client.hear()
            if not answer["success"]:
                assert answer["problem"]["code"] == "unknown_symbol"
            return answer["success"] and answer

        answer = await eventually(is_known)
        assert answer["result"] == {"channel": "market_data", "symbol": "AAPL/USD"}
        assert (await client.hear())["type"] == "snapshot"

        at = NOW + timedelta(seconds=1)
        connector = Bus(fleet.settings.model_copy(update={"service": "exchange-connector"}), None)
        async with connector.direct(EXCHANGE_CONNECTOR_MARKET_DATA, 1) as producer:
            raw = {name: getattr(quote, name) for name in ("symbol", "venue", "bid", "bid_size", "ask", "ask_size")}
            await producer.send([("AAPL/USD", Quote(**raw, market_at=at))], market_at=at)
            trade = Trade(
                symbol="AAPL/USD",
                venue="paper",
                venue_trade_id="1",
                price=Decimal(101),
                quantity=Decimal(5),
                market_at=at,
            )
            await producer.send([("AAPL/USD", trade)], market_at=at)
        told: dict[str, Any] = {}
        while set(told) < {"quote", "trade"}:
            for item in (await client.hear())["data"]:
                told[item["type"]] = item
        assert told["quote"]["bid"] == "100.1"
        assert (told["trade"]["price"], told["trade"]["symbol"]) == ("101", "AAPL/USD")

        bar = BarValues(
            open_at=NOW,
            close_at=at,
            open=Decimal(1),
            high=Decimal(2),
            low=Decimal(1),
            close=Decimal(2),
            volume=Decimal(100),
        )
        async with fleet.bus.transaction() as tx:
            message = BarClosed(symbol="AAPL/USD", venue="paper", timeframe=Timeframe.D1, bar=bar)
            tx.publish(DATA_BARS, "AAPL/USD", message, market_at=at)
        (item,) = (await client.hear())["data"]
        assert (item["type"], item["timeframe"], item["close"], item["state"]) == ("bar", "1d", "2", "closed")


async def define(bus: Bus, symbol: str) -> None:
    base, _, quote = symbol.partition("/")
    one = Decimal(1)
    instrument = InstrumentDefined(
        symbol=symbol,
        name=base,
        asset_class="stock",
        base=base,
        quote=quote,
        tick_size=one,
        lot_size=one,
        min_quantity=one,
        min_notional=one,
        maker_fee=one,
        taker_fee=one,
        calendar="24/7",
        venues=("paper",),
        reference_venue="paper",
        simulated=True,
        version=1,
    )
    async with bus.transaction() as tx:
        tx.publish(DATA_INSTRUMENTS, symbol, instrument)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "malformed_json"),
        ('{"method":"dance"}', "invalid_request"),
        ('{"method":"subscribe"}', "invalid_request"),
        ('{"method":"subscribe","params":{"channel":"alerts"},"req_id":1}', "not_found"),
        ('{"method":"subscribe","params":{"channel":"market_data"},"req_id":1}', "invalid_request"),
        (
            '{"method":"subscribe","params":{"channel":"market_data","symbols":["NO/SUCH"]},"req_id":1}',
            "unknown_symbol",
        ),
        ('{"method":"unsubscribe","params":{"channel":"trades"},"req_id":1}', "not_subscribed"),
    ],
)
async def test_what_cannot_be_done_is_a_problem(fleet: Any, trader: Trader, message: str, code: str) -> None:
    async with connected(fleet, trader.user.token) as client:
        await client.connection.send_str(message)
        answer = await client.hear()
        assert (answer["success"], answer["problem"]["code"]) == (False, code)
        await client.subscribe("trades")
        await client.say(method="subscribe", params={"channel": "trades"}, req_id=9)
        assert (await client.hear())["problem"]["code"] == "already_subscribed"


async def test_a_snapshot_that_cannot_be_had_is_a_problem(fleet: Any, trader: Trader) -> None:
    fleet.services["trading"].answers[("GET", "/api/v1/portfolio")] = (500, {})
    async with connected(fleet, trader.user.token) as client:
        await client.say(method="subscribe", params={"channel": "order_updates"}, req_id=1)
        answer = await client.hear()
        assert (answer["success"], answer["problem"]["status"]) == (False, 503)
        trader.answer()
        assert await client.subscribe("order_updates") == []


async def test_a_handshake_needs_a_token(fleet: Any, trader: Trader) -> None:
    for token, path, status in (("x", "/ws", 401), (trader.user.token, "/elsewhere", 404)):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            headers = {"Authorization": f"Bearer {token}"}
            await fleet.http.ws_connect(fleet.url + path, headers=headers)
        assert refused.value.status == status


async def test_a_ticket_opens_one_socket(fleet: Any, trader: Trader) -> None:
    given = await fleet.call("POST", "/api/v1/auth/ws-tickets", token=trader.user.token)
    assert (given.status, given.body["expires_in"]) == (201, 30)
    url = f"{fleet.url}/ws?ticket={given.body['ticket']}"
    async with fleet.http.ws_connect(url) as connection:
        assert await Client(connection).subscribe("order_updates") == []
    for bad in (url, f"{fleet.url}/ws?ticket=invented", f"{fleet.url}/ws"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await fleet.http.ws_connect(bad)
        assert refused.value.status == 401


async def test_silence_is_filled_with_heartbeats(fleet: Any, trader: Trader) -> None:
    async with connected(fleet, trader.user.token) as client:
        started = asyncio.get_running_loop().time()
        for _ in range(2):
            assert await client.hear(heartbeat=True) == {"channel": "heartbeat"}
        assert asyncio.get_running_loop().time() - started < 4


async def test_an_expired_token_closes_the_socket(fleet: Any, trader: Trader) -> None:
    async with connected(fleet, trader.user.token) as client:
        await client.subscribe("order_updates")
        fleet.clock.shift += timedelta(minutes=6)
        try:
            assert await asyncio.wait_for(client.hear(), 5) == 4401
        finally:
            fleet.clock.shift -= timedelta(minutes=6)


async def test_a_revoked_session_closes_its_sockets(fleet: Any, trader: Trader) -> None:
    async with connected(fleet, trader.user.token) as client:
        assert (await fleet.call("POST", "/api/v1/auth/logout", token=trader.user.token)).status == 204
        assert await asyncio.wait_for(client.hear(), 5) == 4401


async def test_a_flood_closes_the_socket(fleet: Any, trader: Trader) -> None:
    async with connected(fleet, trader.user.token) as client:
        for n in range(200):
            with contextlib.suppress(ConnectionError):
                await client.say(method="ping", req_id=n)
        answers = 0
        while not isinstance(message := await client.hear(), int):
            answers += 1
        assert message == 1008
        assert 90 <= answers <= 130


async def test_a_reader_who_does_not_read_is_closed(fleet: Any, trader: Trader) -> None:
    """1,000 messages wait for him beyond what the network holds; then he is told, and cut off."""
    headers = {"Authorization": f"Bearer {trader.user.token}"}
    connector = aiohttp.TCPConnector(socket_factory=small_buffers)
    async with (
        aiohttp.ClientSession(connector=connector, read_bufsize=1024) as http,
        connected(fleet, trader.user.token) as reading,
    ):
        await reading.subscribe("order_updates")
        async with http.ws_connect(fleet.url + "/ws", headers=headers, max_msg_size=0) as slow:
            client = Client(slow)
            await client.subscribe("order_updates")
            many = tuple(trader.order(1) for _ in range(30))
            open_before = open_sockets()
            published, drained = 0, Drain(reading)
            while open_sockets() == open_before:
                assert published < 4_000
                published += await publish_many(trader, many)
            while not isinstance(message := await client.hear(), int):
                pass
            assert message == 1013
            await eventually(lambda: drained.messages == published)
            drained.task.cancel()


class Drain:
    """Reads all the time, as a client should."""

    def __init__(self, client: Client) -> None:
        self.messages = 0
        self.task = asyncio.create_task(self._read(client))

    async def _read(self, client: Client) -> None:
        while not isinstance(await client.hear(), int):
            self.messages += 1


async def publish_many(trader: Trader, orders: tuple[trading.Order, ...]) -> int:
    """Fifty transactions of trading, in one of the speaker's."""
    async with trader.fleet.bus.transaction() as tx:
        for _ in range(50):
            trader.version += 1
            message = trading.AccountChanged(
                account_id=trader.account_id,
                user_id=UUID(trader.user.user_id),
                version=trader.version,
                orders=orders,
                trades=(),
                balances=(),
                positions=(),
                portfolio=trader.portfolio(),
            )
            tx.publish(TRADING_ACTIVITY, str(trader.account_id), message)
    return 50


def open_sockets() -> float | None:
    return REGISTRY.get_sample_value("fleet_gateway_sockets")


def small_buffers(address: Any) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return made
