"""What the layer above asks of a book, and the core book behind it. The words are the core's: add, market, replace,
cancel; `DataBook` takes the same ones and fills from market data."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

import numpy as np

from fleet_simulator.book import Book, Snapshot
from fleet_simulator.book import commands as c
from fleet_simulator.book import events as e
from fleet_simulator.orders import Order, SelfTrade, Side, TimeInForce
from fleet_simulator.triggers import Shown


@dataclass(frozen=True, slots=True)
class Fill:
    """Of one order; a trade between two orders is the taker's and then the maker's."""

    order: Order
    quantity: int
    price: int
    is_taker: bool
    is_second: bool = False


@dataclass(frozen=True, slots=True)
class Left:
    """What was in the book of the order has left it."""

    order: Order
    reason: str


@dataclass(frozen=True, slots=True)
class Decremented:
    """Self-trade prevention made the order smaller."""

    order: Order
    quantity: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The command changed nothing."""

    order: Order
    reason: str


@dataclass(frozen=True, slots=True)
class Printed:
    """The price of a trade between two orders. Fills from data print nothing: the data is the price."""

    price: int


Match = Fill | Left | Decremented | Refused | Printed


class Matcher(Protocol):
    """A book. `order.resting` is the quantity that a command is about; a match does not change the order itself."""

    def enter(self, order: Order, at: int) -> Sequence[Match]:
        """A limit order that takes and then rests, or a market order."""

    def replace(self, order: Order, at: int) -> Sequence[Match]:
        """To the order's limit and `resting`; its place is kept where only the quantity fell. May be Refused."""

    def withdraw(self, order: Order) -> None: ...

    def shown(self, at: int) -> Shown | None:
        """The prices that stand now and that an order meets as it comes; a last trade does not stand."""

    def state(self) -> dict[str, Any]: ...

    def restore(self, state: Mapping[str, Any], orders: Iterable[Order]) -> None:
        """`orders` are those of which it holds something."""


_REASONS: Final = {
    e.Reason.IOC: "immediate_or_cancel",
    e.Reason.FOK: "fill_or_kill",
    e.Reason.PROTECTION: "price_protection",
    e.Reason.NO_LIQUIDITY: "no_liquidity",
    e.Reason.SELF_TRADE: "self_trade",
    e.Reason.POST_ONLY: "post_only",
    e.Reason.MINIMUM: "minimum_quantity",
    e.Reason.INVALID_MINIMUM: "minimum_quantity",  # the order has been made smaller than it since it was accepted
    e.Reason.BOOK_FULL: "book_full",
}
_TIMES: Final = {TimeInForce.IOC: c.TimeInForce.IOC, TimeInForce.FOK: c.TimeInForce.FOK}
_SELF_TRADES: Final = {each: c.SelfTrade[each.name] for each in SelfTrade}


class CoreMatcher:
    """Orders meet each other in a core book. Every order, and every slice of an iceberg, has an id of its own there."""

    def __init__(self, book: Book, watch: Callable[[e.Events], None] | None = None) -> None:
        self.book = book
        self._watch = watch
        self._orders: dict[int, Order] = {}

    def enter(self, order: Order, at: int) -> list[Match]:
        flags = c.flags(
            _TIMES.get(order.time_in_force, c.TimeInForce.REST),
            post_only=order.post_only,
            self_trade=_SELF_TRADES[order.self_trade],
        )
        side = c.Side.BUY if order.side is Side.BUY else c.Side.SELL
        # It binds once: what comes into the book again has met it.
        minimum = order.minimum_quantity if order.filled_quantity < order.minimum_quantity else 0
        self._orders[order.book_id] = order
        if order.type.has_limit:
            price = order.limit_price or 0
            row = c.add(order.book_id, order.account, side, price, order.resting, minimum=minimum, flags=flags)
        else:
            worst = order.protection_price or c.NO_PROTECTION
            row = c.market(
                order.book_id,
                order.account,
                side,
                order.resting,
                protection_price=worst,
                minimum=minimum,
                flags=flags,
            )
        return self._obeyed(row)

    def replace(self, order: Order, at: int) -> list[Match]:
        known = self.book.order(order.book_id)
        assert known is not None, f"only what rests is replaced, was {order}"
        total = known.quantity - known.remaining + order.resting
        return self._obeyed(c.replace(order.book_id, order.account, order.limit_price or 0, total))

    def withdraw(self, order: Order) -> None:
        self._asked(c.cancel(order.book_id, order.account))
        del self._orders[order.book_id]

    def shown(self, at: int) -> Shown | None:
        return None

    def uncross(self, buys: Sequence[tuple[Order, int]], sells: Sequence[tuple[Order, int]], price: int) -> list[Match]:
        """Trades these shares with each other at one price. None of the orders is in the book now.

        The sells rest at the price and the buys take them: nothing else in the book reaches it. `book_id` of each order
        is a new one. Neither side has taken what the other showed, so both count as makers.
        """
        found: list[Match] = []
        flags = c.flags(c.TimeInForce.IOC)
        for order, quantity in sells:
            self._orders[order.book_id] = order
            found += self._obeyed(c.add(order.book_id, order.account, c.Side.SELL, price, quantity))
        for order, quantity in buys:
            self._orders[order.book_id] = order
            found += self._obeyed(c.add(order.book_id, order.account, c.Side.BUY, price, quantity, flags=flags))
        fills = [replace(match, is_taker=False) for match in found if isinstance(match, Fill)]
        return [*fills, Printed(price)]

    def state(self) -> dict[str, Any]:
        snapshot = self.book.snapshot()
        return {"counters": snapshot.counters.tolist(), "orders": snapshot.orders.tolist()}

    def restore(self, state: Mapping[str, Any], orders: Iterable[Order]) -> None:
        counters = np.array(state["counters"], dtype=np.int64)
        rows = np.array(state["orders"], dtype=np.int64).reshape(-1, 7)
        self.book = type(self.book).restore(Snapshot(counters, rows))
        self._orders = {order.book_id: order for order in orders}

    def _obeyed(self, row: c.Row) -> list[Match]:
        found: list[Match] = []
        for event in e.decode(self._asked(row)):
            found += self._matches(event)
        return found

    def _asked(self, row: c.Row) -> e.Events:
        events = self.book.apply_one(row)
        if self._watch is not None:
            self._watch(events)
        return events

    def _matches(self, event: e.Event) -> list[Match]:
        match event:
            case e.Traded():
                taker, maker = self._orders[event.order_id], self._orders[event.maker_id]
                self._forget(event.order_id, event.remaining)
                self._forget(event.maker_id, event.maker_remaining)
                return [
                    Fill(taker, event.quantity, event.price, is_taker=True),
                    Fill(maker, event.quantity, event.price, is_taker=False, is_second=True),
                    Printed(event.price),
                ]
            case e.Decremented():
                orders = (self._orders[event.order_id], self._orders[event.maker_id])
                self._forget(event.order_id, event.remaining)
                self._forget(event.maker_id, event.maker_remaining)
                return [Decremented(order, event.quantity) for order in orders]
            case e.Canceled():
                return [Left(self._orders.pop(event.order_id), _REASONS[event.reason])]
            case e.Rejected():
                order = self._orders[event.order_id]
                if event.reason is not e.Reason.POST_ONLY:
                    del self._orders[event.order_id]
                return [Refused(order, _REASONS[event.reason])]
            case _:
                return []  # accepted, replaced: the layer asked for it

    def _forget(self, order_id: int, remaining: int) -> None:
        if not remaining:
            del self._orders[order_id]
