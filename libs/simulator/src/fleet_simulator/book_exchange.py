"""The exchange whose orders meet each other: all order types above the core book, and its call auctions."""

from collections.abc import Callable

from fleet_simulator.auction import clearing, ranked, shares
from fleet_simulator.book import Book
from fleet_simulator.book.events import Events
from fleet_simulator.events import Event
from fleet_simulator.exchange import Exchange
from fleet_simulator.fees import FeeModel
from fleet_simulator.matcher import CoreMatcher
from fleet_simulator.orders import Command, Phase, TimeInForce


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
