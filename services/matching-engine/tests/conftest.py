"""matching-engine as it runs: its own database, the real Kafka; execution, data and the readers played by the test."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
import pytest_asyncio
from fleet_chassis.clock import Clock
from fleet_contracts import TOPICS, venue
from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.data import BestQuote, InstrumentDefined
from fleet_contracts.topics import (
    CORE_ENGINE_STATE,
    DATA_INSTRUMENTS,
    DATA_QUOTES,
    MATCHING_ENGINE_AUDIT,
    MATCHING_ENGINE_INSTRUMENTS,
    MATCHING_ENGINE_MARKET_DATA,
    MATCHING_ENGINE_STATUS,
    VENUE_INTERNAL_COMMANDS,
    VENUE_INTERNAL_REPORTS,
)
from fleet_contracts.vocabulary import OrderType, Side, StateScope, TimeInForce, TradingStateWord
from fleet_matching_engine.app import create_app
from fleet_matching_engine.settings import Settings
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served
from fleet_testkit.peers import BUS_MIGRATIONS, Keys, Peers, peers, ready

SERVICE = "matching-engine"
USER = uuid4()
SAYS = [
    MATCHING_ENGINE_AUDIT,
    MATCHING_ENGINE_INSTRUMENTS,
    MATCHING_ENGINE_MARKET_DATA,
    MATCHING_ENGINE_STATUS,
    VENUE_INTERNAL_REPORTS,
]
Opened = Callable[..., contextlib.AbstractAsyncContextManager["Engine"]]


def instrument(symbol: str = "AAPL/USD", **changed: Any) -> InstrumentDefined:
    fields: dict[str, Any] = {
        "symbol": symbol,
        "name": symbol,
        "asset_class": "stock",
        "base": symbol.partition("/")[0],
        "quote": "USD",
        "tick_size": Decimal("0.01"),
        "lot_size": Decimal(1),
        "min_quantity": Decimal(1),
        "min_notional": Decimal(1),
        "maker_fee": Decimal("0.001"),
        "taker_fee": Decimal("0.002"),
        "calendar": "24/7",
        "venues": ("internal", "paper"),
        "reference_venue": "paper",
        "simulated": True,
        "version": 2,
    }
    return InstrumentDefined(**{**fields, **changed})


@pytest.fixture
def make_instrument() -> Any:
    return instrument


def order(side: str = "buy", quantity: str = "10", price: str | None = "100", **changed: Any) -> venue.PlaceVenueOrder:
    """A limit order at `price`, a market order without one; of an account of its own."""
    fields: dict[str, Any] = {
        "venue_order_ref": uuid4(),
        "account_id": uuid4(),
        "user_id": uuid4(),
        "command_sequence": 1,
        "send_by": None,
        "symbol": "AAPL/USD",
        "side": Side(side),
        "order_type": OrderType.MARKET if price is None else OrderType.LIMIT,
        "quantity": Decimal(quantity),
        "limit_price": None if price is None else Decimal(price),
        "protection_price": None,
        "time_in_force": TimeInForce.GTC,
    }
    return venue.PlaceVenueOrder(**{**fields, **changed})


def of(command: Any, kind: Any, **changed: Any) -> Any:
    """A cancel, replace or query of an order."""
    fields: dict[str, Any] = {
        "venue_order_ref": command.venue_order_ref,
        "account_id": command.account_id,
        "user_id": command.user_id,
        "command_sequence": 2,
        "symbol": command.symbol,
    }
    if kind is venue.QueryVenueOrders:
        fields["venue_order_refs"] = (fields.pop("venue_order_ref"),)
    else:
        fields["send_by"] = None
    if kind is venue.ReplaceVenueOrder:
        fields |= {"quantity": None, "limit_price": None}
    return kind(**{**fields, **changed})


@dataclass
class Engine:
    """matching-engine between its peers, played by the test."""

    peers: Peers
    keys: Keys
    database_url: str
    settings: Settings
    http: aiohttp.ClientSession
    url: str = ""
    versions: int = field(default=0)
    clock: Clock | None = None
    instrument = staticmethod(instrument)
    order = staticmethod(order)
    of = staticmethod(of)

    @contextlib.asynccontextmanager
    async def running(self, **changed: object) -> AsyncIterator[str]:
        settings = self.settings.model_copy(update=changed)
        async with served(create_app(settings, clock=self.clock)) as url:
            await ready(url, 40)
            self.url = url
            yield url

    async def lists(self, *defined: InstrumentDefined) -> None:
        await self.peers.say(*((DATA_INSTRUMENTS, one.symbol, one) for one in defined))

        async def listed() -> bool:
            answers = [(await self.api(f"/api/v1/books/{one.symbol.replace('/', '-')}"))[0] for one in defined]
            return all(status == 200 for status in answers)

        if any("internal" in one.venues for one in defined):
            await eventually(listed, 20)

    async def quotes(self, symbol: str, last: str) -> None:
        price = Decimal(last)
        quote = BestQuote(
            symbol=symbol,
            venue="paper",
            bid=price,
            bid_size=Decimal(1),
            ask=price,
            ask_size=Decimal(1),
            last=price,
            market_at=datetime.now(UTC),
            stale_after=None,
        )
        await self.peers.say((DATA_QUOTES, symbol, quote))

    def state(self, scope: StateScope, target: str | None, word: TradingStateWord) -> TradingStateChanged:
        self.versions += 1
        return TradingStateChanged(
            scope=scope,
            target=target,
            state=word,
            epoch=1,
            version=self.versions,
            by="test",
            reason="a test",
            changed_at=datetime.now(UTC),
        )

    async def say_state(self, change: TradingStateChanged) -> None:
        key = change.scope.value if change.target is None else f"{change.scope.value}:{change.target}"
        await self.peers.say((CORE_ENGINE_STATE, key, change))

    async def command(self, *commands: Any) -> None:
        await self.peers.say(*((VENUE_INTERNAL_COMMANDS, command.symbol, command) for command in commands))

    def reports(self, ref: UUID | None = None) -> list[Any]:
        found = [r for record in self.peers.heard_of(venue.VenueReports) for r in record.reports]
        return [report for report in found if ref in (None, report.venue_order_ref)]

    async def told(self, ref: UUID, *kinds: type[Any], timeout_s: float = 15.0) -> list[Any]:
        """The reports of an order, once they are of these kinds."""
        await eventually(
            lambda: [type(report) for report in self.reports(ref)] == list(kinds),
            timeout_s,
            what=f"{[kind.__name__ for kind in kinds]}, was {[type(one).__name__ for one in self.reports(ref)]}",
        )
        return self.reports(ref)

    async def api(self, path: str, *, scopes: str = "read") -> tuple[int, Any]:
        headers = self.keys.of_user(SERVICE, USER, *scopes.split())
        async with self.http.get(self.url + path, headers=headers) as answer:
            return answer.status, await answer.json()

    async def internal(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        headers = self.keys.of_service("core-engine", SERVICE)
        async with self.http.request(method, f"{self.url}/internal{path}", json=body, headers=headers) as answer:
            return answer.status, await answer.json()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def open_engine(stack: Any, make_database: Any, tmp_path_factory: Any) -> Opened:
    """`async with open_engine(…settings) as engine:` with a database and topics of its own, not running yet."""
    keys = Keys.make(tmp_path_factory.mktemp("engine"), SERVICE, "gateway", "core-engine", "trading")

    @contextlib.asynccontextmanager
    async def opened(**settings: object) -> AsyncIterator[Engine]:
        prefix = f"engine-{secrets.token_hex(4)}."
        url = await make_database(SERVICE)
        fields = keys.settings(SERVICE, url, stack.kafka_url, topic_prefix=prefix, **settings)
        reads = [t for t in TOPICS if any(reader.service == SERVICE for reader in t.readers)]
        others = peers(await make_database([BUS_MIGRATIONS]), stack.kafka_url, prefix, topics=reads, hears=SAYS)
        async with others as found, aiohttp.ClientSession() as http:
            yield Engine(found, keys, url, Settings.model_validate(fields), http)

    return opened


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine(open_engine: Opened) -> AsyncIterator[Engine]:
    """A running engine that trades AAPL/USD and BTC/USD."""
    async with open_engine() as found, found.running():
        bitcoin = instrument(
            "BTC/USD", asset_class="crypto", lot_size=Decimal("0.00001"), min_quantity=Decimal("0.00001")
        )
        await found.lists(instrument(), bitcoin)
        yield found
