"""trading as it runs: its own database, the real Kafka, and around it a fleet that the test speaks for."""

import contextlib
import functools
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4, uuid5

import aiohttp
import asyncpg
import fleet_bus
import pytest
import pytest_asyncio
from fleet_bus import Bus, GroupCommitter, Received, Watch
from fleet_chassis.assertions import AssertionSigner
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_contracts import Message, Topic, execution
from fleet_contracts.data import BestQuote, InstrumentDefined
from fleet_contracts.topics import (
    AUTH_USERS,
    CORE_ENGINE_ORDER_REQUESTS,
    CORE_ENGINE_STATE,
    DATA_INSTRUMENTS,
    DATA_QUOTES,
    EXECUTION_REPORTS,
    TRADING_ACCOUNTS,
    TRADING_ACTIVITY,
    TRADING_AUDIT,
    TRADING_CANCEL_AFTER,
    TRADING_GRANTS,
    TRADING_ORDER_COMMANDS,
    TRADING_RISK_BREACHES,
)
from fleet_contracts.vocabulary import Liquidity
from fleet_launcher.stack import Endpoints
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually
from fleet_testkit.fixtures import MakeDatabase
from fleet_testkit.http import served
from fleet_testkit.peers import Keys
from fleet_testkit.topics import topics_under
from fleet_trading.app import create_app
from fleet_trading.settings import Settings
from fleet_trading.store import AccountCache
from fleet_trading.verify import verify

TOPICS = (
    AUTH_USERS,
    CORE_ENGINE_ORDER_REQUESTS,
    CORE_ENGINE_STATE,
    DATA_INSTRUMENTS,
    DATA_QUOTES,
    EXECUTION_REPORTS,
    TRADING_ACCOUNTS,
    TRADING_ACTIVITY,
    TRADING_AUDIT,
    TRADING_CANCEL_AFTER,
    TRADING_GRANTS,
    TRADING_ORDER_COMMANDS,
    TRADING_RISK_BREACHES,
)
BUS_MIGRATIONS = Path(fleet_bus.__file__).parent / "migrations"
START = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


@dataclass(frozen=True)
class TradingReply:
    status: int
    headers: Any
    body: Any

    @property
    def code(self) -> str | None:
        return self.body.get("code") if isinstance(self.body, dict) else None


@dataclass(frozen=True)
class OutsideSettings:
    """The rest of the fleet, as a process with a database of its own."""

    kafka_url: str
    topic_prefix: str
    service: str = "outside"
    ordinal: int = 0
    feed: str = "simulated"


@dataclass
class TradingUnderTest:
    """trading, called as the gateway calls it, and the fleet around it."""

    url: str
    settings: Settings
    clock: FakeClock
    signer: AssertionSigner
    http: aiohttp.ClientSession
    outside: Bus
    cache: AccountCache
    """All that this trading remembers of accounts: cleared, it knows what one that has just been started would read."""
    committer: GroupCommitter[Any, Any]
    heard: list[Received[Any]] = field(default_factory=list)

    a_user = staticmethod(uuid4)

    def account_of(self, user: UUID) -> UUID:
        return account_of(user)

    def filled(self, order: dict[str, Any], quantity: Any, price: Any, **more: Any) -> execution.OrderFilled:
        return filled(order, quantity, price, **more)

    def an_instrument(self, symbol: str, **changed: Any) -> InstrumentDefined:
        return an_instrument(symbol, **changed)

    def a_quote(self, symbol: str, price: str, **changed: Any) -> BestQuote:
        return a_quote(symbol, price, **changed)

    async def call(
        self, method: str, path: str, body: Any = None, *, user: UUID, roles: tuple[str, ...] = ("trader",), **more: Any
    ) -> TradingReply:
        scopes = more.pop(
            "scopes",
            ["read"]
            if roles == ("viewer",)
            else ["read", "trade", "strategy", *(["admin"] if "admin" in roles else [])],
        )
        issuer = more.pop("issuer", None)
        signer = (
            AssertionSigner(issuer, self.settings.private_key_file.parent / f"{issuer}.pem") if issuer else self.signer
        )
        claims = {"sub": str(user), "roles": list(roles), "scopes": scopes, "sid": "s"} | more.pop("claims", {})
        sent = {"Authorization": f"Bearer {signer.sign('trading', claims)}"} | more.pop("headers", {})
        if body is not None:
            more["json"] = body
        async with self.http.request(method, self.url + path, headers=sent, **more) as response:
            text = await response.text()
            return TradingReply(response.status, response.headers, json.loads(text) if text else None)

    async def order(self, user: UUID, **changed: Any) -> TradingReply:
        body = {"symbol": "AAPL/USD", "side": "buy", "type": "market", "quantity": "10"} | changed
        return await self.call("POST", "/api/v1/orders", body, user=user)

    async def accepted(self, user: UUID, **changed: Any) -> dict[str, Any]:
        reply = await self.order(user, **changed)
        assert reply.status == 201, reply.body
        order: dict[str, Any] = reply.body
        return order

    async def shown(self, order: dict[str, Any], user: UUID) -> dict[str, Any]:
        reply = await self.call("GET", f"/api/v1/orders/{order['order_id']}", user=user)
        assert reply.status == 200, reply.body
        found: dict[str, Any] = reply.body
        return found

    async def orders(self, user: UUID, **query: str) -> list[dict[str, Any]]:
        asked = "&".join(f"{name}={value}" for name, value in query.items())
        found: list[dict[str, Any]] = (await self.call("GET", f"/api/v1/orders?{asked}", user=user)).body["data"]
        return found

    async def becomes(self, order: dict[str, Any], user: UUID, status: str) -> dict[str, Any]:
        async def reached() -> dict[str, Any] | None:
            found = await self.shown(order, user)
            return found if found["status"] == status else None

        return await eventually(reached, timeout_s=30, what=f"the order is {status}") or {}

    async def balance(self, user: UUID, currency: str = "USD") -> tuple[Decimal, Decimal]:
        connection = await asyncpg.connect(self.settings.database_url.get_secret_value())
        try:
            row = await connection.fetchrow(
                "SELECT total, reserved FROM balances WHERE account_id = $1 AND currency = $2",
                account_of(user),
                currency,
            )
        finally:
            await connection.close()
        return (row["total"], row["reserved"]) if row else (Decimal(0), Decimal(0))

    async def publish(self, topic: Topic, key: str, *messages: Message, market_at: datetime | None = START) -> None:
        async with self.outside.transaction() as tx:
            for message in messages:
                tx.publish(topic, key, message, market_at=market_at)

    async def report(self, user: UUID, *reports: execution.AnyReport) -> None:
        account = account_of(user)
        message = execution.OrderReports(account_id=account, user_id=user, reports=reports)
        await self.publish(EXECUTION_REPORTS, str(account), message)

    def of(self, kind: type[Message], user: UUID) -> list[Any]:
        return [
            r.message for r in self.heard if type(r.message) is kind and getattr(r.message, "user_id", None) == user
        ]

    async def parked(self) -> int:
        connection = await asyncpg.connect(self.settings.database_url.get_secret_value())
        try:
            count: int = await connection.fetchval("SELECT count(*) FROM parked")
        finally:
            await connection.close()
        return count

    async def books_hold(self) -> None:
        connection = await asyncpg.connect(self.settings.database_url.get_secret_value())
        try:
            verdict = await verify(connection)
        finally:
            await connection.close()
        assert verdict.problems == []
        assert verdict.counts["entries"] > 0


def account_of(user: UUID) -> UUID:
    return uuid5(user, "paper")


def filled(
    order: dict[str, Any],
    quantity: Any,
    price: Any,
    *,
    cumulative: Any = None,
    fee: Any = "0",
    trade: UUID | None = None,
    **more: Any,
) -> execution.OrderFilled:
    return execution.OrderFilled(
        order_id=UUID(order["order_id"]),
        market_at=START,
        trade_id=trade or uuid4(),
        venue="paper",
        venue_trade_id=secrets.token_hex(4),
        last_quantity=Decimal(str(quantity)),
        last_price=Decimal(str(price)),
        cumulative_quantity=Decimal(str(cumulative if cumulative is not None else quantity)),
        fee=Decimal(str(fee)),
        fee_currency="USD",
        liquidity=Liquidity.TAKER,
        executed_at=START,
        **more,
    )


def an_instrument(symbol: str = "AAPL/USD", **changed: Any) -> InstrumentDefined:
    base, _, quote = symbol.partition("/")
    fields: dict[str, Any] = {
        "symbol": symbol,
        "name": base,
        "asset_class": "equity",
        "base": base,
        "quote": quote,
        "tick_size": Decimal("0.0001"),
        "lot_size": Decimal(1),
        "min_quantity": Decimal(1),
        "min_notional": Decimal(0),
        "maker_fee": Decimal("0.001"),
        "taker_fee": Decimal("0.001"),
        "calendar": "24/7",
        "venues": ("paper",),
        "reference_venue": "paper",
        "simulated": True,
        "version": 1,
    }
    return InstrumentDefined(**(fields | changed))


def a_quote(symbol: str = "AAPL/USD", price: str = "100", **changed: Any) -> BestQuote:
    fields: dict[str, Any] = {
        "symbol": symbol,
        "venue": "paper",
        "bid": Decimal(price),
        "bid_size": Decimal(100),
        "ask": Decimal(price),
        "ask_size": Decimal(100),
        "last": Decimal(price),
        "market_at": START,
        "stale_after": None,
    }
    return BestQuote(**(fields | changed))


@pytest.fixture(scope="session")
def trading_keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys.make(tmp_path_factory.mktemp("trading-keys"), "trading", "gateway", "core-engine")


@contextlib.asynccontextmanager
async def running_trading(
    stack: Endpoints,
    make_database: MakeDatabase,
    keys: Keys,
    *,
    feed: Literal["simulated", "replay"] = "simulated",
    **changed: Any,
) -> AsyncIterator[TradingUnderTest]:
    prefix = f"trading-{secrets.token_hex(4)}."
    clock = FakeClock(START)
    database_url = changed.pop("database", None) or await make_database("trading")
    fields = keys.settings("trading", database_url, stack.kafka_url, topic_prefix=prefix, feed=feed)
    settings = Settings.model_validate(fields | {"trading_market_wait_s": 0} | changed)
    async with contextlib.AsyncExitStack() as running:
        await running.enter_async_context(topics_under(prefix, stack.kafka_url, TOPICS))
        database = Database(await make_database([BUS_MIGRATIONS]), application_name="outside", max_size=3)
        await running.enter_async_context(database)
        outside = Bus(OutsideSettings(stack.kafka_url, prefix, feed=feed), database, clock=clock)
        heard: list[Received[Any]] = []
        said = tuple(topic for topic in TOPICS if topic.owner == "trading")
        outside.add(Watch("heard", said, heard.append))
        await running.enter_async_context(outside.running(Health()))
        await eventually(lambda: outside.ready() is None, what="the outside is ready")
        async with outside.transaction() as tx:
            for symbol, price in (("AAPL/USD", "100"), ("MSFT/USD", "50")):
                tx.publish(DATA_INSTRUMENTS, symbol, an_instrument(symbol))
                tx.publish(DATA_QUOTES, symbol, a_quote(symbol, price), market_at=START)
        app = create_app(settings, clock=clock)
        url = await running.enter_async_context(served(app))
        # Shorter than the server keeps a connection, so that on a busy machine none is used in the moment it is closed.
        connector = aiohttp.TCPConnector(keepalive_timeout=1)
        http = await running.enter_async_context(aiohttp.ClientSession(connector=connector))
        signer = AssertionSigner("gateway", keys.state.keys / "gateway.pem")
        parts = app.state.trading
        under_test = TradingUnderTest(url, settings, clock, signer, http, outside, parts._cache, parts.committer, heard)

        async def is_ready() -> bool:
            async with http.get(url + "/health/ready") as response:
                return response.status == 200 and parts.market.mark("MSFT/USD") is not None

        await eventually(is_ready, timeout_s=30, what="trading is ready and knows the market")
        yield under_test


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fleet(stack: Endpoints, make_database: MakeDatabase, trading_keys: Keys) -> AsyncIterator[TradingUnderTest]:
    async with running_trading(stack, make_database, trading_keys) as under_test:
        yield under_test


RunTrading = Callable[..., AbstractAsyncContextManager[TradingUnderTest]]


@pytest.fixture(scope="module")
def run_trading(stack: Endpoints, make_database: MakeDatabase, trading_keys: Keys) -> RunTrading:
    """Another trading, with other settings."""
    return functools.partial(running_trading, stack, make_database, trading_keys)
