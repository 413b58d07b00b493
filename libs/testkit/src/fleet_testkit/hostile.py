"""A venue that does on request whatever venues have been seen to do to their clients. It speaks the venue contract."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

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
from fleet_contracts.vocabulary import Liquidity, OrderType, Side, TimeInForce, VenueOrderStand, VenueStateWord

from fleet_testkit.desk import Desk
from fleet_testkit.eventually import eventually
from fleet_testkit.exchange import ExchangeOrder, ref_of, report_of, shown
from fleet_testkit.peers import Process
from fleet_testkit.venues import VenueUnderTest

PRICE = Decimal(100)
FEE_RATE = Decimal("0.001")
CAPABILITIES = ("market", "limit", "gtc", "cancel", "replace", "query", LISTS_OPEN_ORDERS)

_Reports = list[venue.AnyVenueReport]


class HostileVenue(VenueUnderTest):
    """An exchange in memory, and the wire to it, which is what cannot be trusted. One of each a test."""

    lot = Decimal(1)
    tick = Decimal("0.01")

    def __init__(self, desk: Desk, bus: Bus, clock: Clock, order_types: Sequence[OrderType]) -> None:
        self.desk = desk
        self._clock, self._order_types = clock, order_types
        self._bus = bus
        self._orders: dict[UUID, ExchangeOrder] = {}
        self._fills: list[venue.VenueOrderFilled] = []
        self._commands: asyncio.Queue[Any] = asyncio.Queue()
        self._reachable = asyncio.Event()
        self._refusing: set[UUID] = set()
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
        if order.order_type not in self._order_types:
            best, turned = PRICE, PRICE + (order.trail_amount or 0)
            while not self.parts(order):
                await self._quote(order.stop_price or best)
                await self._quote(order.stop_price or turned)
                with contextlib.suppress(AssertionError):
                    await eventually(lambda: self.parts(order), 0.2)
            return
        ref = (await self.placed(order)).venue_order_ref
        await eventually(lambda: ref in self._orders, what="the order at the exchange")
        found = self._orders[ref]
        at = venue.VenueOrderTriggered(**report_of(found.place), trigger_price=order.stop_price or PRICE)
        await self._say([at, *self._fill(found, found.quantity)])

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
            return [self._orders[ref] for place in self.parts(order) if (ref := place.venue_order_ref) in self._orders]

        await eventually(here, what="the order at the exchange")
        done = sum((part.cumulative for part in here()), Decimal(0))
        upto = min(done + quantity, order.quantity)
        while done < upto:
            part = await eventually(lambda: next((p for p in here() if p.is_working), None), what="a part that works")
            assert part is not None
            most = min(upto - done, part.quantity - part.cumulative)
            await self._say(self._fill(part, most))
            done += most

    # What goes wrong

    def behave(self) -> None:
        self._lost = self._failing = 0
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
        self._failing = count

    def mix_reports(self) -> None:
        self._mixed = True

    async def refuse_cancel(self, order: trading.SubmitOrder) -> None:
        self._refusing.add((await self.placed(order)).venue_order_ref)

    async def fill_after_cancel(self, order: trading.SubmitOrder, quantity: Decimal) -> None:
        await self._say(self._fill(self._orders[(await self.placed(order)).venue_order_ref], quantity))

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
        self._orders[placed.venue_order_ref] = ExchangeOrder(placed, quantity, PRICE)
        return placed

    async def fill_unasked(self, placed: venue.VenueOpenOrder, quantity: Decimal) -> None:
        await self._say(self._fill(self._orders[placed.venue_order_ref], quantity))

    # The wire

    def hear(self, received: Received[Any]) -> None:
        self._commands.put_nowait(received.message)

    async def serve(self) -> None:
        """Runs until cancelled."""
        while True:
            command = await self._commands.get()
            await self._reachable.wait()
            if isinstance(command, venue.QueryVenueOrders | venue.QueryVenueOpenOrders) and self._failing:
                # 503: who asked has no answer, and must not take that for one.
                self._failing -= 1
            elif isinstance(command, venue.QueryVenueOpenOrders):
                await self._publish([self._listed(command)])
            else:
                reports = self._carry_out(command)
                if self._lost:
                    self._lost -= 1
                else:
                    await self._say(reports)

    async def _say(self, reports: _Reports) -> None:
        if not self._reachable.is_set():
            return
        symbol = self.desk.symbol
        apart = [[report] for report in reversed(reports)] if self._mixed else [reports]
        records = [venue.VenueReports(venue=self.name, symbol=symbol, reports=tuple(part)) for part in apart if part]
        await self._publish(records * self._times)

    async def _publish(self, said: Sequence[Message]) -> None:
        topic = venue_reports(self.name)
        async with self._bus.transaction() as tx:
            for message in said:
                tx.publish(topic, self.desk.symbol, message, market_at=tx.now)

    async def _status(self, state: VenueStateWord) -> None:
        now = datetime.now(UTC)
        capabilities = (*CAPABILITIES, *map(takes, self._order_types))
        status = VenueStatus(
            venue=self.name, state=state, feed="simulated", heartbeat_at=now, capabilities=capabilities
        )
        async with self._bus.transaction() as tx:
            tx.publish(EXCHANGE_CONNECTOR_STATUS, self.name, status)

    # The exchange

    def _carry_out(self, command: Any) -> _Reports:
        match command:
            case venue.PlaceVenueOrder():
                return self._place(command)
            case venue.CancelVenueOrder():
                return self._cancel(command)
            case venue.ReplaceVenueOrder():
                return self._replace(command)
            case venue.QueryVenueOrders():
                return [self._state(ref, command.account_id) for ref in command.venue_order_refs]
        raise AssertionError(f"no command of the venue contract, was {command!r}")

    def _place(self, command: venue.PlaceVenueOrder) -> _Reports:
        ref = command.venue_order_ref
        if ref in self._orders:
            return [self._state(ref, command.account_id)]
        self._orders[ref] = order = ExchangeOrder(command, command.quantity, command.limit_price)
        if command.order_type not in (OrderType.MARKET, OrderType.LIMIT, *self._order_types):
            order.stand, order.code = VenueOrderStand.REJECTED, "unsupported"
            return [venue.VenueOrderRejected(**report_of(command), code="unsupported", detail="It has not been named.")]
        if command.quantity % self.lot or (command.limit_price or self.tick) % self.tick:
            order.stand, order.code = VenueOrderStand.REJECTED, "invalid_order"
            return [venue.VenueOrderRejected(**report_of(command), code="invalid_order", detail="It is off the grid.")]
        reports: _Reports = [venue.VenueOrderAccepted(**report_of(command))]
        if command.order_type is OrderType.MARKET:
            half = command.quantity // 2 // self.lot * self.lot
            reports += self._fill(order, half) + self._fill(order, command.quantity - half)
        return reports

    def _cancel(self, command: venue.CancelVenueOrder) -> _Reports:
        order, answer = self._open(command), {**report_of(command), "request": command.request}
        if order is None:
            return [venue.VenueCancelRejected(**answer, code="unknown_order", detail="Not open here.")]
        if command.venue_order_ref in self._refusing:
            self._refusing.remove(command.venue_order_ref)
            return [venue.VenueCancelRejected(**answer, code="busy", detail="Not now.")]
        order.stand, order.code = VenueOrderStand.CANCELED, "requested"
        canceled = venue.VenueOrderCanceled(
            **report_of(command), code="requested", detail="As asked.", cumulative_quantity=order.cumulative
        )
        return [canceled]

    def _replace(self, command: venue.ReplaceVenueOrder) -> _Reports:
        order, answer = self._open(command), {**report_of(command), "request": command.request}
        if order is None:
            return [venue.VenueReplaceRejected(**answer, code="unknown_order", detail="Not open here.")]
        if (command.limit_price or self.tick) % self.tick:
            return [venue.VenueReplaceRejected(**answer, code="invalid_price", detail="It is off the grid.")]
        order.quantity = command.quantity or order.quantity
        order.limit_price = command.limit_price or order.limit_price
        replaced = venue.VenueOrderReplaced(
            **answer,
            quantity=order.quantity,
            limit_price=order.limit_price,
            cumulative_quantity=order.cumulative,
        )
        return [replaced]

    def _open(self, command: venue.CancelVenueOrder | venue.ReplaceVenueOrder) -> ExchangeOrder | None:
        order = self._orders.get(command.venue_order_ref)
        is_own = order is not None and order.place.account_id == command.account_id
        return order if is_own and order is not None and order.is_working else None

    def _fill(self, order: ExchangeOrder, quantity: Decimal) -> _Reports:
        price = order.limit_price or order.place.stop_price or PRICE
        fill = venue.VenueOrderFilled(
            **report_of(order.place),
            venue_trade_id=f"t{len(self._fills) + 1}",
            last_quantity=quantity,
            last_price=price,
            cumulative_quantity=order.cumulative + quantity,
            fee=quantity * price * FEE_RATE,
            fee_currency="USD",
            liquidity=Liquidity.MAKER,
            executed_at=datetime.now(UTC),
        )
        order.fills.append(fill)
        self._fills.append(fill)
        if order.is_working and order.cumulative >= order.quantity:
            order.stand = VenueOrderStand.FILLED
        return [fill]

    def _state(self, ref: UUID, account_id: UUID) -> venue.VenueOrderState:
        order, at = self._orders.get(ref), datetime.now(UTC)
        if order is None or order.place.account_id != account_id:
            return venue.VenueOrderState(
                venue_order_ref=ref,
                account_id=account_id,
                market_at=at,
                stand=VenueOrderStand.UNKNOWN,
                cumulative_quantity=Decimal(0),
                fills=(),
            )
        return venue.VenueOrderState(
            **report_of(order.place),
            stand=order.stand,
            cumulative_quantity=order.cumulative,
            fills=tuple(order.fills),
            code=order.code,
            cumulative_notional=order.notional,
            fees=order.fees,
            fee_currency="USD",
        )

    def _listed(self, query: venue.QueryVenueOpenOrders) -> venue.VenueOpenOrders:
        ids = [fill.venue_trade_id for fill in self._fills]
        fills = self._fills[ids.index(query.since_trade_id) :] if query.since_trade_id in ids else []
        has_more_fills, fills = len(fills) > query.most, fills[: query.most]
        filled = {fill.venue_order_ref for fill in fills}
        listed = [
            order for ref, order in self._orders.items() if order.is_working or (ref in filled and query.after is None)
        ]
        page = sorted((order for order in listed if query.after is None or ref_of(order) > query.after), key=ref_of)
        after = query.positions_after
        held = [position for position in self._positions() if after is None or position[0] > after]
        return venue.VenueOpenOrders(
            venue=self.name,
            symbol=query.symbol,
            query_id=query.query_id,
            market_at=datetime.now(UTC),
            orders=tuple(shown(order) for order in page[: query.most]),
            has_more_orders=len(page) > query.most,
            fills=tuple(fills),
            has_more_fills=has_more_fills,
            last_trade_id=(fills or self._fills)[-1].venue_trade_id if self._fills else None,
            positions=tuple(
                venue.VenuePosition(account_id=account_id, quantity=quantity)
                for account_id, quantity in held[: query.most]
            ),
            has_more_positions=len(held) > query.most,
        )

    def _positions(self) -> list[tuple[UUID, Decimal]]:
        """What each account holds by all its fills, by rising account."""
        held: dict[UUID, Decimal] = {}
        for order in self._orders.values():
            filled = order.cumulative if order.place.side is Side.BUY else -order.cumulative
            held[order.place.account_id] = held.get(order.place.account_id, Decimal(0)) + filled
        return sorted((account_id, quantity) for account_id, quantity in held.items() if quantity)


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
