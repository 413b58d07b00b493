"""What the acceptance cases of venue adapters ask of a venue. docs/venues.md tells how an adapter comes to run them."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from decimal import Decimal
from typing import Any, NoReturn
from uuid import UUID, uuid4

import pytest
from fleet_contracts import trading, venue
from fleet_contracts.exchange_connector import LISTS_OPEN_ORDERS, VenueStatus
from fleet_contracts.topics import venue_commands
from fleet_contracts.vocabulary import VenueOrderStand

from fleet_testkit.desk import Desk
from fleet_testkit.eventually import eventually


class VenueUnderTest(ABC):
    """A venue behind execution, both running; `desk` is where its orders come from.

    An adapter's own class says how its market is moved, its connection cut, and how it can be made to go wrong. What
    cannot happen at it by its nature calls `cannot`: the case is skipped, and the run prints why."""

    desk: Desk
    lot: Decimal
    """An amount that can be traded, and so can its multiples."""
    tick: Decimal

    @property
    def name(self) -> str:
        return self.desk.venue

    def cannot(self, reason: str) -> NoReturn:
        pytest.skip(f"{self.name}: {reason}")

    # The market

    @abstractmethod
    async def price(self) -> Decimal:
        """What it trades at now."""

    @abstractmethod
    async def resting_price(self) -> Decimal:
        """A buyer's limit that rests now and that `trade` can fill."""

    async def far_price(self) -> Decimal:
        """A buyer's limit that nothing fills."""
        price = await self.price() / 2
        return price - price % self.tick

    async def supply(self, quantity: Decimal) -> None:
        """Sees to it that there is so much to be bought at the market."""
        return

    @abstractmethod
    async def trade(self, order: trading.SubmitOrder, quantity: Decimal) -> None:
        """Has the market trade so much with the order."""

    parts_lots = 10
    """An order of so many lots can be filled in parts."""
    takes_amounts = True
    """Whether `trade` can be told how much; else it trades as much as it happens to show."""

    @abstractmethod
    async def stop_price(self) -> Decimal:
        """A buyer's stop that is not triggered as it comes and that `trigger` can trigger."""

    @abstractmethod
    async def exit_price(self) -> Decimal:
        """A seller's stop that `trigger` can trigger; `profit_price` is not reached with it."""

    @abstractmethod
    async def trigger(self, order: trading.SubmitOrder) -> None:
        """Has the market come to the order's stop price, or turn by its trail, with so much to be traded there."""

    @abstractmethod
    async def profit_price(self) -> Decimal:
        """A seller's limit that `trade` can fill."""

    # What goes wrong

    def behave(self) -> None:
        """From now on nothing goes wrong; each case begins with it."""
        return

    @abstractmethod
    def away(self) -> contextlib.AbstractAsyncContextManager[None]:
        """It cannot be reached, and is back afterwards."""

    async def trade_while_away(self, order: trading.SubmitOrder, quantity: Decimal) -> bool:
        """Whether the market could trade with the order meanwhile."""
        return False

    def repeat_reports(self) -> None:
        """From now on each report is said twice, where the venue's way of saying them lets that happen."""
        return

    @abstractmethod
    def lose_answers(self, count: int) -> None:
        """Of the next so many commands nothing is heard, though they are carried out."""

    @abstractmethod
    def fail_queries(self, count: int) -> None:
        """The next so many questions are answered with an error of the server."""

    @abstractmethod
    def fail_commands(self, count: int) -> None:
        """The next so many commands are answered with an error of the server, and not carried out."""

    @abstractmethod
    def mix_reports(self) -> None:
        """From now on what is said of one command comes in the wrong order."""

    @abstractmethod
    def mix_causes(self, count: int) -> None:
        """What is said of the next so many commands and trades comes last first, before the answer to any question."""

    @abstractmethod
    def forget_fills(self) -> None:
        """From now on it names no fill any more, though it tells what an order's fills come to."""

    async def tell_forgotten(self, order: trading.SubmitOrder) -> None:
        """Has it tell the order's fills after all."""
        self.cannot("it has forgotten none")

    async def refuse_cancel(self, order: trading.SubmitOrder) -> None:
        """Sees to it that the next cancel of the order is refused: here, because it has filled by then."""
        await self.trade(order, order.quantity)

    @abstractmethod
    async def fill_after_cancel(self, order: trading.SubmitOrder, quantity: Decimal) -> None:
        """A fill that the venue tells after it has told the order's cancel."""

    @abstractmethod
    async def place_unasked(self, quantity: Decimal) -> venue.VenueOpenOrder:
        """An order to buy that somebody has placed at the venue himself."""

    async def fill_unasked(self, placed: venue.VenueOpenOrder, quantity: Decimal) -> None:
        """Has the market trade so much with it."""
        self.cannot("nobody has placed an order there himself")

    # The venue contract itself

    @property
    def capabilities(self) -> frozenset[str]:
        """What the venue says it can do; none as long as it has not said."""
        said = [status for status in self.desk.peers.heard_of(VenueStatus, self.name) if status.venue == self.name]
        return frozenset(said[-1].capabilities) if said else frozenset()

    def needs(self, capability: str) -> None:
        if capability not in self.capabilities:
            self.cannot(f"it does not name the capability {capability}")

    def parts(self, order: trading.SubmitOrder) -> list[venue.PlaceVenueOrder]:
        """What execution told the venue of the order, which is known by its account, side and prices: one venue order, of
        a leg that execution holds perhaps several. One whose price execution watches has no stop any more."""
        terms, stops = (order.account_id, order.side, order.limit_price), (order.stop_price, None)
        heard = self.desk.peers.heard_of(venue.PlaceVenueOrder)
        found = [p for p in heard if (p.account_id, p.side, p.limit_price) == terms and p.stop_price in stops]
        return list({place.venue_order_ref: place for place in found}.values())

    async def placed(self, order: trading.SubmitOrder) -> venue.PlaceVenueOrder:
        """The one venue order that it is."""
        (place,) = await eventually(lambda: self.parts(order), what=f"a venue order of {order.order_id}")
        return place

    async def command(self, command: Any) -> None:
        await self.desk.peers.say((venue_commands(self.name), command.symbol, command))

    def reports_of(self, ref: UUID, kind: type[Any]) -> list[Any]:
        records = self.desk.peers.heard_of(venue.VenueReports, self.desk.symbol)
        return [r for record in records for r in record.reports if r.venue_order_ref == ref and type(r) is kind]

    async def state(self, ref: UUID, account_id: UUID) -> venue.VenueOrderState:
        """What the venue says of the order when it is asked for it."""
        said = len(self.reports_of(ref, venue.VenueOrderState))
        query = venue.QueryVenueOrders(
            venue_order_refs=(ref,),
            account_id=account_id,
            user_id=uuid4(),
            command_sequence=0,
            symbol=self.desk.symbol,
        )
        await self.command(query)
        answers = await eventually(lambda: self.reports_of(ref, venue.VenueOrderState)[said:], what="an answer")
        state: venue.VenueOrderState = answers[0]
        return state

    async def open_orders(self) -> dict[UUID, venue.VenueOpenOrder]:
        """All that the venue lists as open, by reference."""
        listed = await self.listing()
        assert not listed.has_more_orders
        return {o.venue_order_ref: o for o in listed.orders if o.stand is VenueOrderStand.WORKING}

    async def listing(self) -> venue.VenueOpenOrders:
        """Its books as it lists them now; a test has no more of anything than one page."""
        query = venue.QueryVenueOpenOrders(
            query_id=uuid4(), symbol=self.desk.symbol, after=None, since_trade_id=None, most=500
        )
        await self.command(query)

        def answer() -> venue.VenueOpenOrders | None:
            heard = self.desk.peers.heard_of(venue.VenueOpenOrders, self.desk.symbol)
            return next((said for said in heard if said.query_id == query.query_id), None)

        listed = await eventually(answer, what="a list of open orders")
        assert listed is not None
        return listed

    async def agrees(self, order: trading.SubmitOrder) -> list[venue.VenueOrderState]:
        """What trading was told of the order is what its venue says, fill by fill, and the same is open on both sides."""
        believed, parts = self.desk.believed(order), self.parts(order)
        assert parts, f"the venue was told nothing of {order}"
        states = [await self.state(part.venue_order_ref, order.account_id) for part in parts]
        assert {_told(fill) for fill in believed.fills.values()} == {_told(f) for state in states for f in state.fills}
        assert believed.filled == sum((state.cumulative_quantity for state in states), Decimal(0))
        assert all(fill.executed_at.tzinfo and fill.last_price > 0 for fill in believed.fills.values())
        if len(states) == 1:
            assert believed.stand == states[0].stand.value
        if LISTS_OPEN_ORDERS in self.capabilities:
            listed = await self.open_orders()
            is_open = [part.venue_order_ref for part in parts if part.venue_order_ref in listed]
            assert bool(is_open) == (believed.stand == "working")
            if len(parts) == len(is_open) == 1:
                (theirs,) = (listed[ref] for ref in is_open)
                assert (theirs.quantity, theirs.limit_price) == (believed.quantity, believed.limit_price)
        return states


def _told(fill: Any) -> tuple[Any, ...]:
    """What both sides must say of a fill in the same way."""
    return fill.venue_trade_id, fill.last_quantity, fill.last_price, fill.fee, fill.fee_currency, fill.liquidity
