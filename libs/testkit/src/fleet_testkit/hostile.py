"""A venue that does on request whatever venues have been seen to do to their clients. It speaks the venue contract."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from fleet_bus import Bus, Received, Watch
from fleet_chassis.clock import Clock
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_contracts import Message, trading, venue
from fleet_contracts.exchange_connector import LISTS_OPEN_ORDERS, Quote, VenueStatus, takes
from fleet_contracts.topics import (
    EXCHANGE_CONNECTOR_MARKET_DATA,
    EXCHANGE_CONNECTOR_STATUS,
    venue_commands,
    venue_reports,
)
from fleet_contracts.vocabulary import OrderType, Side, TimeInForce, VenueStateWord

from fleet_testkit.desk import Desk
from fleet_testkit.eventually import eventually
from fleet_testkit.exchange import PRICE, Exchange, ExchangeOrder, Unavailable, report_of
from fleet_testkit.peers import Process
from fleet_testkit.venues import VenueUnderTest

CAPABILITIES = ("market", "limit", "gtc", "cancel", "replace", "query", LISTS_OPEN_ORDERS)

_Reports = list[venue.AnyVenueReport]


class HostileVenue(VenueUnderTest):
    """An exchange in memory, and the wire to it, which is what cannot be trusted. One of each a test."""

    lot, tick = Exchange.lot, Exchange.tick

    def __init__(self, desk: Desk, bus: Bus, clock: Clock, order_types: Sequence[OrderType]) -> None:
        self.desk = desk
        self._clock, self._bus = clock, bus
        self.exchange = Exchange(desk.venue, order_types)
        self._commands: asyncio.Queue[Any] = asyncio.Queue()
        self._reachable = asyncio.Event()
        self.behave()

    # The market

    async def price(self) -> Decimal:
        return PRICE

    async def resting_price(self) -> Decimal:
        return PRICE

    async def stop_price(self) -> Decimal:
        return PRICE + 1

    async def profit_price(self) -> Decimal:
        return PRICE + 5

    async def exit_price(self) -> Decimal:
        return PRICE - 5

    async def trigger(self, order: trading.SubmitOrder) -> None:
        """What it has no order type for it shows quotes for, until somebody has noticed."""
        if order.order_type not in self.exchange.order_types:
            best, turned = PRICE, PRICE + (order.trail_amount or 0)
            while not self.parts(order):
                await self._quote(order.stop_price or best)
                await self._quote(order.stop_price or turned)
                with contextlib.suppress(AssertionError):
                    await eventually(lambda: self.parts(order), 0.2)
            return
        ref = (await self.placed(order)).venue_order_ref
        await eventually(lambda: ref in self.exchange.orders, what="the order at the exchange")
        found = self.exchange.orders[ref]
        at = venue.VenueOrderTriggered(**report_of(found.place), trigger_price=order.stop_price or PRICE)
        await self._say([at, *self.exchange.fill(found, found.quantity)])

    async def _quote(self, price: Decimal) -> None:
        """By the clock of who hears it: a price of the past would trigger nothing."""
        size, at = Decimal(100), self._clock.now()
        quote = Quote(
            symbol=self.desk.symbol,
            venue=self.name,
            bid=price,
            bid_size=size,
            ask=price,
            ask_size=size,
            market_at=at,
        )
        async with self._bus.transaction() as tx:
            tx.publish(EXCHANGE_CONNECTOR_MARKET_DATA, self.desk.symbol, quote, market_at=at)

    async def trade(self, order: trading.SubmitOrder, quantity: Decimal) -> None:
        def here() -> list[ExchangeOrder]:
            return [
                self.exchange.orders[ref]
                for place in self.parts(order)
                if (ref := place.venue_order_ref) in self.exchange.orders
            ]

        await eventually(here, what="the order at the exchange")
        done = sum((part.cumulative for part in here()), Decimal(0))
        upto = min(done + quantity, order.quantity)
        while done < upto:
            part = await eventually(lambda: next((p for p in here() if p.is_working), None), what="a part that works")
            assert part is not None
            most = min(upto - done, part.quantity - part.cumulative)
            await self._say(self.exchange.fill(part, most))
            done += most

    # What goes wrong

    def behave(self) -> None:
        self.exchange.behave()
        self._lost = self._holding = 0
        self._held: list[list[Message]] = []
        self._mixed, self._times = False, 1

    @contextlib.asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """The wire is cut: what happens at the exchange is not told, then or later, and commands wait."""
        self._reachable.clear()
        await self._status(VenueStateWord.DISCONNECTED)
        try:
            yield
        finally:  # a case that failed meanwhile leaves no venue behind that the next ones cannot reach
            await self.connect()

    async def connect(self) -> None:
        self._reachable.set()
        await self._status(VenueStateWord.CONNECTED)

    async def trade_while_away(self, order: trading.SubmitOrder, quantity: Decimal) -> bool:
        await self.trade(order, quantity)
        return True

    def repeat_reports(self) -> None:
        self._times = 3

    def lose_answers(self, count: int) -> None:
        self._lost = count

    def fail_queries(self, count: int) -> None:
        self.exchange.failing_questions = count

    def fail_commands(self, count: int) -> None:
        self.exchange.failing_commands = count

    def mix_reports(self) -> None:
        self._mixed = True

    def mix_causes(self, count: int) -> None:
        self._holding = count

    def forget_fills(self) -> None:
        self.exchange.is_forgetful = True

    async def tell_forgotten(self, order: trading.SubmitOrder) -> None:
        for fill in self.exchange.orders[(await self.placed(order)).venue_order_ref].fills:
            await self._say([fill])

    async def refuse_cancel(self, order: trading.SubmitOrder) -> None:
        self.exchange.refusing.add((await self.placed(order)).venue_order_ref)

    async def fill_after_cancel(self, order: trading.SubmitOrder, quantity: Decimal) -> None:
        await self._say(self.exchange.fill(self.exchange.orders[(await self.placed(order)).venue_order_ref], quantity))

    async def place_unasked(self, quantity: Decimal) -> venue.VenueOpenOrder:
        placed = venue.VenueOpenOrder(
            venue_order_ref=uuid4(),
            account_id=uuid4(),
            user_id=uuid4(),
            side=Side.BUY,
            order_type=OrderType.LIMIT,
            time_in_force=TimeInForce.GTC,
            quantity=quantity,
            limit_price=PRICE,
            cumulative_quantity=Decimal(0),
        )
        self.exchange.orders[placed.venue_order_ref] = ExchangeOrder(placed, quantity, PRICE)
        return placed

    async def fill_unasked(self, placed: venue.VenueOpenOrder, quantity: Decimal) -> None:
        await self._say(self.exchange.fill(self.exchange.orders[placed.venue_order_ref], quantity))

    # The wire

    def hear(self, received: Received[Any]) -> None:
        self._commands.put_nowait(received.message)

    async def serve(self) -> None:
        """Runs until cancelled."""
        while True:
            await self.obey(await self._commands.get())

    async def obey(self, command: Any) -> None:
        """Takes it to the exchange, once that can be reached, and says what comes of it; of an error nothing."""
        await self._reachable.wait()
        try:
            if isinstance(command, venue.QueryVenueOpenOrders):
                listed = self.exchange.listed(command)
                await self._release()
                await self._publish([listed])
                return
            reports = self.exchange.carry_out(command)
        except Unavailable:
            return
        if self._lost:
            self._lost -= 1
            return
        if isinstance(command, venue.QueryVenueOrders):
            # Behind all that was before it, whatever else changes places.
            await self._release()
        await self._say(reports)

    async def _say(self, reports: _Reports) -> None:
        if not self._reachable.is_set():
            return
        symbol = self.desk.symbol
        apart = [[report] for report in reversed(reports)] if self._mixed else [reports]
        records = [venue.VenueReports(venue=self.name, symbol=symbol, reports=tuple(part)) for part in apart if part]
        if not self._holding:
            await self._publish(records * self._times)
            return
        self._held.append([*records] * self._times)
        if len(self._held) == self._holding:
            await self._release()

    async def _release(self) -> None:
        """Says what is held back, the last first; nothing is held back after that."""
        held, self._held, self._holding = self._held, [], 0
        await self._publish([record for records in reversed(held) for record in records])

    async def _publish(self, said: Sequence[Message]) -> None:
        topic = venue_reports(self.name)
        async with self._bus.transaction() as tx:
            for message in said:
                tx.publish(topic, self.desk.symbol, message, market_at=tx.now)

    async def _status(self, state: VenueStateWord) -> None:
        now = datetime.now(UTC)
        capabilities = (*CAPABILITIES, *map(takes, self.exchange.order_types))
        status = VenueStatus(
            venue=self.name, state=state, feed="simulated", heartbeat_at=now, capabilities=capabilities
        )
        async with self._bus.transaction() as tx:
            tx.publish(EXCHANGE_CONNECTOR_STATUS, self.name, status)


@contextlib.asynccontextmanager
async def hostile_venue(
    desk: Desk, database_url: str, kafka_url: str, prefix: str, *, clock: Clock, order_types: Sequence[OrderType]
) -> AsyncIterator[HostileVenue]:
    """The venue, not connected yet, with these order types besides market and limit. Its topics are there, and
    `database_url` has the bus's migrations. `clock` is that of the execution in front of it."""
    async with Database(database_url, application_name=desk.venue) as database:
        bus = Bus(Process(desk.venue, kafka_url, prefix), database)
        found = HostileVenue(desk, bus, clock, order_types)
        bus.add(Watch("commands", (venue_commands(desk.venue),), found.hear))
        async with bus.running(Health()):
            await eventually(lambda: bus.ready() is None, 30)
            serving = asyncio.create_task(found.serve())
            try:
                yield found
            finally:
                serving.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await serving
