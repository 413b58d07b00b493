"""`/ws`: snapshots, and updates that are newer, in gapless sequences."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from defined_instruments import instrument
from fleet_bus.bus import Bus
from fleet_contracts import trading
from fleet_contracts.core_engine import Alert
from fleet_contracts.data import BarClosed, BestQuote
from fleet_contracts.exchange_connector import BarValues, Quote, Trade
from fleet_contracts.topics import (
    CORE_ENGINE_ALERTS,
    DATA_BARS,
    DATA_INSTRUMENTS,
    DATA_QUOTES,
    EXCHANGE_CONNECTOR_MARKET_DATA,
    TRADING_ACCOUNTS,
)
from fleet_contracts.vocabulary import AlertKind, AlertSeverity, OrderStatus, Timeframe
from fleet_gateway.identity import Principal
from fleet_gateway.sockets.alerts import is_for
from fleet_testkit.eventually import eventually
from msgspec.structs import replace
from socket_clients import NOW, Trader, connected


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


async def test_a_snapshot_that_is_cut_off_says_so_and_what_it_lacks_is_told_when_it_changes(
    fleet: Any, trader: Trader
) -> None:
    resting, left_out = trader.order(3), trader.order(3)
    trader.orders = [resting]
    trader.answer()
    trading_answers = fleet.services["trading"].answers
    status, page = trading_answers[("GET", "/api/v1/orders")]
    trading_answers[("GET", "/api/v1/orders")] = (status, page | {"next_cursor": "more", "has_more": True})
    async with connected(fleet, trader.user.token) as client:
        await client.say(method="subscribe", params={"channel": "order_updates"}, req_id=1)
        assert (await client.hear())["success"]
        snapshot = await client.hear()
        assert (snapshot["type"], snapshot["sequence"], snapshot["truncated"]) == ("snapshot", 1, True)
        assert [order["order_id"] for order in snapshot["data"]] == [str(resting.order_id)]
        await trader.changed(trader.order(4, OrderStatus.CANCELED, left_out.order_id))
        update = await client.hear()
        assert [order["order_id"] for order in update["data"]] == [str(left_out.order_id)]
        assert "truncated" not in update
    trader.answer()
    async with connected(fleet, trader.user.token) as client:
        await client.say(method="subscribe", params={"channel": "order_updates"}, req_id=1)
        assert (await client.hear())["success"]
        assert "truncated" not in await client.hear()


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
            await asyncio.wait_for(asked.wait(), 10)
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


async def test_alerts_that_stand_then_their_ends_and_new_ones(fleet: Any, trader: Trader) -> None:
    async def tell(symbol: str, version: int) -> str:
        alert = Alert(
            alert_id=uuid4(),
            kind=AlertKind.QUOTES_STOPPED,
            severity=AlertSeverity.WARNING,
            text=f"The quotes of {symbol} have stopped.",
            symbol=symbol,
            at=NOW,
            ended_at=None if version == 1 else NOW + timedelta(seconds=5),
            version=version,
        )
        async with fleet.bus.transaction() as tx:
            tx.publish(CORE_ENGINE_ALERTS, f"quotes:{symbol}", alert)
        return symbol

    over, standing = await tell("IBM/USD", 2), await tell("AAPL/USD", 1)

    async def standing_alerts() -> list[Any]:
        async with connected(fleet, trader.user.token) as client:
            found: list[Any] = await client.subscribe("alerts")
            return found

    (shown,) = await eventually(standing_alerts)
    assert (shown["symbol"], shown["kind"], shown["version"], over) == (standing, "quotes_stopped", 1, "IBM/USD")
    async with connected(fleet, trader.user.token) as client:
        assert await client.subscribe("alerts") == [shown]
        await tell(standing, 2)
        update = await client.hear()
        assert (update["type"], update["data"][0]["symbol"], update["data"][0]["version"]) == ("update", standing, 2)
        assert update["data"][0]["ended_at"] == "2026-01-05T14:30:05Z"
        await client.say(method="unsubscribe", params={"channel": "alerts"}, req_id=2)
        assert (await client.hear())["success"]
        await client.say(method="unsubscribe", params={"channel": "alerts"}, req_id=3)
        assert (await client.hear())["problem"]["code"] == "not_subscribed"


async def test_an_alert_of_an_account_is_for_its_owner_and_for_operators(fleet: Any, trader: Trader) -> None:
    stranger = await fleet.new_user()
    async with connected(fleet, trader.user.token) as owner, connected(fleet, stranger.token) as other:
        for client in (owner, other):
            await client.subscribe("alerts")
        breach = Alert(
            alert_id=uuid4(),
            kind=AlertKind.LIMIT_BREACHED,
            severity=AlertSeverity.WARNING,
            text="daily_loss has come to 80 % of its limit: 812.5 of 1000.",
            symbol=None,
            at=NOW,
            ended_at=NOW,
            version=1,
            account_id=trader.account_id,
            user_id=UUID(trader.user.user_id),
        )
        stopped = replace(
            breach, alert_id=uuid4(), kind=AlertKind.QUOTES_STOPPED, symbol="IBM/USD", account_id=None, user_id=None
        )
        for key, alert in ((f"account:{trader.account_id}", breach), ("quotes:IBM/USD", stopped)):
            async with fleet.bus.transaction() as tx:
                tx.publish(CORE_ENGINE_ALERTS, key, alert)
        wanted = [str(breach.alert_id), str(stopped.alert_id)]
        for client, heard in ((owner, wanted), (other, wanted[1:])):
            told = [(await client.hear())["data"][0]["alert_id"] for _ in heard]
            assert sorted(told) == sorted(heard), "two keys have no order between them"
    for scopes, is_his in ({"read"}, False), ({"read", "audit"}, True), ({"read", "admin"}, True):
        operator = Principal(uuid4(), "s", frozenset(scopes), expires_at=0, claims={}, key="k")
        assert is_for(operator, breach) is is_his
        assert is_for(operator, stopped)


async def test_a_socket_has_so_many_subscriptions(fleet: Any, second_gateway: Any, trader: Trader) -> None:
    await define(fleet.bus, "AAPL/USD")
    async with (
        second_gateway(gateway_socket_subscriptions=2) as gateway,
        connected(gateway, trader.user.token) as client,
    ):
        await client.subscribe("trades")
        await client.subscribe("alerts")
        for params in ({"channel": "portfolio"}, {"channel": "market_data", "symbols": ["AAPL/USD"]}):
            await client.say(method="subscribe", params=params, req_id=8)
            answer = await client.hear()
            assert (answer["problem"]["status"], answer["problem"]["code"]) == (429, "too_many_subscriptions")
        await client.say(method="unsubscribe", params={"channel": "trades"}, req_id=9)
        assert (await client.hear())["success"]
        await client.subscribe("portfolio")


async def define(bus: Bus, symbol: str) -> None:
    async with bus.transaction() as tx:
        tx.publish(DATA_INSTRUMENTS, symbol, instrument(symbol))


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "malformed_json"),
        (b'{"method":"\xff"}', "malformed_json"),
        ('{"method":"dance"}', "invalid_request"),
        ('{"method":"subscribe"}', "invalid_request"),
        ('{"method":"subscribe","params":{"channel":"rumours"},"req_id":1}', "not_found"),
        ('{"method":"subscribe","params":{"channel":"market_data"},"req_id":1}', "invalid_request"),
        (
            '{"method":"subscribe","params":{"channel":"market_data","symbols":["NO/SUCH"]},"req_id":1}',
            "unknown_symbol",
        ),
        ('{"method":"unsubscribe","params":{"channel":"trades"},"req_id":1}', "not_subscribed"),
    ],
)
async def test_what_cannot_be_done_is_a_problem(fleet: Any, trader: Trader, message: str | bytes, code: str) -> None:
    async with connected(fleet, trader.user.token) as client:
        send = client.connection.send_str if isinstance(message, str) else client.connection.send_bytes
        await send(message)  # type: ignore[arg-type]  # of its own kind
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


async def test_every_request_is_answered_whatever_comes_in_quick_succession(fleet: Any, trader: Trader) -> None:
    recorder = fleet.services["trading"]
    go_on = asyncio.Event()
    recorder.gate = (asyncio.Event(), go_on)
    try:
        async with connected(fleet, trader.user.token) as client:
            for req_id, method in enumerate(("subscribe", "unsubscribe", "subscribe"), 1):
                await client.say(method=method, params={"channel": "order_updates"}, req_id=req_id)
            unsubscribed = await client.hear()
            assert (unsubscribed["req_id"], unsubscribed["success"]) == (2, True)
            go_on.set()
            answers: dict[int, Any] = {}
            while len(answers) < 2:
                message = await client.hear()
                if "req_id" in message:
                    answers[message["req_id"]] = message
            assert answers[3]["success"], answers
            assert (answers[1]["success"], answers[1]["problem"]["code"]) == (False, "not_subscribed")
    finally:
        recorder.gate = None
        go_on.set()
