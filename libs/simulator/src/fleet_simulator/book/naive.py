"""The book in its plainest form: a list a side, sorted by priority. The fast one must answer the same to everything."""

from bisect import bisect_left, insort
from dataclasses import dataclass
from itertools import groupby
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fleet_simulator.book import commands as c
from fleet_simulator.book import events as e
from fleet_simulator.book.book import HASH_SEED, Level, Resting, Snapshot, mixed
from fleet_simulator.book.commands import MAX_ORDERS, Commands, Row, SelfTrade, Side, TimeInForce, Word
from fleet_simulator.book.events import Events, Kind, Reason


@dataclass(slots=True, eq=False)
class _Order:
    order_id: int
    account: int
    side: int
    price: int
    quantity: int
    remaining: int
    flags: int
    arrival: int = 0

    @property
    def priority(self) -> tuple[int, int]:
        return (-self.price if self.side == Side.BUY else self.price), self.arrival

    @property
    def self_trade(self) -> int:
        return (self.flags & c.SELF_TRADE_MASK) >> c.SELF_TRADE_SHIFT

    def takes(self, price: int) -> bool:
        """Whether it may trade at `price`. A market order without protection has price 0."""
        if self.price == c.NO_PROTECTION:
            return True
        return price <= self.price if self.side == Side.BUY else price >= self.price

    def row(self) -> Resting:
        return Resting(self.order_id, self.account, self.side, self.price, self.quantity, self.remaining, self.flags)


def _priority(order: _Order) -> tuple[int, int]:
    return order.priority


class NaiveBook:
    """For tests and for reading, not for speed."""

    def __init__(self, *, max_orders: int = MAX_ORDERS) -> None:
        if not 0 < max_orders <= MAX_ORDERS:
            raise ValueError(f"max_orders must be 1 to {MAX_ORDERS}, was {max_orders}")
        self.sequence = 0
        self.commands = 0
        self._max_orders = max_orders
        self._sides: tuple[list[_Order], list[_Order]] = ([], [])
        self._by_id: dict[int, _Order] = {}
        self._arrivals = 0
        self._events: list[list[int]] = []

    def apply(self, commands: Commands) -> Events:
        self._events = []
        for row in c.checked(commands).tolist():
            self.commands += 1
            self._obey(row)
        return np.array(self._events, dtype=np.int64).reshape(-1, e.COLUMNS)

    def apply_one(self, command: Row) -> Events:
        return self.apply(c.batch([command]))

    def _obey(self, row: list[int]) -> None:
        word, account = row[c.WORD], row[c.ACCOUNT]
        if word in (Word.ADD, Word.MARKET):
            self._enter(row)
        elif word == Word.CANCEL:
            self._cancel(row)
        elif word == Word.REPLACE:
            self._replace(row)
        elif word == Word.CANCEL_ACCOUNT:
            for order in [order for side in self._sides for order in side if order.account == account]:
                self._take_out(order, Reason.MASS)
        else:
            self._reject(row, Reason.INVALID_WORD)

    # New orders

    def _enter(self, row: list[int]) -> None:
        word, order_id, account, side, price, quantity, minimum, flags = row
        reason = self._refusal(row)
        if reason is not None:
            self._reject(row, reason)
            return
        order = _Order(order_id, account, side, price, quantity, quantity, flags)
        accepted = self._emit(Kind.ACCEPTED, order, quantity, 0)
        time_in_force = flags & c.TIME_IN_FORCE_MASK
        if flags & c.POST_ONLY and self._crosses(order):
            self._end(order, Reason.POST_ONLY)
        elif time_in_force == TimeInForce.FOK and self._tradable(order) < quantity:
            self._end(order, Reason.FOK)
        elif minimum and self._tradable(order) < minimum:
            self._end(order, Reason.MINIMUM)
        else:
            self._match(order)
            if not order.remaining:
                return
            if word == Word.MARKET:
                self._end(order, Reason.PROTECTION if self._sides[1 - side] else Reason.NO_LIQUIDITY)
            elif time_in_force == TimeInForce.REST:
                self._rest(order)
                accepted[e.REMAINING] = order.remaining
            else:
                self._end(order, Reason.IOC)

    def _refusal(self, row: list[int]) -> Reason | None:
        word, order_id, _, side, price, quantity, minimum, flags = row
        time_in_force = flags & c.TIME_IN_FORCE_MASK
        known = c.TIME_IN_FORCE_MASK | c.POST_ONLY | c.SELF_TRADE_MASK
        post_only_fits = word == Word.ADD and time_in_force == TimeInForce.REST and minimum == 0
        if side not in (Side.BUY, Side.SELL):
            return Reason.INVALID_SIDE
        if not 1 <= quantity <= c.MAX_QUANTITY:
            return Reason.INVALID_QUANTITY
        if not (0 if word == Word.MARKET else 1) <= price <= c.MAX_PRICE:
            return Reason.INVALID_PRICE
        if flags & ~known or time_in_force > TimeInForce.FOK or flags >> c.SELF_TRADE_SHIFT > SelfTrade.DECREMENT:
            return Reason.INVALID_FLAGS
        if flags & c.POST_ONLY and not post_only_fits:
            return Reason.INVALID_FLAGS
        if not 0 <= minimum <= quantity:
            return Reason.INVALID_MINIMUM
        if order_id in self._by_id:
            return Reason.DUPLICATE_ORDER
        if word == Word.ADD and time_in_force == TimeInForce.REST and len(self) >= self._max_orders:
            return Reason.BOOK_FULL
        return None

    def _crosses(self, order: _Order) -> bool:
        opposite = self._sides[1 - order.side]
        return bool(opposite) and order.takes(opposite[0].price)

    def _tradable(self, order: _Order) -> int:
        """What the order would trade now, self-trade prevention taken into account."""
        wanted, traded = order.remaining, 0
        for maker in self._sides[1 - order.side]:
            if not wanted or not order.takes(maker.price):
                break
            quantity = min(wanted, maker.remaining)
            if order.account != maker.account or order.self_trade == SelfTrade.ALLOW:
                traded += quantity
                wanted -= quantity
            elif order.self_trade == SelfTrade.DECREMENT:
                wanted -= quantity
            elif order.self_trade != SelfTrade.CANCEL_OLDEST:
                break
        return traded

    def _match(self, order: _Order) -> None:
        """Trades with the best of the other side as long as it may. What prevention cancels has nothing remaining."""
        opposite = self._sides[1 - order.side]
        while order.remaining and self._crosses(order):
            maker = opposite[0]
            own = order.account == maker.account and order.self_trade != SelfTrade.ALLOW
            if own and order.self_trade != SelfTrade.DECREMENT:
                if order.self_trade in (SelfTrade.CANCEL_OLDEST, SelfTrade.CANCEL_BOTH):
                    self._take_out(maker, Reason.SELF_TRADE)
                if order.self_trade in (SelfTrade.CANCEL_NEWEST, SelfTrade.CANCEL_BOTH):
                    self._end(order, Reason.SELF_TRADE)
                continue
            quantity = min(order.remaining, maker.remaining)
            for each in (order, maker):
                each.remaining -= quantity
                if own:
                    each.quantity -= quantity  # so that total less remaining stays what was filled
            event = self._emit(Kind.DECREMENTED if own else Kind.TRADED, order, quantity, order.remaining)
            event[e.PRICE] = maker.price
            event[e.MAKER_ID :] = maker.order_id, maker.account, maker.remaining
            if not maker.remaining:
                self._forget(maker)

    def _rest(self, order: _Order) -> None:
        self._arrivals += 1
        order.arrival = self._arrivals
        insort(self._sides[order.side], order, key=_priority)
        self._by_id[order.order_id] = order

    def _forget(self, order: _Order) -> None:
        side = self._sides[order.side]
        del side[bisect_left(side, order.priority, key=_priority)]
        del self._by_id[order.order_id]

    # Orders that rest

    def _cancel(self, row: list[int]) -> None:
        order = self._by_id.get(row[c.ORDER_ID])
        if order is None or order.account != row[c.ACCOUNT]:
            self._reject(row, Reason.UNKNOWN_ORDER)
        else:
            self._take_out(order, Reason.REQUESTED)

    def _replace(self, row: list[int]) -> None:
        price, quantity = row[c.PRICE], row[c.QUANTITY]
        order = self._by_id.get(row[c.ORDER_ID])
        if order is None or order.account != row[c.ACCOUNT]:
            self._reject(row, Reason.UNKNOWN_ORDER)
            return
        if not 1 <= quantity <= c.MAX_QUANTITY:
            self._reject(row, Reason.INVALID_QUANTITY)
            return
        if not 1 <= price <= c.MAX_PRICE:
            self._reject(row, Reason.INVALID_PRICE)
            return
        remaining = quantity - (order.quantity - order.remaining)
        if remaining <= 0:
            self._take_out(order, Reason.REPLACED)
            return
        new = _Order(order.order_id, order.account, order.side, price, quantity, remaining, order.flags)
        if order.flags & c.POST_ONLY and self._crosses(new):
            self._reject(row, Reason.POST_ONLY)
            return
        kept = price == order.price and remaining <= order.remaining
        event = self._emit(Kind.REPLACED, new, quantity, remaining)
        event[e.PREVIOUS_PRICE :] = order.price, order.remaining, int(kept)
        if kept:
            order.quantity, order.remaining = quantity, remaining
            return
        self._forget(order)
        self._match(new)
        if new.remaining:
            self._rest(new)
        event[e.REMAINING] = new.remaining

    # Events

    def _take_out(self, order: _Order, reason: Reason) -> None:
        self._forget(order)
        self._end(order, reason)
        self._events[-1][e.WAS_RESTING] = 1

    def _end(self, order: _Order, reason: Reason) -> None:
        event = self._emit(Kind.CANCELED, order, order.remaining, 0)
        event[e.REASON] = reason
        order.remaining = 0

    def _reject(self, row: list[int], reason: Reason) -> None:
        _, order_id, account, side, price, quantity, _, flags = row
        event = self._emit(Kind.REJECTED, _Order(order_id, account, side, price, quantity, 0, flags), quantity, 0)
        event[e.REASON] = reason

    def _emit(self, kind: Kind, order: _Order, quantity: int, remaining: int) -> list[int]:
        self.sequence += 1
        event = [self.sequence, self.commands, int(kind), order.order_id, order.account, order.side, order.price]
        event += [quantity, remaining, 0, 0, 0]
        self._events.append(event)
        return event

    # Questions

    def __len__(self) -> int:
        return len(self._sides[0]) + len(self._sides[1])

    def best(self, side: int) -> int | None:
        orders = self._sides[Side(side)]
        return orders[0].price if orders else None

    def level(self, side: int, price: int) -> Level:
        found = [order.remaining for order in self._sides[Side(side)] if order.price == price]
        return Level(price, sum(found), len(found))

    def depth(self, side: int, limit: int) -> NDArray[np.int64]:
        prices = [price for price, _ in groupby(self._sides[Side(side)], key=lambda order: order.price)]
        return np.array([self.level(side, price) for price in prices[:limit]], dtype=np.int64).reshape(-1, 3)

    def order(self, order_id: int) -> Resting | None:
        order = self._by_id.get(order_id)
        return None if order is None else order.row()

    def orders(self, account: int | None = None) -> NDArray[np.int64]:
        found = [order.row() for side in self._sides for order in side if account in (None, order.account)]
        return np.array(found, dtype=np.int64).reshape(-1, len(Resting._fields))

    def snapshot(self) -> Snapshot:
        return Snapshot(np.array([self.sequence, self.commands], dtype=np.int64), self.orders())

    @classmethod
    def restore(cls, snapshot: Snapshot, *, max_orders: int = MAX_ORDERS) -> Self:
        book = cls(max_orders=max_orders)
        snapshot = snapshot.checked()
        book.sequence, book.commands = snapshot.counters.tolist()
        for row in snapshot.orders.tolist():
            book._rest(_Order(*row))
        return book

    def state_hash(self) -> int:
        state = mixed(mixed(HASH_SEED, self.sequence), self.commands)
        for side in self._sides:
            levels = [(price, list(orders)) for price, orders in groupby(side, key=lambda order: order.price)]
            state = mixed(state, len(levels))
            for price, orders in levels:
                for word in (price, sum(order.remaining for order in orders), len(orders)):
                    state = mixed(state, word)
                for order in orders:
                    for word in (order.order_id, order.account, order.quantity, order.remaining, order.flags):
                        state = mixed(state, word)
        return state
