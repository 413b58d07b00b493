"""One symbol's book with what the venue knows of its orders beyond the core: who placed them, fills, fees, expiry."""

import heapq
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID
from zlib import crc32

import msgspec
import numpy as np
from fleet_simulator.book import Book, Snapshot
from fleet_simulator.book import commands as c
from fleet_simulator.book import events as e
from fleet_simulator.book.events import Kind, Reason

from fleet_matching_engine.domain.orders import (
    Accepted,
    AnyReport,
    Canceled,
    CancelRejected,
    Effects,
    EndedOrder,
    Expired,
    Fill,
    Filled,
    OpenOrder,
    Print,
    Rejected,
    Replaced,
    ReplaceRejected,
)
from fleet_matching_engine.domain.rules import Terms

CHECKED_LEVELS: Final = 10
_CODES: Final = {
    Reason.REQUESTED: "requested",
    Reason.IOC: "ioc",
    Reason.FOK: "fok",
    Reason.PROTECTION: "price_protection",
    Reason.NO_LIQUIDITY: "no_liquidity",
    Reason.SELF_TRADE: "self_trade",
    Reason.POST_ONLY: "post_only",
    Reason.MINIMUM: "minimum_quantity",
    Reason.REPLACED: "replaced",
    Reason.MASS: "mass_cancel",
    Reason.INVALID_QUANTITY: "invalid_quantity",
    Reason.INVALID_PRICE: "invalid_price",
    Reason.INVALID_FLAGS: "invalid_conditions",
    Reason.INVALID_MINIMUM: "invalid_minimum_quantity",
    Reason.UNKNOWN_ORDER: "unknown_order",
    Reason.BOOK_FULL: "book_full",
}


class BookState(msgspec.Struct, array_like=True):
    """All of a book, for a snapshot: the core's arrays as bytes of int64, and the orders in the core's numbers."""

    terms: Terms
    counters: bytes
    resting: bytes
    orders: dict[int, OpenOrder]
    trades: int
    deltas: int
    price: int


class _Cause(NamedTuple):
    """What an event of the core came of; `code` is said of a cancel instead of `requested`."""

    word: int
    at: datetime
    market_at: datetime
    code: str


class SymbolBook:
    """`accounts` names an account by its number; `end` is told of every order that is not open any more."""

    def __init__(
        self,
        terms: Terms,
        core: Book,
        accounts: Callable[[int], UUID],
        end: Callable[[bytes, EndedOrder], None],
    ) -> None:
        self.take_terms(terms)
        self.core = core
        self.orders: dict[int, OpenOrder] = {}
        self.numbers: dict[bytes, int] = {}
        """Of the open orders, by their refs."""
        self.trades = 0
        self.deltas = 0
        self.price = 0
        """Of the last trade."""
        self._accounts = accounts
        self._end = end
        self._expiries: list[tuple[int, int]] = []

    def take_terms(self, terms: Terms) -> None:
        self.terms = terms
        self.scale = terms.scale
        self._fees = terms.fees

    # Commands

    def place(self, number: int, order: OpenOrder, command: c.Row, at: datetime, market_at: datetime) -> Effects:
        """A new order under a number that the core has not seen."""
        self.orders[number] = order
        self.numbers[order.ref] = number
        effects = self._apply(command, at, market_at)
        if order.expires_ns and number in self.orders:
            heapq.heappush(self._expiries, (order.expires_ns, number))
        return effects

    def replace(self, number: int, price: int, quantity: int, at: datetime, market_at: datetime) -> Effects:
        return self._apply(c.replace(number, self.orders[number].account, price, quantity), at, market_at)

    def cancel(self, number: int, at: datetime, market_at: datetime, *, code: str = "requested") -> Effects:
        return self._apply(c.cancel(number, self.orders[number].account), at, market_at, code=code)

    def expire(self, at_ns: int, at: datetime, market_at: datetime) -> Effects:
        """Takes out what has come to its end."""
        effects = Effects.none()
        while self._expiries and self._expiries[0][0] <= at_ns:
            _, number = heapq.heappop(self._expiries)
            if number in self.orders:
                self._apply(c.cancel(number, self.orders[number].account), at, market_at, into=effects, code="expired")
        return effects

    def expires_ns(self) -> int | None:
        """When the next open order ends by time alone."""
        while self._expiries and self._expiries[0][1] not in self.orders:
            heapq.heappop(self._expiries)
        return self._expiries[0][0] if self._expiries else None

    # Events of the core

    def _apply(
        self, command: c.Row, at: datetime, market_at: datetime, *, into: Effects | None = None, code: str = ""
    ) -> Effects:
        effects = into or Effects.none()
        cause = _Cause(command[c.WORD], at, market_at, code)
        for event in self.core.apply_one(command).tolist():
            effects.reports.extend(self._told(event, effects, cause))
        return effects

    def _told(self, event: list[int], effects: Effects, cause: _Cause) -> Iterator[AnyReport]:
        kind, number, side, price = event[e.KIND], event[e.ORDER_ID], event[e.SIDE], event[e.PRICE]
        order = self.orders.get(number)
        if kind == Kind.REJECTED:
            yield self._refused(event, order, cause.word)
            return
        assert order is not None, "an order of the core is one of ours"
        ref, account_id = UUID(bytes=order.ref), self._accounts(order.account)
        if kind == Kind.ACCEPTED:
            if event[e.REMAINING]:
                effects.touched.add((side, price))
            yield Accepted(ref, account_id)
        elif kind == Kind.TRADED:
            maker = self.orders[event[e.MAKER_ID]]
            quantity = event[e.QUANTITY]
            effects.touched.add((1 - side, price))
            self.trades += 1
            self.price = price
            effects.prints.append(Print(self.trades, price, quantity, side))
            for one, is_maker in ((maker, True), (order, False)):
                fill = self._fill(one, quantity, price, cause, is_maker=is_maker)
                yield Filled(UUID(bytes=one.ref), self._accounts(one.account), fill)
            self._end_filled(event[e.MAKER_ID], event[e.MAKER_REMAINING])
            self._end_filled(number, event[e.REMAINING])
        elif kind == Kind.DECREMENTED:
            effects.touched.add((1 - side, price))
            yield from self._decremented(number, order, event[e.QUANTITY], event[e.REMAINING])
            maker_id = event[e.MAKER_ID]
            maker = self.orders[maker_id]
            yield from self._decremented(maker_id, maker, event[e.QUANTITY], event[e.MAKER_REMAINING])
        elif kind == Kind.REPLACED:
            effects.touched.update(((side, price), (side, event[e.PREVIOUS_PRICE])))
            order.quantity, order.price = event[e.QUANTITY], price
            yield Replaced(ref, account_id, order.quantity, price, order.filled)
        else:
            if event[e.WAS_RESTING]:
                effects.touched.add((side, price))
            reason = _CODES[Reason(event[e.REASON])]
            reason = cause.code if cause.code and reason == "requested" else reason
            stand = "expired" if reason == "expired" else "canceled"
            self._ended(number, stand, None if stand == "expired" else reason)
            yield (
                Expired(ref, account_id, order.filled)
                if stand == "expired"
                else Canceled(ref, account_id, reason, order.filled)
            )

    def _refused(self, event: list[int], order: OpenOrder | None, word: int) -> AnyReport:
        code = _CODES[Reason(event[e.REASON])]
        assert order is not None, "only orders that are known are asked for"
        ref, account_id = UUID(bytes=order.ref), self._accounts(order.account)
        if word == c.Word.REPLACE:
            return ReplaceRejected(ref, account_id, code)
        if word == c.Word.CANCEL:
            return CancelRejected(ref, account_id, code)
        self._ended(event[e.ORDER_ID], "rejected", code)
        return Rejected(ref, account_id, code)

    def _fill(self, order: OpenOrder, quantity: int, price: int, cause: _Cause, *, is_maker: bool) -> Fill:
        order.take(quantity, price, is_maker=is_maker)
        fee = self._fees.total(order.executed)
        fill = Fill(self.trades, quantity, price, order.filled, fee - order.fee, is_maker, cause.at, cause.market_at)
        order.fee = fee
        order.fills.append(fill)
        return fill

    def _decremented(self, number: int, order: OpenOrder, quantity: int, remaining: int) -> Iterator[AnyReport]:
        """Both orders of the account have become smaller without a trade; one of them is gone."""
        ref, account_id = UUID(bytes=order.ref), self._accounts(order.account)
        if remaining:
            order.quantity -= quantity
            yield Replaced(ref, account_id, order.quantity, order.price, order.filled)
        else:
            self._ended(number, "canceled", _CODES[Reason.SELF_TRADE])
            yield Canceled(ref, account_id, _CODES[Reason.SELF_TRADE], order.filled)

    def _end_filled(self, number: int, remaining: int) -> None:
        if not remaining:
            self._ended(number, "filled", None)

    def _ended(self, number: int, stand: str, code: str | None) -> None:
        order = self.orders.pop(number)
        del self.numbers[order.ref]
        ended = EndedOrder(order.account, self.terms.symbol, stand, code, order.filled, order.fills)
        self._end(order.ref, ended)

    # What everybody may see

    def checksum(self) -> int:
        """CRC-32 of the best levels, in lots and ticks, the bids first."""
        # Plain numbers: compiled code takes an enum's member at five times the cost.
        levels = self.core.depth(0, CHECKED_LEVELS).tolist() + self.core.depth(1, CHECKED_LEVELS).tolist()
        return crc32("".join(f"{price}:{quantity};" for price, quantity, _ in levels).encode())

    # Snapshots

    def state(self) -> BookState:
        counters, resting = self.core.snapshot()
        return BookState(
            self.terms, counters.tobytes(), resting.tobytes(), self.orders, self.trades, self.deltas, self.price
        )

    def restore(self, state: BookState, restored: Callable[[Snapshot], Book]) -> None:
        counters = np.frombuffer(state.counters, dtype=np.int64)
        resting = np.frombuffer(state.resting, dtype=np.int64).reshape(-1, 7)
        self.core = restored(Snapshot(counters, resting))
        self.orders = state.orders
        self.numbers = {order.ref: number for number, order in state.orders.items()}
        self.trades, self.deltas, self.price = state.trades, state.deltas, state.price
        self._expiries = [(order.expires_ns, number) for number, order in self.orders.items() if order.expires_ns]
        heapq.heapify(self._expiries)
