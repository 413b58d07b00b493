"""exchange-connector as it runs: its own database, the real Kafka, execution and the readers played by the test."""

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest_asyncio
from fleet_bus.rest import RestVerdict
from fleet_chassis.clock import Clock
from fleet_chassis.database import Database
from fleet_contracts import TOPICS, venue
from fleet_contracts.topics import (
    EXCHANGE_CONNECTOR_AUDIT,
    EXCHANGE_CONNECTOR_BARS,
    EXCHANGE_CONNECTOR_INSTRUMENTS,
    EXCHANGE_CONNECTOR_MARKET_DATA,
    EXCHANGE_CONNECTOR_STATUS,
    VENUE_PAPER_COMMANDS,
    VENUE_PAPER_REPORTS,
)
from fleet_contracts.vocabulary import OrderType, Side, TimeInForce
from fleet_exchange_connector.app import create_app
from fleet_exchange_connector.settings import Settings
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served
from fleet_testkit.peers import BUS_MIGRATIONS, Keys, Peers, peers, ready

SERVICE = "exchange-connector"
SAYS = [
    EXCHANGE_CONNECTOR_AUDIT,
    EXCHANGE_CONNECTOR_BARS,
    EXCHANGE_CONNECTOR_INSTRUMENTS,
    EXCHANGE_CONNECTOR_MARKET_DATA,
    EXCHANGE_CONNECTOR_STATUS,
    VENUE_PAPER_REPORTS,
]


@dataclass
class RestByHand:
    """Says that the fleet is at rest, `left` times if that is a number, and what is parked."""

    left: int | None = None
    parked: tuple[str, ...] = ()
    looks: int = 0

    async def wait_at_rest(self, timeout_s: float, *, moved: str | None = None) -> RestVerdict:
        self.looks += 1
        if self.left == 0:
            return RestVerdict(False, ("trading-0 does not answer",), ())
        if self.left is not None:
            self.left -= 1
        return RestVerdict(not self.parked, (), self.parked)


@dataclass
class Venue:
    """The connector between execution, played by the test, and whoever reads what it says."""

    peers: Peers
    keys: Keys
    database_url: str
    settings: Settings
    http: aiohttp.ClientSession
    rest: RestByHand
    clock: Clock | None = None
    url: str = ""
    sequence: int = field(default=0)
    versions: int = field(default=0)

    @contextlib.asynccontextmanager
    async def running(self, **changed: object) -> AsyncIterator[str]:
        """One process of the connector, until left."""
        settings = self.settings.model_copy(update=changed)
        async with served(create_app(settings, clock=self.clock, looks=self.rest)) as url:
            await ready(url)
            self.url = url
            yield url

    async def command(self, *commands: Any) -> None:
        await self.peers.say(*((VENUE_PAPER_COMMANDS, command.symbol, command) for command in commands))

    async def set_state(self, state: str, scope: str = "symbol", target: str | None = "GOOG/USD") -> None:
        """As core-engine tells it directly."""
        self.versions += 1
        body = {
            "scope": scope,
            "target": target,
            "state": state,
            "epoch": 1,
            "version": self.versions,
            "by": "a test",
            "reason": "a test",
            "changed_at": datetime.now(UTC).isoformat(),
        }
        headers = self.keys.of_service("core-engine", "exchange-connector")
        async with self.http.post(f"{self.url}/internal/state", json=body, headers=headers) as answer:
            assert answer.status == 200, await answer.text()

    def reports(self, ref: UUID | None = None) -> list[Any]:
        """What the venue has said of this order, in order."""
        found = [r for record in self.peers.heard_of(venue.VenueReports) for r in record.reports]
        return [report for report in found if ref in (None, report.venue_order_ref)]

    def place(self, symbol: str = "AAPL/USD", **changed: Any) -> venue.PlaceVenueOrder:
        """An order to buy 10 at the market, in an account of its own."""
        self.sequence += 1
        fields: dict[str, Any] = {
            "venue_order_ref": uuid4(),
            "account_id": uuid4(),
            "user_id": uuid4(),
            "command_sequence": self.sequence,
            "send_by": None,
            "symbol": symbol,
            "side": Side.BUY,
            "order_type": OrderType.MARKET,
            "quantity": Decimal(10),
            "limit_price": None,
            "protection_price": None,
            "time_in_force": TimeInForce.GTC,
        }
        if "limit_price" in changed:
            fields["order_type"] = OrderType.LIMIT
        return venue.PlaceVenueOrder(**{**fields, **changed})

    def cancel_of(self, order: venue.PlaceVenueOrder) -> venue.CancelVenueOrder:
        self.sequence += 1
        return venue.CancelVenueOrder(
            venue_order_ref=order.venue_order_ref,
            account_id=order.account_id,
            user_id=order.user_id,
            command_sequence=self.sequence,
            send_by=None,
            symbol=order.symbol,
        )

    def query_of(self, *orders: venue.PlaceVenueOrder) -> venue.QueryVenueOrders:
        self.sequence += 1
        return venue.QueryVenueOrders(
            venue_order_refs=tuple(order.venue_order_ref for order in orders),
            account_id=orders[0].account_id,
            user_id=orders[0].user_id,
            command_sequence=self.sequence,
            symbol=orders[0].symbol,
        )

    async def told(self, ref: UUID, *kinds: type[Any], timeout_s: float = 10.0) -> list[Any]:
        """The reports of an order, once they are of these kinds."""
        await eventually(
            lambda: [type(report) for report in self.reports(ref)] == list(kinds),
            timeout_s,
            what=f"{[kind.__name__ for kind in kinds]}",
        )
        return self.reports(ref)

    async def heard(self, kind: type[Any], key: str | None = None, *, count: int) -> list[Any]:
        """The messages of this type and key, once so many have come."""

        async def came() -> bool:
            return len(self.peers.heard_of(kind, key)) >= count

        await eventually(came, 20, what=f"{count} {kind.__name__} {key or ''}")
        return self.peers.heard_of(kind, key)

    async def api(
        self, method: str, path: str, body: Any = None, *, scopes: str = "read", headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        signed = self.keys.of_user(SERVICE, USER, *scopes.split())
        async with self.http.request(
            method, f"{self.url}/api/v1/exchanges{path}", json=body, headers=signed | (headers or {})
        ) as answer:
            return answer.status, await answer.json()

    async def feed(self, action: str) -> Any:
        status, shown = await self.api("POST", "/paper/feed", {"action": action}, scopes="admin")
        assert status == 200, shown
        return shown

    async def fetch(self, sql: str, *values: object) -> list[Any]:
        async with (
            Database(self.database_url, application_name="test") as database,
            database.connection() as connection,
        ):
            return list(await connection.fetch(sql, *values))


USER = uuid4()
Opened = Callable[..., contextlib.AbstractAsyncContextManager[Venue]]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def open_venue(stack: Any, make_database: Any, tmp_path_factory: Any) -> Opened:
    """`async with open_venue(feed="replay") as venue:` a venue with a database and topics of its own, not running yet."""
    kafka = stack.kafka_url
    keys = Keys.make(tmp_path_factory.mktemp("connector"), SERVICE, "gateway", "core-engine", "trading")

    @contextlib.asynccontextmanager
    async def opened(*, clock: Clock | None = None, **settings: object) -> AsyncIterator[Venue]:
        prefix = f"connector-{secrets.token_hex(4)}."
        url = await make_database(SERVICE)
        fields = keys.settings(SERVICE, url, kafka, topic_prefix=prefix, **settings)
        own = [t for t in TOPICS if any(reader.service == SERVICE for reader in t.readers)]
        async with (
            peers(await make_database([BUS_MIGRATIONS]), kafka, prefix, topics=own, hears=SAYS) as others,
            aiohttp.ClientSession() as http,
        ):
            yield Venue(others, keys, url, Settings.model_validate(fields), http, RestByHand(), clock)

    return opened


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


HERE = Path(__file__).parent


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def simulated(open_venue: Opened) -> AsyncIterator[Venue]:
    """A running venue on the simulated feed."""
    async with open_venue() as venue, venue.running():
        yield venue
