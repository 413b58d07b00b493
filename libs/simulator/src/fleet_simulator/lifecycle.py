"""The life of an order above a book: accepted, held, elected, entered, filled, ended, and what each entails."""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from fleet_simulator.admission import refusal
from fleet_simulator.events import (
    Accepted,
    Canceled,
    Event,
    Expired,
    Filled,
    Liquidity,
    Rejected,
    Replaced,
    Triggered,
)
from fleet_simulator.fees import Executed, FeeModel
from fleet_simulator.groups import Groups
from fleet_simulator.matcher import Decremented, Fill, Match, Matcher, Printed
from fleet_simulator.orders import Order, Phase, Place, Side, TimeInForce
from fleet_simulator.positions import Positions
from fleet_simulator.triggers import Shown, Triggers, fires, follow


@dataclass(slots=True)
class _Account:
    """One that has open orders: its number in the book, its orders, and those of them that only reduce."""

    number: int
    orders: dict[str, Order] = field(default_factory=dict)
    reducing: dict[str, Order] = field(default_factory=dict)


class OrderLifecycle:
    """Orders of one symbol above `matcher`; it is told what happens and collects the events."""

    def __init__(self, fees: FeeModel, matcher: Matcher) -> None:
        self.orders: dict[str, Order] = {}
        """Those that have not ended, by reference, in arrival order. To be read only."""
        self.positions = Positions()
        self._fees = fees
        self._matcher = matcher
        self._groups = Groups()
        self._triggers = Triggers()
        self._of_session: dict[TimeInForce, dict[str, Order]] = {}  # what a session's end ends, or its auctions fill
        self._expiring: list[tuple[int, int, Order]] = []  # the next one last, where it is taken away at no cost
        self._arrivals = self._trades = self._book_ids = self._accounts = 0
        self._of_account: dict[str, _Account] = {}
        self._events: list[Event] = []
        self._due: deque[Order | Shown] = deque()

    # From acceptance into the book

    def _place(self, command: Place, at: int) -> None:
        if reason := refusal(command, self.orders, self._groups.legs(command.oco_group)):
            self._events.append(Rejected(command.order_ref, command.account_id, at, reason))
            if command.order_ref not in self.orders:
                self._orphan(command.order_ref, at)
            return
        account = self._of_account.get(command.account_id)
        number = self._accounts if account is None else account.number
        self._accounts += account is None
        order = Order.of(command, accepted_at=at, arrival=self._arrivals, account=number)
        self._arrivals += 1
        self.orders[order.order_ref] = order
        self._index(order)
        if order.expires_at is not None:
            insort(self._expiring, expiry(order.expires_at, order))
        self._events.append(Accepted(order.order_ref, order.account_id, at))
        if order.parent_ref is None:
            self._begin(order, at)
            return
        order.phase, order.quantity = Phase.PARENT, 0
        if parent := self.orders.get(order.parent_ref):
            self._grant([order], parent, at)

    def _begin(self, order: Order, at: int) -> None:
        """It no longer waits for a parent."""
        if order.type.is_triggered and not order.elected:
            order.phase = Phase.TRIGGER
            self._triggers.add(order)
            shown = self._matcher.shown(at)
            price = shown.to(order) if shown else None
            if price is not None:
                follow(order, price)
                if fires(order, price):
                    self._fire(order, price, at)
        elif order.time_in_force.is_auction:
            order.phase = Phase.AUCTION
        else:
            self._enter(order, at)

    def _elect(self, shown: Shown, at: int, accepted_before: int | None, *, worst_first: bool = False) -> None:
        for order in self._triggers.elected(shown, accepted_before, worst_first=worst_first):
            price = shown.to(order)
            if order.phase is Phase.TRIGGER and self._is_open(order) and price is not None:
                self._fire(order, price, at)

    def _fire(self, order: Order, price: int, at: int) -> None:
        """The other legs of its group are taken out first, so that they never stand in the book together."""
        self._triggers.remove(order)
        order.elected, order.phase = True, Phase.BOOK
        order.priority = self._next_priority()
        self._events.append(Triggered(order.order_ref, order.account_id, at, price))
        for leg in self._groups.others(order):
            self._cancel_order(leg, "oco", at)
        self._enter(order, at)

    def _enter(self, order: Order, at: int) -> None:
        """Into the book: all that is open, or an iceberg's next slice."""
        order.phase, order.entered_at, order.resting = Phase.BOOK, at, 0
        if order.reduce_only and not self._fit(order, at):
            return
        hides = order.display_quantity is not None and not order.time_in_force.is_immediate
        order.resting = min(order.remaining, order.display_quantity or 0) if hides else order.remaining
        self._book_ids += 1
        order.book_id = self._book_ids
        self._take(self._matcher.enter(order, at), at)
        self._fit_account(order.account_id, at)

    # What the book answers

    def _take(self, matches: Iterable[Match], at: int) -> None:
        """All events of one core command first; then, order by order, what follows from them."""
        touched: dict[str, tuple[Order, int]] = {}
        ended: list[Order] = []
        for match in matches:
            if isinstance(match, Printed):
                self._due.append(Shown.trade(match.price))
                continue
            order = match.order
            match match:
                case Fill():
                    order.resting -= match.quantity
                    self._fill(match, at)
                    touched[order.order_ref] = order, touched.get(order.order_ref, (order, 0))[1] + match.quantity
                case Decremented() if match.quantity < order.remaining or order.parent_ref in self.orders:
                    order.resting -= match.quantity
                    order.quantity -= match.quantity
                    self._tell_replaced(order, "self_trade", at)
                    touched.setdefault(order.order_ref, (order, 0))
                case _:
                    order.resting = 0
                    reason = "self_trade" if isinstance(match, Decremented) else match.reason
                    self._events.append(Canceled(order.order_ref, order.account_id, at, reason))
                    self._drop(order)
                    ended.append(order)
        for order, quantity in touched.values():
            self._follow_up(order, quantity, at)
        for order in ended:
            self._orphan(order.order_ref, at)
        for account_id in sorted({order.account_id for order, _ in touched.values()}):
            self._fit_account(account_id, at)

    def _fill(self, fill: Fill, at: int) -> None:
        order, notional = fill.order, fill.quantity * fill.price
        assert 0 < fill.quantity <= order.remaining, f"a fill is of what is open, was {fill}"
        order.filled_quantity += fill.quantity
        order.filled_notional += notional
        if not fill.is_taker:
            order.maker_quantity += fill.quantity
            order.maker_notional += notional
        taken = order.filled_quantity - order.maker_quantity, order.filled_notional - order.maker_notional
        # A model that charges less than the one before it, after a restart, pays nothing back.
        charge = max(self._fees.total(Executed(order.maker_quantity, order.maker_notional, *taken)) - order.fee, 0)
        order.fee += charge
        self._trades += not fill.is_second
        self.positions.book(order, fill.quantity)
        self._events.append(
            Filled(
                order_ref=order.order_ref,
                account_id=order.account_id,
                market_at=at,
                trade_number=self._trades,
                last_quantity=fill.quantity,
                last_price=fill.price,
                cumulative_quantity=order.filled_quantity,
                fee=charge,
                liquidity=Liquidity.TAKER if fill.is_taker else Liquidity.MAKER,
            )
        )

    def _follow_up(self, order: Order, quantity: int, at: int) -> None:
        for leg in self._groups.others(order) if quantity else ():
            self._shrink(leg, quantity, "oco", at)
        self._grant(self._groups.children(order.order_ref), order, at)
        if not self._is_open(order):
            return
        if order.remaining:
            if not order.resting and order.phase is Phase.BOOK:
                self._due.append(order)  # an iceberg's slice is used up
        elif order.parent_ref in self.orders:
            order.phase = Phase.PARENT
        else:
            self._drop(order)
            self._orphan(order.order_ref, at)

    def _settled(self, at: int) -> list[Event]:
        """Works off what follows, first come first served; each is one command to the book."""
        while self._due:
            due = self._due.popleft()
            if isinstance(due, Shown):
                self._elect(due, at, None)
            elif self._is_open(due) and not due.resting and due.remaining:
                due.priority = self._next_priority()
                self._enter(due, at)
        events, self._events = self._events, []
        return events

    # Parents, groups, and orders that only reduce

    def _grant(self, children: Iterable[Order], parent: Order, at: int) -> None:
        """Each is as large, in proportion, as what has filled of its parent, and gets no smaller by it: what is taken
        from the parent unfilled is no part of it. All have grown before one of them goes to work: what it fills at once
        makes the others of its group smaller."""
        filled = parent.filled_quantity + parent.split_gain
        grown: list[Order] = []
        for child in children:
            more = child.declared * filled // parent.declared - child.granted
            if more > 0:
                child.granted += more
                child.quantity += more
                self._tell_replaced(child, "parent_filled", at)
                grown.append(child)
        for child in grown:
            if not self._is_open(child) or not child.remaining:
                continue
            if child.phase is Phase.PARENT:
                child.priority = self._next_priority()
                self._begin(child, at)
            elif child.resting and child.display_quantity is None:
                child.resting, child.priority = child.remaining, self._next_priority()
                self._take(self._matcher.replace(child, at), at)

    def _shrink(self, order: Order, quantity: int, reason: str, at: int) -> None:
        """By so much, or to nothing."""
        if not self._is_open(order):
            return
        order.quantity -= min(quantity, order.remaining)
        if order.remaining:
            if order.resting > order.remaining:
                order.resting = order.remaining
                self._take(self._matcher.replace(order, at), at)
            self._tell_replaced(order, reason, at)
        elif order.parent_ref in self.orders:
            self._take_out(order)
            order.phase = Phase.PARENT
            self._tell_replaced(order, reason, at)
        else:
            self._cancel_order(order, reason, at)

    def _fit(self, order: Order, at: int) -> bool:
        """Cuts an order that only reduces to the room there is, after those of its kind that came before."""
        account = self._of_account[order.account_id]
        room = self.positions.room(order.account_id, order.side, account.orders.values())
        for other in account.reducing.values():
            if other is order:
                break
            if other.side is order.side and other.phase is Phase.BOOK:
                room -= other.remaining
        return self._cut(order, room, at)

    def _fit_account(self, account_id: str, at: int) -> None:
        """The same for all of an account, each after those before it: the room is measured once, for they may be many."""
        account = self._of_account.get(account_id)
        if account is None or not account.reducing:
            return
        rooms = {side: self.positions.room(account_id, side, account.orders.values()) for side in Side}
        for order in list(account.reducing.values()):
            if order.phase is Phase.BOOK and self._is_open(order):
                self._cut(order, rooms[order.side], at)
                rooms[order.side] -= order.remaining

    def _cut(self, order: Order, room: int, at: int) -> bool:
        """Whether anything of it is left."""
        if order.remaining > room:
            self._shrink(order, order.remaining - max(room, 0), "reduce_only", at)
        return order.remaining > 0

    # The end

    def _end(self, order: Order, event: Canceled | Expired, at: int) -> None:
        """Out of the book and of all that waits."""
        self._take_out(order)
        self._events.append(event)
        self._drop(order)
        self._orphan(order.order_ref, at)

    def _cancel_order(self, order: Order, reason: str, at: int) -> None:
        if self._is_open(order):
            self._end(order, Canceled(order.order_ref, order.account_id, at, reason), at)

    def _take_out(self, order: Order) -> None:
        if order.phase is Phase.TRIGGER:
            self._triggers.remove(order)
        elif order.resting:
            self._matcher.withdraw(order)
            order.resting = 0

    def _index(self, order: Order) -> None:
        self._groups.add(order)
        account = self._of_account.setdefault(order.account_id, _Account(order.account))
        account.orders[order.order_ref] = order
        if order.reduce_only:
            account.reducing[order.order_ref] = order
        if order.time_in_force.is_of_session:
            self._of_session.setdefault(order.time_in_force, {})[order.order_ref] = order

    def _drop(self, order: Order) -> None:
        del self.orders[order.order_ref]
        self._groups.remove(order)
        if order.expires_at is not None:
            del self._expiring[bisect_left(self._expiring, expiry(order.expires_at, order))]
        if order.time_in_force.is_of_session:
            del self._of_session[order.time_in_force][order.order_ref]
        self._triggers.changed.discard(order.order_ref)
        account = self._of_account[order.account_id]
        del account.orders[order.order_ref]
        account.reducing.pop(order.order_ref, None)
        if not account.orders:
            del self._of_account[order.account_id]

    def _orphan(self, parent_ref: str, at: int) -> None:
        """Children of an order that has ended, or never began, keep what its fills have released, or end with it: one
        that has filled as far as it came is filled, and told that it will not grow."""
        for child in self._groups.children(parent_ref):
            self._groups.orphan(child)
            self._triggers.changed.add(child.order_ref)
            if child.remaining:
                continue
            if child.filled_quantity:
                self._tell_replaced(child, "parent_ended", at)
                self._drop(child)
                self._orphan(child.order_ref, at)
            else:
                self._cancel_order(child, "parent_ended", at)

    def _is_open(self, order: Order) -> bool:
        return self.orders.get(order.order_ref) is order

    def _next_priority(self) -> int:
        self._arrivals += 1
        return self._arrivals - 1

    def _tell_replaced(self, order: Order, reason: str, at: int) -> None:
        self._events.append(
            Replaced(order.order_ref, order.account_id, at, order.quantity, order.limit_price, order.stop_price, reason)
        )


def expiry(expires_at: int, order: Order) -> tuple[int, int, Order]:
    """Two are never equal in arrival, so orders are not compared."""
    return -expires_at, -order.arrival, order
