"""The venues that the acceptance cases run on, each behind an execution of its own: real services, real Kafka."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from fleet_contracts import TOPICS, Topic, trading
from fleet_contracts.data import InstrumentDefined
from fleet_contracts.exchange_connector import Quote
from fleet_contracts.topics import (
    DATA_INSTRUMENTS,
    EXCHANGE_CONNECTOR_MARKET_DATA,
    EXCHANGE_CONNECTOR_STATUS,
    EXECUTION_REPORTS,
    MATCHING_ENGINE_STATUS,
    venue_commands,
    venue_reports,
)
from fleet_contracts.venue import VenueOpenOrder
from fleet_contracts.vocabulary import OrderType, Side
from fleet_exchange_connector.app import create_app as create_connector
from fleet_exchange_connector.settings import Settings as ConnectorSettings
from fleet_execution.app import create_app as create_execution
from fleet_execution.settings import Settings as ExecutionSettings
from fleet_matching_engine.app import create_app as create_engine
from fleet_matching_engine.settings import Settings as EngineSettings
from fleet_testkit.clock import FakeClock
from fleet_testkit.desk import Desk
from fleet_testkit.eventually import eventually
from fleet_testkit.hostile import hostile_venue
from fleet_testkit.http import served
from fleet_testkit.peers import BUS_MIGRATIONS, Keys, peers, ready
from fleet_testkit.venues import VenueUnderTest

SYMBOL = "AAPL/USD"
WHO = "execution", "exchange-connector", "matching-engine", "gateway", "core-engine"


@dataclass
class Service:
    """A service of the fleet, in this process, that can be stopped and started again on its database."""

    create: Callable[[], Any]
    url: str = ""
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    async def start(self) -> None:
        self.url = await self._stack.enter_async_context(served(self.create()))
        await ready(self.url, 40)

    async def stop(self) -> None:
        await self._stack.aclose()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Service"]:
        await self.start()
        try:
            yield self
        finally:
            await self.stop()


class Served(VenueUnderTest):
    """A venue of ours: it is away while its service is."""

    def __init__(self, desk: Desk, service: Service, keys: Keys) -> None:
        self.desk, self.service, self.keys = desk, service, keys

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        await self.service.stop()
        try:
            yield
        finally:  # a case that failed meanwhile leaves no venue behind that the next ones cannot reach
            await self.service.start()

    def lose_answers(self, count: int) -> None:
        self.cannot("an answer cannot be lost: it is committed together with what it tells")

    def fail_queries(self, count: int) -> None:
        self.cannot("a question cannot fail: it waits in its topic until it is answered")

    def fail_commands(self, count: int) -> None:
        self.cannot("a command cannot fail: it waits in its topic until it is carried out")

    def mix_reports(self) -> None:
        self.cannot("its reports cannot change places: they are one record")

    def mix_causes(self, count: int) -> None:
        self.cannot("its reports cannot change places: one writer tells them in order")

    def forget_fills(self) -> None:
        self.cannot("its fills are rows that it keeps")

    async def fill_after_cancel(self, order: trading.SubmitOrder, quantity: Decimal) -> None:
        self.cannot("what it has canceled it cannot fill: one writer keeps the book and tells it in order")

    async def place_unasked(self, quantity: Decimal) -> VenueOpenOrder:
        self.cannot("nobody but execution has a way to it")


class Paper(Served):
    """Its market stands still but for single rounds of quotes: nothing fills unless a case wants it."""

    lot, tick = Decimal(1), Decimal("0.0001")

    async def price(self) -> Decimal:
        return (await eventually(lambda: self.desk.peers.heard_of(Quote, self.desk.symbol), what="a quote"))[-1].ask

    async def resting_price(self) -> Decimal:
        # While no price stands, what would fill at the next one rests until there is one.
        return (await self.price() * Decimal("1.02")).quantize(Decimal("0.01"))

    parts_lots = 5_000  # more than a quote shows: 600 or so
    takes_amounts = False

    async def stop_price(self) -> Decimal:
        # As above: the next quote triggers it, and none stands yet.
        return (await self.price() * Decimal("0.98")).quantize(Decimal("0.01"))

    profit_price = stop_price

    async def exit_price(self) -> Decimal:
        return await self.resting_price()

    async def trigger(self, order: trading.SubmitOrder) -> None:
        await self.trade(order, order.quantity)

    async def trade(self, order: trading.SubmitOrder, quantity: Decimal) -> None:
        before = (await self.desk.until(order, "working", "filled")).filled
        while self.desk.believed(order).filled == before < order.quantity:
            await self.feed("step")
            with contextlib.suppress(AssertionError):
                await self.desk.until(order, that=lambda known: known.filled > before, timeout_s=1)

    async def feed(self, action: str) -> None:
        headers = self.keys.of_user("exchange-connector", uuid4(), "read", "admin", roles=["admin"])
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{self.service.url}/api/v1/exchanges/paper/feed", json={"action": action}, headers=headers) as a,
        ):
            assert a.status == 200, await a.text()


class Internal(Served):
    """Another account is the market."""

    lot, tick = Decimal(1), Decimal("0.01")

    async def price(self) -> Decimal:
        return Decimal(100)

    async def resting_price(self) -> Decimal:
        return Decimal(99)

    async def supply(self, quantity: Decimal) -> None:
        offer = self.desk.order(quantity, Decimal(100), side=Side.SELL)
        await self.desk.say(offer)
        await self.desk.until(offer, "working")

    async def stop_price(self) -> Decimal:
        return Decimal(101)

    async def profit_price(self) -> Decimal:
        return Decimal(105)

    async def exit_price(self) -> Decimal:
        return Decimal(98)

    async def trigger(self, order: trading.SubmitOrder) -> None:
        """Others trade at its price, and more is to be had there. A trailing stop has seen a price before."""
        price = order.stop_price or await self.price()
        if order.trail_amount is not None:
            await self._print(order, price, self.lot)
            price += order.trail_amount
        await self._print(order, price, order.quantity + self.lot)

    async def _print(self, order: trading.SubmitOrder, price: Decimal, quantity: Decimal) -> None:
        offer = self.desk.order(quantity, price, side=Side.SELL if order.side is Side.BUY else Side.BUY)
        await self.desk.say(offer)
        await self.desk.until(offer, "working")
        await self.trade(offer, self.lot)

    async def trade(self, order: trading.SubmitOrder, quantity: Decimal) -> None:
        before = await self.desk.until(order, "working", "filled")
        if before.stand == "filled":
            return
        assert before.limit_price is not None
        side = Side.BUY if order.side is Side.SELL else Side.SELL
        taker = self.desk.order(quantity, before.limit_price, side=side)
        await self.desk.say(taker)
        await self.desk.until(taker, "filled")


@dataclass
class Surroundings:
    """What every venue here is run in: topics under a prefix of their own, databases, keys, an execution."""

    kafka: str
    prefix: str
    keys: Keys
    make_database: Any
    desk: Desk
    clock: FakeClock

    async def settings(self, service: str, **more: object) -> dict[str, object]:
        url = await self.make_database(service)
        return self.keys.settings(service, url, self.kafka, topic_prefix=self.prefix, **more)

    async def lists(self, tick: Decimal) -> None:
        defined = InstrumentDefined(
            symbol=SYMBOL,
            name="Apple",
            asset_class="stock",
            base="AAPL",
            quote="USD",
            tick_size=tick,
            lot_size=Decimal(1),
            min_quantity=Decimal(1),
            min_notional=Decimal(1),
            maker_fee=Decimal("0.001"),
            taker_fee=Decimal("0.001"),
            calendar="24/7",
            venues=(self.desk.venue,),
            reference_venue="paper",
            simulated=True,
            version=1,
        )
        await self.desk.peers.say((DATA_INSTRUMENTS, SYMBOL, defined))


@contextlib.asynccontextmanager
async def paper(around: Surroundings) -> AsyncIterator[VenueUnderTest]:
    fields = await around.settings("exchange-connector", exchange_connector_history_days=0)
    settings = ConnectorSettings.model_validate(fields)
    async with Service(lambda: create_connector(settings)).running() as service:
        venue = Paper(around.desk, service, around.keys)
        await around.lists(venue.tick)
        await venue.price()
        await venue.feed("pause")
        yield venue


@contextlib.asynccontextmanager
async def internal(around: Surroundings) -> AsyncIterator[VenueUnderTest]:
    settings = EngineSettings.model_validate(await around.settings("matching-engine", matching_engine_book="naive"))
    async with Service(lambda: create_engine(settings)).running() as service:
        venue = Internal(around.desk, service, around.keys)
        await around.lists(venue.tick)
        headers = around.keys.of_user("matching-engine", uuid4(), "read")

        async def listed() -> bool:
            async with aiohttp.ClientSession() as http:
                url = f"{service.url}/api/v1/books/{SYMBOL.replace('/', '-')}"
                async with http.get(url, headers=headers) as answer:
                    return answer.status == 200

        await eventually(listed, 20)
        yield venue


@contextlib.asynccontextmanager
async def hostile(around: Surroundings, *order_types: OrderType) -> AsyncIterator[VenueUnderTest]:
    url, clock = await around.make_database([BUS_MIGRATIONS]), around.clock
    async with hostile_venue(
        around.desk, url, around.kafka, around.prefix, clock=clock, order_types=order_types
    ) as venue:
        await around.lists(venue.tick)
        await venue.connect()
        yield venue


VENUES: dict[str, Callable[[Surroundings], contextlib.AbstractAsyncContextManager[VenueUnderTest]]] = {
    "paper": paper,
    "internal": internal,
    "hostile": lambda around: hostile(around, OrderType.STOP),
    "plain": hostile,
}


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=VENUES)
async def running_venue(
    request: Any, stack: Any, make_database: Any, tmp_path_factory: Any
) -> AsyncIterator[VenueUnderTest]:
    name: str = request.param
    kafka, prefix = stack.kafka_url, f"acceptance-{name}-{secrets.token_hex(4)}."
    folder: Path = tmp_path_factory.mktemp(name)
    keys = Keys.make(folder, *WHO)
    clock = FakeClock(datetime.now(UTC))
    hears = [
        EXECUTION_REPORTS,
        EXCHANGE_CONNECTOR_STATUS,
        MATCHING_ENGINE_STATUS,
        EXCHANGE_CONNECTOR_MARKET_DATA,
        _topic(venue_commands(name)),
        _topic(venue_reports(name)),
    ]
    others = peers(await make_database([BUS_MIGRATIONS]), kafka, prefix, topics=TOPICS, hears=hears)
    async with others as found:
        desk = Desk(found, name, SYMBOL)
        around = Surroundings(kafka, prefix, keys, make_database, desk, clock)
        # execution's time is faster than the venues'.
        patience = {"execution_answer_within_s": 1_000, "execution_silent_after_s": 1_000}
        fields = await around.settings("execution", execution_venues=(name,), **patience)
        settings = ExecutionSettings.model_validate(fields)
        async with (
            VENUES[name](around) as under_test,
            Service(lambda: create_execution(settings, clock=clock)).running(),
            _time_goes_on(clock),
        ):
            yield under_test


@pytest.fixture
def venue(running_venue: VenueUnderTest) -> VenueUnderTest:
    """Each of them, which does not misbehave before a case asks for it."""
    running_venue.behave()
    return running_venue


def _topic(template: Topic) -> Topic:
    return next((topic for topic in TOPICS if topic.name == template.name), template)


@contextlib.asynccontextmanager
async def _time_goes_on(clock: FakeClock) -> AsyncIterator[None]:
    """execution's time is 20 times as fast as ours: it asks its venue again after moments, not after a minute."""

    async def go() -> None:
        while True:
            await asyncio.sleep(0.05)
            clock.advance(seconds=1)

    going = asyncio.create_task(go())
    try:
        yield
    finally:
        going.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await going


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The cases that a venue does not meet are never skipped silently."""
    skipped = [r for r in terminalreporter.stats.get("skipped", ()) if "tests/acceptance/" in r.nodeid]
    if skipped:
        terminalreporter.write_line("")
    for report in skipped:
        terminalreporter.write_line(f"skipped {report.nodeid.rpartition('::')[2]}: {report.longrepr[2]}")
