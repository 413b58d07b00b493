"""The layer above a book: every order type, made of the core's commands. Pure, no clock; README.md has the rules."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice, repeat
from typing import Any

from fleet_simulator.admission import replace_refusal
from fleet_simulator.corporate import dividend, split
from fleet_simulator.events import CancelRejected, Event, Expired, ReplaceRejected
from fleet_simulator.groups import Groups
from fleet_simulator.hashing import state_hash
from fleet_simulator.lifecycle import OrderLifecycle, expiry
from fleet_simulator.matcher import Match, Refused
from fleet_simulator.orders import Cancel, Command, Order, Phase, Place, Replace, TimeInForce
from fleet_simulator.positions import Positions
from fleet_simulator.triggers import Shown, Triggers


class Exchange(OrderLifecycle):
    """One symbol's orders of all types, above a book. Each call answers with the events it caused, in their order."""

    # Commands

    def apply(self, command: Command, at: int) -> list[Event]:
        match command:
            case Place():
                self._place(command, at)
            case Cancel():
                self._cancel(command, at)
            case Replace():
                self._replace(command, at)
        return self._settled(at)

    def reject(self, order_ref: str, at: int) -> list[Event]:
        """An order was rejected before it came here: what waits for it ends."""
        self._orphan(order_ref, at)
        return self._settled(at)

    def expires_at(self) -> int | None:
        """When the next `gtd` order ends."""
        return -self._expiring[-1][0] if self._expiring else None

    def expire(self, at: int, most: int | None = None) -> list[Event]:
        """Ends the `gtd` orders whose time has come, the earliest first; of many the first `most`."""
        for _ in repeat(None) if most is None else repeat(None, most):
            expires_at = self.expires_at()
            if expires_at is None or expires_at > at:
                break
            order = self._expiring[-1][2]
            self._end(order, Expired(order.order_ref, order.account_id, expires_at), at)
        return self._settled(at)

    def end_session(self, at: int, most: int | None = None) -> list[Event]:
        """Expires the day orders accepted before this end of a session, the first to end after their acceptance, in the
        order of arrival; of many the first `most`."""
        for order in list(islice(self._of_day(at), most)):
            if self._is_open(order):
                self._end(order, Expired(order.order_ref, order.account_id, at), at)
        return self._settled(at)

    def has_day_orders(self, at: int) -> bool:
        """Whether some are left that `end_session(at)` expires."""
        return any(True for _ in self._of_day(at))

    def _of_day(self, at: int) -> Iterator[Order]:
        return (order for order in self._of_session.get(TimeInForce.DAY, {}).values() if order.accepted_at < at)

    def show(
        self, shown: Shown, at: int, *, accepted_before: int | None = None, worst_first: bool = False
    ) -> list[Event]:
        """Prices that triggers look at: of data, or of a venue's own quotes. What trades here shows itself.

        `worst_first`: only stops look, and trailing ones do not follow.
        """
        self._elect(shown, at, accepted_before, worst_first=worst_first)
        return self._settled(at)

    def next_trigger(self, price: int, target: int, accepted_before: int, *, worst_first: bool) -> int | None:
        """The first price on the way from `price` (excluded) to `target` that elects an order."""
        return self._triggers.next_level(price, target, accepted_before, worst_first=worst_first)

    def absorb(self, matches: Iterable[Match], at: int) -> list[Event]:
        """What a book did by itself, that is from data."""
        self._take(matches, at)
        return self._settled(at)

    # Auctions and corporate actions

    def release(self, auction: TimeInForce, at: int, *, accepted_before: int) -> list[Event]:
        """Sends the orders of an auction into the book, where data is the auction; what does not trade at once ends."""
        for order in self.waiting_for(auction):
            if order.accepted_at < accepted_before and self._is_open(order):
                self._enter(order, at)
                self._cancel_order(order, "auction", at)
        return self._settled(at)

    def split(self, numerator: int, denominator: int, at: int) -> list[Event]:
        """`numerator` new lots for `denominator` old ones: quantities and positions grow by it and prices fall.

        Quantities are rounded down to the lot, buys' prices down and sells' up to the tick, never worse for the order
        than exact (FINRA Rule 5330 rounds so; it leaves sells alone, which here would fill at the wrong scale).
        """
        if numerator <= 0 or denominator <= 0:
            raise ValueError(f"a split is of numbers above 0, was {numerator} for {denominator}")
        self.positions.split(numerator, denominator)
        return self._adjusted(lambda order: split(order, numerator, denominator), list(self.orders.values()), at)

    def dividend(self, ticks: int, at: int) -> list[Event]:
        """Lowers buys and sell stops by a cash dividend as the symbol goes ex, as FINRA Rule 5330; others stand."""
        if ticks <= 0:
            raise ValueError(f"a dividend is above 0, was {ticks}")
        lowered = [order for order in self.orders.values() if order.is_buy or order.type.is_stop]
        return self._adjusted(lambda order: dividend(order, ticks), lowered, at)

    def correct_position(self, account_id: str, lots: int, at: int) -> list[Event]:
        """Adds signed lots: a trade of the account was another one than it was told. Orders that only reduce follow."""
        self.positions.set(account_id, self.positions.of(account_id) + lots)
        self._fit_account(account_id, at)
        return self._settled(at)

    def _adjusted(self, adjust: Callable[[Order], bool], orders: list[Order], at: int) -> list[Event]:
        """Takes them out, changes them and puts them back in their order of priority; what cannot stand any more ends."""
        orders = sorted(orders, key=lambda order: order.priority)
        working = [order for order in orders if order.phase is Phase.BOOK]
        ended: list[Order] = []
        for order in orders:
            self._take_out(order)
            if not adjust(order):
                order.phase = Phase.AUCTION  # held: it is in neither the book nor the triggers any more
                ended.append(order)
                continue
            self._tell_replaced(order, "corporate_action", at)
            if not order.remaining:
                order.phase = Phase.PARENT
            elif order.phase is Phase.TRIGGER:
                self._triggers.add(order)
        for order in ended:  # with all of their children adjusted
            self._cancel_order(order, "corporate_action", at)
        for order in working:
            if self._is_open(order) and order.phase is Phase.BOOK:
                self._enter(order, at)
        return self._settled(at)

    def nearest(self) -> list[Order]:
        """Held orders: the first price that elects one, or moves a trailing stop along, does so to one of these."""
        return self._triggers.nearest()

    def waiting_for(self, auction: TimeInForce) -> list[Order]:
        """Orders that an auction would send into the book, by arrival."""
        return [order for order in self._of_session.get(auction, {}).values() if order.phase is Phase.AUCTION]

    @property
    def has_session_orders(self) -> bool:
        return any(self._of_session.values())

    @property
    def changed(self) -> set[str]:
        """References of trailing stops whose mark has moved and of children that stand alone now, until it is cleared."""
        return self._triggers.changed

    # State

    def state(self) -> dict[str, Any]:
        """All but the orders and what the matcher holds, as plain data; it does not grow with either."""
        return {
            "arrivals": self._arrivals,
            "trades": self._trades,
            "book_ids": self._book_ids,
            "accounts": self._accounts,
        }

    def snapshot(self) -> dict[str, Any]:
        return {
            "exchange": self.state(),
            "book": self._matcher.state(),
            "orders": [order.to_data() for order in self.orders.values()],
            "positions": self.positions.to_data(),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Takes the place of all state; the fees are the constructor's. Orders in any order."""
        orders = map(Order.from_data, snapshot["orders"])
        self.resume(snapshot["exchange"], snapshot["book"], orders, snapshot.get("positions", {}))

    def resume(
        self, state: Mapping[str, Any], book: Mapping[str, Any], orders: Iterable[Order], positions: Mapping[str, int]
    ) -> None:
        """The same with the orders as they are, for who keeps them in a form of his own."""
        self._arrivals, self._trades = state["arrivals"], state["trades"]
        self._book_ids, self._accounts = state.get("book_ids", 0), state.get("accounts", 0)
        found = sorted(orders, key=lambda order: order.arrival)
        self.orders = {order.order_ref: order for order in found}
        self._triggers = Triggers()
        self._of_session, self._of_account = {}, {}
        self._expiring = sorted(expiry(o.expires_at, o) for o in found if o.expires_at is not None)
        self.positions = Positions(positions)
        self._groups = Groups()
        for order in found:
            self._index(order)
            if order.phase is Phase.TRIGGER:
                self._triggers.add(order)
        in_book = [order for order in found if order.phase is Phase.BOOK and order.resting]
        self._matcher.restore(book, in_book)

    def state_hash(self) -> str:
        return state_hash(self.snapshot())

    def _cancel(self, command: Cancel, at: int) -> None:
        order = self.orders.get(command.order_ref)
        if order is None or order.account_id != command.account_id:
            self._events.append(CancelRejected(command.order_ref, command.account_id, at, "unknown_order"))
        else:
            self._cancel_order(order, command.reason, at)

    def _replace(self, command: Replace, at: int) -> None:
        order = self.orders.get(command.order_ref)
        legs = [] if order is None else self._groups.others(order)
        if (reason := replace_refusal(command, order, legs)) or order is None:
            self._events.append(ReplaceRejected(command.order_ref, command.account_id, at, reason or "unknown_order"))
            return
        quantity = order.quantity if command.quantity is None else command.quantity
        if quantity <= order.filled_quantity:
            self._cancel_order(order, "replaced", at)
            return
        before = order.quantity, order.declared, order.limit_price, order.stop_price, order.priority, order.resting
        if order.phase is Phase.TRIGGER:
            self._triggers.remove(order)
        order.quantity = order.quantity if order.phase is Phase.PARENT else quantity
        order.declared = order.declared if command.quantity is None else command.quantity
        order.limit_price = command.limit_price or order.limit_price
        order.stop_price = command.stop_price or order.stop_price
        if order.phase is Phase.TRIGGER:
            self._triggers.add(order)
        matches: list[Match] = []
        if order.phase is Phase.BOOK:
            matches = self._replaced_in_book(order, before[0], before[2], at)
        if any(isinstance(match, Refused) for match in matches):
            order.quantity, order.declared, order.limit_price, order.stop_price, order.priority, order.resting = before
            self._events.append(ReplaceRejected(order.order_ref, order.account_id, at, "post_only"))
            return
        self._tell_replaced(order, "requested", at)
        self._take(matches, at)
        self._fit_account(order.account_id, at)

    def _replaced_in_book(self, order: Order, quantity: int, limit_price: int | None, at: int) -> list[Match]:
        """A hidden quantity changes without the book; a new price takes only the slice that is shown along."""
        if order.display_quantity is None:
            order.resting = order.remaining
        else:
            order.resting = min(order.resting, order.remaining)
        if order.limit_price != limit_price or (order.quantity > quantity and order.display_quantity is None):
            order.priority, order.entered_at = self._next_priority(), at
        return list(self._matcher.replace(order, at))
