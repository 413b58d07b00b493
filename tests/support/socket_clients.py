"""A client of the gateway's `/ws`, and a user whose account trading would publish."""

import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import aiohttp
from fleet_contracts import trading
from fleet_contracts.topics import TRADING_ACTIVITY
from fleet_contracts.vocabulary import Liquidity, OrderStatus, OrderType, Side, TimeInForce

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
