"""One symbol's market: takes commands, is shown prices, answers with events. No clock, no I/O, integers only."""

from collections.abc import Mapping
from enum import StrEnum
from fractions import Fraction
from typing import Any, NamedTuple

from fleet_simulator.databook import DataBook, Spot
from fleet_simulator.depth import Depth
from fleet_simulator.events import Event
from fleet_simulator.exchange import Exchange
from fleet_simulator.fees import FeeModel
from fleet_simulator.hashing import state_hash
from fleet_simulator.inputs import Bar, BookDelta, BookSnapshot, Quote, Trade
from fleet_simulator.latency import Latency
from fleet_simulator.orders import Command, Order, Side, TimeInForce, command_from_data, command_to_data
from fleet_simulator.slippage import Slippage
from fleet_simulator.triggers import Shown

QUOTE_LIFETIME_NS = 5_000_000_000
"""How long a quote stands without a new one: as long as a command may be on its way (`send_by`, 5 s)."""


class PastPrice(ValueError):
    """A bar or quote that is not after what the market has seen; it was not applied."""


class BrokenBook(ValueError):
    """Changes without a book that they change, or a book that crosses: a new snapshot is needed, nothing stands."""


class BarPath(StrEnum):
    """What is assumed of the order of a bar's prices. `worst_first`: before any limit fills on the way, every stop that
    the bar reaches is elected, and a limit that is released within the bar does not fill in it."""

    NEARER_EXTREME = "nearer_extreme"
    WORST_FIRST = "worst_first"


class BarEvents(NamedTuple):
    """What a bar did, in the order of its events: at its open (and before), on the way to its close, and the end of
    orders that the open was the only price for."""

    at_open: list[Event]
    on_way: list[Event]
    open_only: list[Event]


class Market:
    """Fills the orders of one symbol from bars, quotes, trades or full books; README.md has the rules.

    `volume_share` bounds what all orders together take of a bar's volume, or of a quote's size; `None` (the default)
    is without bound: every order fills in full at its price. Of a trade and of a full book's levels never more than
    their size is taken. `slippage` is paid by who takes from bars, quotes and trades; `latency` is a command's way here: its
    events then come with the first price after its arrival. `market_at` is the time of the last price.
    """

    def __init__(
        self,
        symbol: str,
        fees: FeeModel,
        *,
        volume_share: Fraction | None = None,
        quote_lifetime_ns: int = QUOTE_LIFETIME_NS,
        slippage: Slippage | None = None,
        latency: Latency | None = None,
        path: BarPath = BarPath.NEARER_EXTREME,
    ) -> None:
        self.symbol = symbol
        self.market_at = 0
        self._book = DataBook(volume_share, quote_lifetime_ns, slippage)
        self._exchange = Exchange(fees, self._book)
        self._latency = latency
        self._is_worst_first = path is BarPath.WORST_FIRST
        self._on_the_way: list[tuple[int, Command]] = []
        self._is_opening = True  # no price has been shown in this session
        self._closing: tuple[int, int, int | None, int] | None = None  # eligible before, price, volume left, volume

    @property
    def orders(self) -> Mapping[str, Order]:
        """The orders that have not ended, by reference, in arrival order. To be read only."""
        return self._exchange.orders

    @property
    def positions(self) -> Mapping[str, int]:
        """Signed lots by account, of the fills here."""
        return self._exchange.positions.to_data()

    def position(self, account_id: str) -> int:
        """Signed lots of one account."""
        return self._exchange.positions.of(account_id)

    def positions_above(self, account_id: str | None, most: int) -> list[tuple[str, int]]:
        """(account, signed lots) of the first `most` above this one, by rising account."""
        return self._exchange.positions.above(account_id, most)

    def nearest(self) -> list[Order]:
        """Whatever price comes: if it does something to any order, then to one of these, too. To be read only."""
        opening = self._exchange.waiting_for(TimeInForce.AT_OPEN) if self._is_opening else []
        return self._book.resting.nearest() + self._exchange.nearest() + opening

    @property
    def next_expiry(self) -> int | None:
        """When the next `gtd` order ends."""
        return self._exchange.expires_at()

    @property
    def has_session_orders(self) -> bool:
        """Whether the end of the session would do something to an order."""
        return self._exchange.has_session_orders

    def apply(self, command: Command, market_at: int) -> list[Event]:
        """One command, at the market time at which the venue took it, or its sender sent it where there is latency.

        The order counts as accepted no earlier than the last price shown, whatever time is given.
        """
        at = max(market_at, self.market_at)
        if self._latency is None:
            return self._exchange.apply(command, at)
        arrives_at = at + self._latency.delay_ns(command.order_ref, command.command_sequence)
        # What an account has sent arrives in its order.
        before = [each_at for each_at, sent in self._on_the_way if sent.account_id == command.account_id]
        self._on_the_way.append((max([arrives_at, *before[-1:]]), command))
        return []

    def reject(self, order_ref: str, market_at: int) -> list[Event]:
        """As `Exchange.reject`: an order was rejected before it came here."""
        return self._exchange.reject(order_ref, max(market_at, self.market_at))

    def on_bar(self, bar: Bar) -> list[Event]:
        """Fills along the bar's path the orders accepted at or before its open (so before its close)."""
        return [event for part in self.on_bar_by_parts(bar) for event in part]

    def on_bar_by_parts(self, bar: Bar) -> BarEvents:
        """As `on_bar`, for who tells what happened at the open from what happened later."""
        if bar.market_at <= self.market_at:
            raise PastPrice(f"{self.symbol}: a bar must be after {self.market_at}, was {bar.market_at}")
        at_open = self._go_on(bar.open_at)
        self.market_at = bar.market_at
        self._book.depth = None
        self._book.end_taking(bar.market_at, always=True)
        if not bar.volume:
            return BarEvents(at_open, [], [])
        left = self._book.share_of(bar.volume)
        at_open += self._at(Spot(bar.open, left, bar.volume, bar.eligible_before - 1), bar.eligible_before)
        spot = self._book.spot
        assert spot is not None, "the bar is on its way"
        on_way = self._exchange.expire(bar.market_at - 1)
        if self._is_worst_first:
            for extreme in (bar.low, bar.high):
                spot.price = bar.open
                on_way += self._walk(bar, extreme, worst_first=True)
            spot.price = bar.open
        for target in (bar.low, bar.high, bar.close) if bar.is_low_first else (bar.high, bar.low, bar.close):
            on_way += self._walk(bar, target)
        self._closing = bar.eligible_before, bar.close, spot.left, bar.volume
        return BarEvents(at_open, on_way, self._price_over(bar.eligible_before))

    def on_quote(self, quote: Quote) -> list[Event]:
        """The quote stands from now on; it fills what was accepted before it and is marketable against it."""
        events = self._next(quote.market_at, "quote")
        depth = self._book.depth
        if depth is not None and depth.is_again(quote):
            depth.market_at = quote.market_at
        else:
            self._book.depth = Depth.of_quote(quote)
        return events + self._depth_changed()

    def on_book(self, book: BookSnapshot) -> list[Event]:
        """The whole book, which stands until it changes; as a quote, but every level is there to be taken."""
        events = self._next(book.market_at, "book")
        self._book.depth = Depth.of_book(book)
        return events + self._depth_changed()

    def on_book_delta(self, delta: BookDelta) -> list[Event]:
        """A change of the standing book. Without one, or where it comes to cross, nothing stands (`BrokenBook`)."""
        depth = self._book.depth
        if depth is None or not depth.is_book:
            raise BrokenBook(f"{self.symbol}: there is no book to change at {delta.market_at}")
        events = self._next(delta.market_at, "book")
        depth.change(delta)
        return events + self._depth_changed()

    def on_trade(self, trade: Trade) -> list[Event]:
        """A trade of others fills what waits at its price or beyond, behind what stood ahead of it."""
        events = self._next(trade.market_at, "trade")
        left = self._book.share_of(trade.quantity, always=True)
        spot = Spot(trade.price, left, trade.quantity, trade.market_at)
        events += self._at(spot, trade.market_at, trade)
        return events + self._price_over(trade.market_at)

    def end_session(self, market_at: int) -> list[Event]:
        """The closing auction at the last price, then the end of the day orders accepted before this end of a session:
        the first to end after their acceptance."""
        before = market_at
        if self._closing is not None:
            before, price, left, volume = self._closing
            self._book.spot = Spot(price, left, volume, before - 1)
        events = self._exchange.release(TimeInForce.AT_CLOSE, market_at, accepted_before=before)
        self._book.spot, self._closing, self._is_opening = None, None, True
        return events + self._exchange.end_session(market_at)

    def split(self, numerator: int, denominator: int, market_at: int) -> list[Event]:
        """As `Exchange.split`; no price stands after it."""
        self._book.depth, self._closing = None, None
        return self._exchange.split(numerator, denominator, max(market_at, self.market_at))

    def dividend(self, ticks: int, market_at: int) -> list[Event]:
        """As `Exchange.dividend`; no price stands after it."""
        self._book.depth, self._closing = None, None
        return self._exchange.dividend(ticks, max(market_at, self.market_at))

    def correct_position(self, account_id: str, lots: int, market_at: int) -> list[Event]:
        """As `Exchange.correct_position`."""
        return self._exchange.correct_position(account_id, lots, max(market_at, self.market_at))

    def take_changed(self) -> set[str]:
        """References of orders that have changed without an event since the last time: trailing marks, places in queues,
        children whose parent has ended.

        For who keeps each order in a row of its own.
        """
        changed = (self._exchange.changed | self._book.changed) & self.orders.keys()
        self._exchange.changed.clear()
        self._book.changed.clear()
        return changed

    # State

    def state(self) -> dict[str, Any]:
        """All but the orders, as plain data; its size does not grow with them."""
        return {
            "symbol": self.symbol,
            "market_at": self.market_at,
            "is_opening": self._is_opening,
            "closing": list(self._closing) if self._closing else None,
            "on_the_way": [[at, command_to_data(command)] for at, command in self._on_the_way],
            **self._exchange.state(),
            **self._book.state(),
        }

    def snapshot(self) -> dict[str, Any]:
        """All state as plain data: integers, strings, lists. `market` is all but the orders, each of them a row."""
        orders = [order.to_data() for order in self.orders.values()]
        return {"market": self.state(), "orders": orders, "positions": dict(self.positions)}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Takes the place of all state; the rules and models are the constructor's. Orders in any order.

        `positions` are needed for orders that only reduce.
        """
        market = snapshot["market"]
        if market["symbol"] != self.symbol:
            raise ValueError(f"a snapshot of {self.symbol} is needed, was {market['symbol']}")
        self.market_at = market["market_at"]
        self._is_opening = market.get("is_opening", True)
        closing = market.get("closing")
        self._closing = (closing[0], closing[1], closing[2], closing[3]) if closing else None
        self._on_the_way = [(at, command_from_data(data)) for at, data in market.get("on_the_way", [])]
        self._exchange.restore({**snapshot, "exchange": market, "book": market})

    def state_hash(self) -> str:
        """SHA-256 of the snapshot; equal for equal commands and prices, however they were batched."""
        return state_hash(self.snapshot())

    # The turns of one price

    def _next(self, market_at: int, what: str) -> list[Event]:
        if market_at < self.market_at:
            raise PastPrice(f"{self.symbol}: a {what} must not be before {self.market_at}, was {market_at}")
        events = self._go_on(market_at)
        self.market_at = market_at
        return events

    def _go_on(self, until: int) -> list[Event]:
        """What happened on the way to the next price: commands arrived, and orders came to the end of their time."""
        events: list[Event] = []
        arrived = sorted((entry for entry in self._on_the_way if entry[0] <= until), key=lambda entry: entry[0])
        self._on_the_way = [entry for entry in self._on_the_way if entry[0] > until]
        for at, command in arrived:
            events += self._exchange.expire(at) + self._exchange.apply(command, max(at, self.market_at))
        return events + self._exchange.expire(until)

    def _at(self, spot: Spot, before: int, trade: Trade | None = None) -> list[Event]:
        """The first price of a bar, or a trade: the opening auction, unlimited orders, limits, then triggers."""
        self._book.spot = spot
        events = self._open(before)
        for order in self._by_turn(spot.price, trade):
            if order.accepted_at < before and order in self._book.resting:
                events += self._meet(order, spot, trade)
        return events + self._exchange.show(Shown.trade(spot.price), self.market_at, accepted_before=before)

    def _meet(self, order: Order, spot: Spot, trade: Trade | None) -> list[Event]:
        is_taker = not order.type.has_limit or not self._book.has_rested(order)
        if trade is None or is_taker:
            # A bar's open is better than a limit that has rested, and it is the open that such an order gets.
            return self._absorb(order, is_taker=is_taker)
        if trade.aggressor is order.side:
            return []
        if order.limit_price != trade.price:
            return self._absorb(order, is_taker=False, price=order.limit_price)
        if order.ahead is None:
            return []  # it is not known what stands before it: only a trade beyond its price shows that it was its turn
        most = max(0, trade.quantity - order.ahead)
        if order.ahead:
            order.ahead = max(0, order.ahead - trade.quantity)
            self._book.changed.add(order.order_ref)
        return self._absorb(order, is_taker=False, most=most)

    def _absorb(
        self, order: Order, *, is_taker: bool, most: int | None = None, price: int | None = None
    ) -> list[Event]:
        matches = self._book.meet_spot(order, is_taker=is_taker, most=most, price=price)
        return self._exchange.absorb(matches, self.market_at)

    def _by_turn(self, price: int, trade: Trade | None) -> list[Order]:
        """Unlimited orders by priority, then limits, the furthest beyond the price first."""
        found = self._book.resting.reached(lowest=price, highest=price)
        return sorted(
            found, key=lambda o: (o.limit_price is not None, -abs((o.limit_price or price) - price), o.priority)
        )

    def _open(self, before: int) -> list[Event]:
        if not self._is_opening:
            return []
        self._is_opening = False
        return self._exchange.release(TimeInForce.AT_OPEN, self.market_at, accepted_before=before)

    def _walk(self, bar: Bar, target: int, *, worst_first: bool = False) -> list[Event]:
        """From the spot to a price of the bar, with a stop wherever an order is touched or elected."""
        spot = self._book.spot
        assert spot is not None, "the bar is on its way"
        before, at = bar.eligible_before, bar.market_at
        events: list[Event] = []
        while True:
            touched = None if worst_first else self._touched(spot, target, before)
            elected = self._exchange.next_trigger(spot.price, target, before, worst_first=worst_first)
            stops = [price for price in (touched, elected) if price is not None]
            start, spot.price = spot.price, min(stops, key=lambda price: abs(price - spot.price), default=target)
            if not worst_first:
                events += self._fill_touched(spot, start, before)
            if stops or not worst_first:
                shown = Shown.trade(spot.price)
                events += self._exchange.show(shown, at, accepted_before=before, worst_first=worst_first)
            if not stops:
                return events

    def _touched(self, spot: Spot, target: int, before: int) -> int | None:
        side = Side.BUY if target < spot.price else Side.SELL
        if spot.left == 0 or target == spot.price:
            return None
        on_way = self._book.resting.between(side, spot.price, target)
        return next((order.limit_price for order in on_way if self._may_be_touched(order, spot, before)), None)

    def _fill_touched(self, spot: Spot, start: int, before: int) -> list[Event]:
        if spot.price == start:
            return []
        side = Side.BUY if spot.price < start else Side.SELL
        events: list[Event] = []
        for order in list(self._book.resting.between(side, start, spot.price)):
            if order in self._book.resting and self._may_be_touched(order, spot, before):
                events += self._absorb(order, is_taker=False)
        return events

    def _may_be_touched(self, order: Order, spot: Spot, before: int) -> bool:
        is_late = self._is_worst_first and order.order_ref in spot.released
        return order.accepted_at < before and not order.time_in_force.is_immediate and not is_late

    def _depth_changed(self) -> list[Event]:
        """The orders that the standing prices reach take their turn against them; then triggers look at them."""
        depth = self._book.depth
        assert depth is not None, "there is a price"
        if depth.is_book and depth.is_crossed:
            self._book.depth = None
            raise BrokenBook(f"{self.symbol}: the book at {depth.market_at} is crossed")
        self._book.cap_ahead()
        self._book.end_taking(self.market_at)
        bid, ask = depth.best(Side.BUY), depth.best(Side.SELL)
        events = self._open(self.market_at) if bid is not None or ask is not None else []
        for order in self._book.resting.reached(lowest=ask, highest=bid):
            if order.accepted_at < self.market_at and order in self._book.resting:
                is_taker = not order.type.has_limit or not self._book.has_rested(order)
                events += self._exchange.absorb(self._book.meet_depth(order, is_taker=is_taker), self.market_at)
        events += self._price_over(self.market_at)
        return events + self._exchange.show(Shown(bid, ask), self.market_at, accepted_before=self.market_at)

    def _price_over(self, before: int) -> list[Event]:
        """Immediate orders do not outlive the first price that they could have filled at."""
        self._book.spot = None
        events: list[Event] = []
        for order in self._book.resting.first_price_only():
            if order.accepted_at < before and order in self._book.resting:
                events += self._exchange.absorb(self._book.over(order), self.market_at)
        self._book.rested_before = before
        return events
