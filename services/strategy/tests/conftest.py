"""strategy as it runs: its own database, the real Kafka, and the rest of the fleet around it."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from fleet_chassis.database import Database
from fleet_contracts import TOPICS, Message, Topic
from fleet_contracts.data import BarClosed, InstrumentDefined
from fleet_contracts.exchange_connector import BarValues, MarketStepEnded
from fleet_contracts.strategy import SignalRaised
from fleet_contracts.topics import (
    CORE_ENGINE_MARKET,
    DATA_INSTRUMENTS,
    STRATEGY_DEPLOYMENTS,
    STRATEGY_SIGNALS,
    TRADING_ACTIVITY,
)
from fleet_contracts.trading import AccountChanged, Order, Portfolio
from fleet_contracts.vocabulary import OrderStatus, OrderType, Side, Timeframe, TimeInForce
from fleet_strategy.app import create_app
from fleet_strategy.settings import Settings
from fleet_testkit.databases import TestDatabases
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served
from fleet_testkit.peers import BUS_MIGRATIONS, Keys, Peers, peers, ready

FRESH = tuple(f"S{number:02}/USD" for number in range(60))
SYMBOLS = ("AAPL/USD", "GOOG/USD", "IBM/USD", *FRESH)
BEGIN = datetime(2012, 1, 3, 21, tzinfo=UTC)

Said = tuple[Topic, str, Message]


def day(number: int) -> datetime:
    """The close of the n-th daily bar."""
    return BEGIN + timedelta(days=number)


def values_of(number: int, close: object) -> BarValues:
    price = Decimal(str(close))
    return BarValues(
        open_at=day(number) - timedelta(hours=6, minutes=30),
        close_at=day(number),
        open=price,
        high=price,
        low=price,
        close=price,
        volume=Decimal(1000),
    )


def bar(symbol: str, number: int, close: object) -> Said:
    message = BarClosed(symbol=symbol, venue="paper", timeframe=Timeframe.D1, bar=values_of(number, close))
    return CORE_ENGINE_MARKET, symbol, message


def step(number: int, symbols: Iterable[str]) -> Said:
    message = MarketStepEnded(step=number, market_at=day(number), timeframe=Timeframe.D1, symbols=tuple(symbols))
    return CORE_ENGINE_MARKET, "step", message


@dataclass
class Reply:
    status: int
    headers: Any
    body: Any


@dataclass
class User:
    user_id: UUID = field(default_factory=uuid4)
    account_id: UUID = field(default_factory=uuid4)


@dataclass
class StrategyUnderTest:
    """strategy between the gateway, core-engine and trading, all played by the test."""

    bar = staticmethod(bar)
    step = staticmethod(step)
    day = staticmethod(day)
    values_of = staticmethod(values_of)

    settings: Settings
    peers: Peers
    keys: Keys
    http: aiohttp.ClientSession
    url: str = ""
    days: int = 0
    """How many days of market have been told; the market time of a replay never goes back."""
    _handed_out: int = 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the service anew on the same database."""
        async with served(create_app(self.settings)) as self.url:
            await ready(self.url)
            yield

    async def call(
        self,
        user: User,
        method: str,
        path: str,
        body: Any = None,
        *,
        claims: dict[str, Any] | None = None,
        key: str | None = None,
        scopes: tuple[str, ...] = ("read", "strategy"),
    ) -> Reply:
        who = {"sub": user.user_id, "roles": ["trader"], "scopes": sorted(scopes), "sid": "s"} | (claims or {})
        headers = self.keys.of_service("gateway", "strategy", who) | ({"Idempotency-Key": key} if key else {})
        async with self.http.request(method, f"{self.url}/api/v1{path}", json=body, headers=headers) as response:
            answer = None if response.status == 204 else await response.json()
            return Reply(response.status, response.headers, answer)

    async def strategy(self, user: User, builtin: str = "sma_cross") -> str:
        reply = await self.call(user, "POST", "/strategies", {"name": builtin, "kind": "builtin", "builtin": builtin})
        assert reply.status == 201, reply.body
        return str(reply.body["strategy_id"])

    async def deployed(
        self,
        user: User,
        symbols: Iterable[str] = ("AAPL/USD",),
        *,
        builtin: str = "sma_cross",
        timeframe: str = "1d",
        **parameters: object,
    ) -> str:
        """A deployment that is there."""
        strategy_id = await self.strategy(user, builtin)
        reply = await self.deploy(
            user, strategy_id=strategy_id, symbols=list(symbols), timeframe=timeframe, parameters=parameters
        )
        assert reply.status == 201, reply.body
        return str(reply.body["deployment_id"])

    async def deploy(self, user: User, deployment_id: str | None = None, **changed: object) -> Reply:
        """Asks for a deployment as the gateway does; of a strategy of its own, where none is named."""
        body = {"symbols": ["AAPL/USD"], "timeframe": "1d", "mode": "paper"} | changed
        if "strategy_id" not in body:
            body["strategy_id"] = await self.strategy(user)
        return await self.call(
            user, "POST", "/deployments", body, claims=self.grant(user, deployment_id or str(uuid4()))
        )

    def grant(self, user: User, deployment_id: str) -> dict[str, str]:
        return {"deployment_id": deployment_id, "account_id": str(user.account_id)}

    async def deployment(self, user: User, deployment_id: str) -> Any:
        reply = await self.call(user, "GET", f"/deployments/{deployment_id}")
        assert reply.status == 200, reply.body
        return reply.body

    async def say(self, *said: Said) -> None:
        await self.peers.say(*said)

    async def market_day(self, closes: dict[str, object]) -> int:
        """One more day: its bars and the end of its step. Gives back its number."""
        number = self.next_day()
        await self.say(*(bar(symbol, number, close) for symbol, close in closes.items()), step(number, closes))
        return number

    def fresh_symbols(self, count: int) -> tuple[str, ...]:
        """Symbols without a history, in alphabetical order."""
        self._handed_out += count
        return FRESH[self._handed_out - count : self._handed_out]

    def next_day(self) -> int:
        self.days += 1
        return self.days

    async def ran(self, user: User, deployment_id: str, number: int) -> Any:
        """The deployment once the step of that day is behind it."""

        async def shown() -> Any:
            found = await self.deployment(user, deployment_id)
            at = found["last_step_at"]
            return found if at and datetime.fromisoformat(at) >= day(number) else None

        return await eventually(shown, what=f"step {number} was run")

    def signals(self, user: User) -> list[SignalRaised]:
        return self.peers.heard_of(SignalRaised, str(user.account_id))

    async def trading_says(self, user: User, signal: SignalRaised, status: OrderStatus) -> None:
        """trading tells of the signal's order, and strategy has heard it."""
        order = order_of(signal, status)
        await self.say((TRADING_ACTIVITY, str(user.account_id), account_changed(user, order)))

        async def is_shown() -> bool:
            found = await self.deployment(user, str(signal.deployment_id))
            return any(s["order_status"] == status for s in found["signals"] if s["signal_id"] == str(signal.signal_id))

        await eventually(is_shown)

    async def trading_fills_or_keeps(
        self,
        user: User,
        signal: SignalRaised,
        entry: OrderStatus,
        target: OrderStatus,
        stop: OrderStatus,
        *,
        version: int,
    ) -> None:
        """trading tells of a bracket: its order and both exits, which are orders of the same signal."""
        order = order_of(signal, entry, version=version)
        exits = [
            msgspec.structs.replace(
                order_of(signal, status, version=version),
                order_id=UUID(int=signal.signal_id.int ^ number),
                client_order_id=str(UUID(int=signal.signal_id.int ^ number)),
                side=Side.SELL,
                type=kind,
                parent_order_id=order.order_id,
                order_class="bracket",
            )
            for number, kind, status in ((2, OrderType.LIMIT, target), (3, OrderType.STOP, stop))
        ]
        # The exits first: they are known by their own ids, whatever comes first.
        await self.say((TRADING_ACTIVITY, str(user.account_id), account_changed(user, *exits, order)))

    async def holds(self, user: User, deployment_id: str, wanted: dict[str, str]) -> None:
        """Until the deployment's own fills have left it with so much."""

        async def is_shown() -> bool:
            found = await self.deployment(user, deployment_id)
            return {each["symbol"]: each["quantity"] for each in found["positions"]} == wanted

        await eventually(is_shown, what=f"the deployment holds {wanted}")

    async def execute(self, statement: str, *arguments: object) -> None:
        async with (
            Database(self.settings.database_url, application_name="test") as database,
            database.connection() as connection,
        ):
            await connection.execute(statement, *arguments)


def order_of(signal: SignalRaised, status: OrderStatus, *, version: int = 1) -> Order:
    assert signal.side is not None and signal.quantity is not None
    filled = signal.quantity if status is OrderStatus.FILLED else Decimal(0)
    return Order(
        order_id=UUID(int=signal.signal_id.int ^ 1),
        client_order_id=f"sig-{signal.signal_id}",
        user_id=signal.user_id,
        account_id=signal.account_id,
        deployment_id=signal.deployment_id,
        signal_id=signal.signal_id,
        symbol=signal.symbol,
        side=signal.side,
        type=OrderType.MARKET,
        quantity=signal.quantity,
        filled_quantity=filled,
        average_fill_price=None,
        limit_price=None,
        stop_price=None,
        time_in_force=TimeInForce.GTC,
        status=status,
        venue="paper",
        order_class="simple",
        legs=(),
        parent_order_id=None,
        strategy_id=signal.strategy_id,
        fees=Decimal(0),
        created_at=signal.raised_at,
        updated_at=signal.raised_at,
        market_at=signal.raised_at,
        reason=None,
        version=version,
    )


def account_changed(user: User, *orders: Order) -> AccountChanged:
    nothing = Decimal(0)
    portfolio = Portfolio(
        account_id=user.account_id,
        equity=nothing,
        cash=nothing,
        buying_power=nothing,
        positions_value=nothing,
        unrealized_pnl=nothing,
        realized_pnl=nothing,
        day_pnl=nothing,
        as_of=BEGIN,
        version=1,
    )
    return AccountChanged(
        account_id=user.account_id,
        user_id=user.user_id,
        version=1,
        orders=orders,
        trades=(),
        balances=(),
        positions=(),
        portfolio=portfolio,
    )


def _instrument(symbol: str) -> Said:
    message = InstrumentDefined(
        symbol=symbol,
        name=symbol,
        asset_class="equity",
        base=symbol.split("/")[0],
        quote="USD",
        tick_size=Decimal("0.0001"),
        lot_size=Decimal(1),
        min_quantity=Decimal(1),
        min_notional=Decimal(1),
        maker_fee=Decimal("0.001"),
        taker_fee=Decimal("0.001"),
        calendar="XNYS",
        venues=("paper",),
        reference_venue="paper",
        simulated=False,
        version=1,
    )
    return DATA_INSTRUMENTS, symbol, message


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def strategy_at_rest(stack: Any, tmp_path_factory: Any) -> AsyncIterator[StrategyUnderTest]:
    """The service's surroundings, on a replay; `strategy_service` runs it."""
    kafka, prefix = stack.kafka_url, f"strategy-{secrets.token_hex(4)}."
    folder: Path = tmp_path_factory.mktemp("strategy")
    keys = Keys.make(folder, "strategy", "gateway")
    databases = TestDatabases(stack.postgres_url)
    own = [t for t in TOPICS if any(reader.service == "strategy" for reader in t.readers)]
    hears = [STRATEGY_SIGNALS, STRATEGY_DEPLOYMENTS]
    url = await databases.make("strategy")
    settings = keys.settings("strategy", url, kafka, topic_prefix=prefix, feed="replay")
    async with (
        peers(await databases.make([BUS_MIGRATIONS]), kafka, prefix, topics=own, hears=hears) as others,
        aiohttp.ClientSession() as http,
    ):
        await others.say(*(_instrument(symbol) for symbol in SYMBOLS))
        yield StrategyUnderTest(
            Settings.model_validate(settings | {"strategy_deployments_a_user": 3}), others, keys, http
        )
    await databases.drop_all()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strategy_service(strategy_at_rest: StrategyUnderTest) -> AsyncIterator[StrategyUnderTest]:
    async with strategy_at_rest.running():
        yield strategy_at_rest


@pytest.fixture
def a_user() -> User:
    return User()


@pytest.fixture
def symbols(strategy_at_rest: StrategyUnderTest) -> tuple[str, ...]:
    """Two symbols without a history."""
    return strategy_at_rest.fresh_symbols(2)
