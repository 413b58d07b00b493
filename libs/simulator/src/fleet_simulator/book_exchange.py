"""The exchange whose orders meet each other: all order types above the core book, and its call auctions."""

from bisect import insort
from collections.abc import Callable, Sequence

from fleet_simulator.auction import clearing, crosses, eagerness, ranked, shares
from fleet_simulator.book import Book
from fleet_simulator.book.events import Events
from fleet_simulator.events import Event
from fleet_simulator.exchange import Exchange
from fleet_simulator.fees import FeeModel
from fleet_simulator.matcher import CoreMatcher
from fleet_simulator.orders import Command, Order, Phase, SelfTrade, Side, TimeInForce


class BookExchange(Exchange):
    """Time goes on with each call: `gtd` orders whose time has come end before anything else is done.

    `watch` is shown the core's events of each core command, as a venue tells them to everybody.
    """

    def __init__(self, fees: FeeModel, book: Book, watch: Callable[[Events], None] | None = None) -> None:
        self._core = CoreMatcher(book, watch)
        super().__init__(fees, self._core)

    @property
    def book(self) -> Book:
        """To be read only."""
        return self._core.book

    def apply(self, command: Command, at: int) -> list[Event]:
        return self.expire(at) + super().apply(command, at)

    def auction(self, time_in_force: TimeInForce, reference: int | None, at: int) -> list[Event]:
        """The call auction of the orders that wait for it (`at_open` or `at_close`) with all that rests in the book.

        What trades does so at one price, shared out by price, then time; what is left of the orders that waited ends.
        """
        events = self.expire(at)
        waiting = self.waiting_for(time_in_force)
        for order in waiting:
            order.phase = Phase.BOOK
        for order in waiting:
            if order.reduce_only:
                self._fit(order, at)
        self._prevent_self_trades([order for order in waiting if self._is_open(order)], at)
        waiting = [order for order in waiting if self._is_open(order)]
        if not waiting:
            return events + self._settled(at)  # what rests does not cross
        orders = waiting + [o for o in self.orders.values() if o.phase is Phase.BOOK and o.resting]
        found = clearing(orders, reference)
        if found is not None:
            buys = ranked([order for order in orders if order.is_buy], found.price)
            sells = ranked([order for order in orders if not order.is_buy], found.price)
            for order in buys + sells:
                self._take_out(order)
            bought, sold = shares(buys, found.volume), shares(sells, found.volume)
            for order, quantity in sold + bought:
                self._book_ids += 1
                order.book_id, order.resting, order.entered_at = self._book_ids, quantity, at
            self._take(self._core.uncross(bought, sold, found.price), at)
            for order in buys + sells:
                if self._is_open(order) and order.remaining and not order.resting and order not in waiting:
                    self._enter(order, at)
        for order in waiting:
            self._cancel_order(order, "auction", at)
        return events + self._settled(at)

    def _prevent_self_trades(self, waiting: Sequence[Order], at: int) -> None:
        """Before there is a price: of each account that waits, all that the auction could trade meets by arrival, as it
        would in the book. The later one's word counts, and none of an account's orders that are left cross."""
        waits = {order.order_ref for order in waiting}
        for account_id in dict.fromkeys(order.account_id for order in waiting):
            account = self._of_account.get(account_id)
            own = [] if account is None else list(account.orders.values())
            came: dict[Side, list[Order]] = {Side.BUY: [], Side.SELL: []}
            for order in sorted(own, key=lambda each: each.priority):
                if order.phase is not Phase.BOOK or not (order.resting or order.order_ref in waits):
                    continue
                others = came[Side.SELL if order.is_buy else Side.BUY]
                prevents = order.self_trade is not SelfTrade.ALLOW
                while prevents and others and crosses(order, others[0]) and self._can_trade(order):
                    self._prevent(order, others[0], at)
                    if not self._can_trade(others[0]):
                        del others[0]
                if self._can_trade(order):
                    insort(came[order.side], order, key=eagerness)

    def _can_trade(self, order: Order) -> bool:
        return self._is_open(order) and order.remaining > 0

    def _prevent(self, order: Order, other: Order, at: int) -> None:
        """`order` came later than `other`."""
        if order.self_trade is SelfTrade.DECREMENT:
            quantity = min(order.remaining, other.remaining)
            self._shrink(other, quantity, "self_trade", at)
            self._shrink(order, quantity, "self_trade", at)
            return
        if order.self_trade is not SelfTrade.CANCEL_NEWEST:
            self._cancel_order(other, "self_trade", at)
        if order.self_trade is not SelfTrade.CANCEL_OLDEST:
            self._cancel_order(order, "self_trade", at)
