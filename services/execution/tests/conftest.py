"""execution as it runs: its own database, the real Kafka, and the rest of the fleet around it."""

import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import aiohttp
import msgspec
import pytest
import pytest_asyncio
from fleet_contracts import TOPICS, Message, Topic, execution, venue
from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.data import InstrumentDefined
from fleet_contracts.exchange_connector import Quote, VenueStatus
from fleet_contracts.topics import (
    DATA_INSTRUMENTS,
    EXCHANGE_CONNECTOR_MARKET_DATA,
    EXCHANGE_CONNECTOR_STATUS,
    EXECUTION_AUDIT,
    EXECUTION_REPORTS,
    TRADING_ORDER_COMMANDS,
    VENUE_PAPER_COMMANDS,
    VENUE_PAPER_REPORTS,
)
from fleet_contracts.trading import CancelOrder, Leg, QueryOrder, ReplaceOrder, SubmitOrder
from fleet_contracts.vocabulary import (
    Liquidity,
    OrderClass,
    OrderType,
    Side,
    StateScope,
    TimeInForce,
    TradingStateWord,
    VenueStateWord,
)
from fleet_execution.app import create_app
from fleet_execution.settings import Settings
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served
from fleet_testkit.peers import BUS_MIGRATIONS, Keys, Peers, peers, ready

SILENT_AFTER_S = 1_000
MARKET_AT = datetime(2012, 3, 1, 21, tzinfo=UTC)


C = TypeVar("C", venue.PlaceVenueOrder, venue.ReplaceVenueOrder, venue.CancelVenueOrder, venue.QueryVenueOrders)


@dataclass
class ExecutionUnderTest:
    """execution between trading and the paper venue, both played by the test."""

    settings: Settings
    peers: Peers
    keys: Keys
    clock: FakeClock
    http: aiohttp.ClientSession
    url: str = ""
    running: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self) -> None:
        app = create_app(self.settings, clock=self.clock)
        self.url = await self.running.enter_async_context(served(app))
        await ready(self.url)

    async def command(self, *commands: SubmitOrder | ReplaceOrder | CancelOrder | QueryOrder) -> None:
        said = [(TRADING_ORDER_COMMANDS, str(command.account_id), command) for command in commands]
        await self.peers.say(*said, market_at=MARKET_AT)

    async def report(self, *reports: venue.AnyVenueReport, symbol: str = "AAPL/USD") -> None:
        """All of them as one cause."""
        record = venue.VenueReports(venue="paper", symbol=symbol, reports=reports)
        await self.peers.say((VENUE_PAPER_REPORTS, symbol, record), market_at=MARKET_AT)

    async def placed(self, order: SubmitOrder) -> venue.PlaceVenueOrder:
        """Submits it and gives back what the venue is told."""
        await self.command(order)
        (place, *_) = await eventually(lambda: self.sent(venue.PlaceVenueOrder, order.account_id))
        return place

    def sent(self, kind: type[C], account_id: UUID) -> list[C]:
        return [command for command in self.peers.heard_of(kind) if command.account_id == account_id]

    def told(self, account_id: UUID) -> list[execution.AnyReport]:
        """The facts that trading has heard of this account, in order."""
        records = self.peers.heard_of(execution.OrderReports, str(account_id))
        return [report for record in records for report in record.reports]

    async def some(self, found: Callable[[], list[Any]], number: int) -> list[Any]:
        """What is found, once it is so many."""
        await eventually(lambda: len(found()) >= number, what=f"{number} of them")
        return found()

    async def placed_with_legs(self, order: SubmitOrder, number: int) -> list[venue.PlaceVenueOrder]:
        return await self.some(lambda: self.sent(venue.PlaceVenueOrder, order.account_id), number)

    async def names(self, order: SubmitOrder, number: int) -> list[tuple[str, str, str | None]]:
        """What trading has heard, once it is so much: (whose, what, why)."""
        whose = {order.order_id: "order", **{leg.order_id: leg.client_order_id for leg in order.legs}}
        told = await self.some(lambda: self.told(order.account_id), number)
        return [(whose[r.order_id], type(r).__name__, getattr(r, "code", None)) for r in told]

    def filled(self, place: venue.PlaceVenueOrder, last: int, upto: int) -> venue.VenueOrderFilled:
        return venue.VenueOrderFilled(
            **said(place),
            venue_trade_id=f"{place.venue_order_ref}-{upto}",
            last_quantity=Decimal(last),
            last_price=Decimal(100),
            cumulative_quantity=Decimal(upto),
            fee=Decimal(0),
            fee_currency="USD",
            liquidity=Liquidity.MAKER,
            executed_at=self.clock.now(),
        )

    @staticmethod
    def canceled(place: venue.PlaceVenueOrder, code: str = "requested", upto: int = 0) -> venue.VenueOrderCanceled:
        return venue.VenueOrderCanceled(**said(place), code=code, detail="", cumulative_quantity=Decimal(upto))

    async def lists(self, symbol: str = "AAPL/USD") -> None:
        """The instrument is known, with a tick of a cent, and has been heard of."""
        defined = InstrumentDefined(
            symbol=symbol,
            name="Apple",
            asset_class="stock",
            base="AAPL",
            quote="USD",
            tick_size=Decimal("0.01"),
            lot_size=Decimal(1),
            min_quantity=Decimal(1),
            min_notional=Decimal(1),
            maker_fee=Decimal(0),
            taker_fee=Decimal(0),
            calendar="24/7",
            venues=("paper",),
            reference_venue="paper",
            simulated=True,
            version=1,
        )
        await self._heard(DATA_INSTRUMENTS, symbol, defined)

    async def quote(self, bid: str, ask: str, *, age_s: float = 0.0) -> None:
        """The venue shows these, a moment after what it showed before, or so long ago."""
        at = self.clock.advance(seconds=0.001) - timedelta(seconds=age_s)
        prices = {"bid": Decimal(bid), "bid_size": Decimal(1), "ask": Decimal(ask), "ask_size": Decimal(1)}
        quote = Quote(symbol="AAPL/USD", venue="paper", market_at=at, **prices)
        await self.peers.say((EXCHANGE_CONNECTOR_MARKET_DATA, "AAPL/USD", quote), market_at=at)

    async def tell_state(
        self, scope: StateScope, target: str, word: TradingStateWord, version: int
    ) -> TradingStateChanged:
        """As core-engine does, directly."""
        state = TradingStateChanged(
            scope=scope,
            target=target,
            state=word,
            epoch=1,
            version=version,
            by="an admin",
            reason="a test",
            changed_at=self.clock.now(),
        )
        headers = self.keys.of_service("core-engine", "execution")
        url = f"{self.url}/internal/state"
        async with self.http.post(url, json=msgspec.to_builtins(state), headers=headers) as response:
            assert response.status == 200
        return state

    async def status(self, word: VenueStateWord, *capabilities: str) -> None:
        """What the paper venue says of itself."""
        await self.peers.say((EXCHANGE_CONNECTOR_STATUS, "paper", self._status(word, *capabilities)))

    async def can(self, *capabilities: str) -> None:
        """The paper venue says that it can do this, and it has been heard."""
        said = self._status(VenueStateWord.CONNECTED, *capabilities)
        await self._heard(EXCHANGE_CONNECTOR_STATUS, "paper", said)

    def _status(self, word: VenueStateWord, *capabilities: str) -> VenueStatus:
        return VenueStatus(
            venue="paper", state=word, feed="simulated", heartbeat_at=self.clock.now(), capabilities=capabilities
        )

    async def _heard(self, topic: Topic, key: str, message: Message) -> None:
        """Says it, and comes back when all who listen there have read on."""
        before = await self._read_of(topic)
        await self.peers.say((topic, key, message))

        async def is_read() -> bool:
            read = await self._read_of(topic)
            return bool(read) and all(at > before.get(name, 0) for name, at in read.items())

        await eventually(is_read, what=f"{type(message).__name__} is heard")

    async def _read_of(self, topic: Topic) -> dict[str, int]:
        """How far each subscription has read it."""
        headers = self.keys.of_service("cli", "execution")
        async with self.http.get(f"{self.url}/internal/rest", headers=headers) as response:
            positions = (await response.json())["positions"]
        return {name: sum(read[topic.name].values()) for name, read in positions.items() if topic.name in read}

    async def asked(self, symbol: str, number: int) -> venue.QueryVenueOpenOrders:
        """The question about a symbol's open orders of this number, the first is 1; time goes on until it comes."""

        async def came() -> list[venue.QueryVenueOpenOrders]:
            self.clock.advance(seconds=1)
            return self.peers.heard_of(venue.QueryVenueOpenOrders, symbol)[number - 1 :]

        return (await eventually(came, what=f"question {number} about {symbol}"))[0]

    async def answer(
        self,
        asked: venue.QueryVenueOpenOrders,
        *orders: venue.VenueOpenOrder,
        fills: tuple[venue.VenueOrderFilled, ...] = (),
        has_more_orders: bool = False,
        has_more_fills: bool = False,
        positions: Mapping[UUID, int] | None = None,
        has_more_positions: bool = False,
        last_trade_id: str | None = None,
    ) -> None:
        """`last_trade_id` is that of the last of `fills`, unless there are none."""
        said = venue.VenueOpenOrders(
            venue="paper",
            symbol=asked.symbol,
            query_id=asked.query_id,
            market_at=MARKET_AT,
            orders=tuple(sorted(orders, key=lambda order: order.venue_order_ref)),
            has_more_orders=has_more_orders,
            fills=fills,
            has_more_fills=has_more_fills,
            last_trade_id=fills[-1].venue_trade_id if fills else last_trade_id,
            positions=None
            if positions is None
            else tuple(venue.VenuePosition(account_id=a, quantity=Decimal(positions[a])) for a in sorted(positions)),
            has_more_positions=has_more_positions,
        )
        await self.peers.say((VENUE_PAPER_REPORTS, asked.symbol, said), market_at=MARKET_AT)

    async def comparisons(self, symbol: str, number: int) -> list[Any]:
        """What is shown of the symbol's ended comparisons, newest first, once there are so many."""
        admin = self.keys.of_user("execution", uuid4(), "read", "admin", roles=["admin"])

        async def shown() -> Any:
            _, page = await self.get("reconciliations?limit=500", admin)
            ended = [r for r in page["data"] if r["symbol"] == symbol and r["ended_at"] is not None]
            return ended if len(ended) >= number else None

        found: list[Any] = await eventually(shown, what=f"{number} comparisons in {symbol}")
        return found

    async def compared(self, symbol: str, number: int = 0) -> Any:
        """The latest one, once there are more than `number` of them."""
        return (await self.comparisons(symbol, number + 1))[0]

    def working(self, symbol: str) -> list[venue.VenueOpenOrder]:
        """All that the venue was told to place in this symbol, as it lists it while nothing of it has filled."""
        shared = ("venue_order_ref", "account_id", "user_id", "side", "order_type", "time_in_force", "quantity")
        more = ("limit_price", "stop_price")
        return [
            venue.VenueOpenOrder(
                **{name: getattr(place, name) for name in (*shared, *more)}, cumulative_quantity=Decimal(0)
            )
            for place in self.peers.heard_of(venue.PlaceVenueOrder, symbol)
        ]

    async def is_in_doubt(self, like: SubmitOrder, symbol: str) -> bool:
        """Whether an order, in an account of its own, is refused because of a doubt; else the venue is told of it."""
        order = msgspec.structs.replace(like, order_id=uuid4(), account_id=uuid4(), symbol=symbol)
        await self.command(order)
        await eventually(lambda: self.told(order.account_id) or self.sent(venue.PlaceVenueOrder, order.account_id))
        return [getattr(r, "code", None) for r in self.told(order.account_id)] == ["venue_in_doubt"]

    async def post(self, path: str, headers: dict[str, str], body: Any = None) -> tuple[int, Any]:
        async with self.http.post(f"{self.url}/api/v1/executions/{path}", headers=headers, json=body) as response:
            return response.status, await response.json()

    async def get(self, path: str, headers: dict[str, str]) -> tuple[int, Any]:
        async with self.http.get(f"{self.url}/api/v1/executions/{path}", headers=headers) as response:
            return response.status, await response.json()


def said(place: venue.PlaceVenueOrder) -> dict[str, Any]:
    return {"venue_order_ref": place.venue_order_ref, "account_id": place.account_id, "market_at": MARKET_AT}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def execution_service(stack: Any, make_database: Any, tmp_path_factory: Any) -> AsyncIterator[ExecutionUnderTest]:
    kafka, prefix = stack.kafka_url, f"execution-{secrets.token_hex(4)}."
    folder: Path = tmp_path_factory.mktemp("execution")
    keys = Keys.make(folder, "execution", "gateway", "core-engine", "trading")
    settings = keys.settings("execution", await make_database("execution"), kafka, topic_prefix=prefix)
    # Time is moved by hand here, and the venue says what it says only when a test has it say so.
    settings["execution_silent_after_s"] = settings["execution_answer_within_s"] = SILENT_AFTER_S
    own = [t for t in TOPICS if any(reader.service == "execution" for reader in t.readers)]
    hears = [EXECUTION_REPORTS, VENUE_PAPER_COMMANDS, EXECUTION_AUDIT]
    clock = FakeClock(datetime.now(UTC))
    async with (
        peers(await make_database([BUS_MIGRATIONS]), kafka, prefix, topics=own, hears=hears) as others,
        aiohttp.ClientSession() as http,
    ):
        service = ExecutionUnderTest(Settings.model_validate(settings), others, keys, clock, http)
        async with service.running:
            await service.start()
            yield service


@pytest.fixture
def a_bracket(an_order: SubmitOrder) -> SubmitOrder:
    """Buys 10 at 100, to be sold at 110 or, if it falls that far, stopped out at 90."""
    take_profit = Leg(
        order_id=uuid4(),
        client_order_id="take-profit",
        side=Side.SELL,
        order_type=OrderType.LIMIT,
        quantity=an_order.quantity,
        limit_price=Decimal(110),
        protection_price=None,
        time_in_force=TimeInForce.GTC,
    )
    stop_loss = msgspec.structs.replace(
        take_profit,
        order_id=uuid4(),
        client_order_id="stop-loss",
        order_type=OrderType.STOP,
        limit_price=None,
        stop_price=Decimal(90),
        protection_price=Decimal("85.5"),
    )
    return msgspec.structs.replace(
        an_order,
        order_type=OrderType.LIMIT,
        limit_price=Decimal(100),
        protection_price=None,
        time_in_force=TimeInForce.GTC,
        order_class=OrderClass.BRACKET,
        legs=(take_profit, stop_loss),
    )


@pytest.fixture
def an_oco(a_bracket: SubmitOrder) -> SubmitOrder:
    """Sells 10 at 110 or stopped out at 90."""
    take_profit, stop_loss = a_bracket.legs
    return msgspec.structs.replace(
        a_bracket,
        side=take_profit.side,
        limit_price=take_profit.limit_price,
        order_class=OrderClass.OCO,
        legs=(stop_loss,),
    )


@pytest.fixture
def an_order() -> SubmitOrder:
    """An order to buy 10 AAPL/USD at the market, in an account of its own."""
    order_id = uuid4()
    return SubmitOrder(
        order_id=order_id,
        client_order_id=f"c-{order_id}",
        account_id=uuid4(),
        user_id=uuid4(),
        deployment_id=None,
        signal_id=None,
        symbol="AAPL/USD",
        side=Side.BUY,
        order_type=OrderType.MARKET,
        quantity=Decimal(10),
        limit_price=None,
        protection_price=Decimal("105.5"),
        time_in_force=TimeInForce.IOC,
        venue="paper",
        send_by=None,
    )
