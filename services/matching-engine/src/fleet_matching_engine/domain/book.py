"""One symbol's exchange with what the venue keeps beside it: fills, numbers of what is told to everybody, the session."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import nsmallest
from typing import Final
from zlib import crc32

import msgspec
import numpy as np
from fleet_simulator import (
    Accepted,
    BookExchange,
    Cancel,
    Canceled,
    Command,
    Event,
    Executed,
    Expired,
    Filled,
    Liquidity,
    Order,
    Rejected,
    Replaced,
    Side,
    TimeInForce,
)
from fleet_simulator.book import Book
from fleet_simulator.book import events as e
from fleet_simulator.book.book import Resting
from fleet_simulator.book.events import Kind

from fleet_matching_engine.domain.orders import (
    Effects,
    EndedOrder,
    Fill,
    Listed,
    ListQuery,
    Moment,
    OrderFill,
    Print,
    Report,
)
from fleet_matching_engine.domain.packing import PackedOrders, packed, unpacked
from fleet_matching_engine.domain.references import References
from fleet_matching_engine.domain.rules import Terms
from fleet_matching_engine.domain.sessions import Ending, Session

CHECKED_LEVELS: Final = 10
SHOWN_AFTER_DELTAS: Final = 100
SHOWN_AFTER_NS: Final = 60_000_000_000
"""Who missed a delta waits for so many more, or for so long after the last snapshot, at the most."""
# Plain numbers: an enum's member compares at five times the cost.
_ACCEPTED, _TRADED, _DECREMENTED = int(Kind.ACCEPTED), int(Kind.TRADED), int(Kind.DECREMENTED)
_CANCELED, _REPLACED = int(Kind.CANCELED), int(Kind.REPLACED)


class BookState(msgspec.Struct, array_like=True):
    """All of a book, for a snapshot; the core's arrays as bytes of int64."""

    terms: Terms
    counters: bytes
    resting: bytes
    exchange: dict[str, int]
    orders: PackedOrders
    positions: dict[str, int]
    fills: dict[str, list[Fill]]
    tape: list[OrderFill]
    deltas: int
    trades: int
    price: int
    session: Session | None
    shown: int = 1 - SHOWN_AFTER_DELTAS
    shown_ns: int = 0
    ending: Ending | None = None


class SymbolBook:
    """`end` is told of every order that is not open any more."""

    def __init__(self, terms: Terms, core: Book, end: Callable[[str, EndedOrder], None]) -> None:
        self.take_terms(terms)
        self.exchange = BookExchange(self, core, self._watch)
        self.fills: dict[str, list[Fill]] = {}
        """Of the open orders that have any."""
        self.tape: list[OrderFill] = []
        """The latest fills, by trade; those before the first of them are in the archive."""
        self.trades = 0
        self.deltas = 0
        self.shown, self.shown_ns = 1 - SHOWN_AFTER_DELTAS, 0
        """The deltas by the last snapshot for everybody, and its time; the first delta brings the first one."""
        self.price = 0
        """Of the last trade."""
        self._references = References()
        self.session: Session | None = None
        self.ending: Ending | None = None
        self._end = end
        self._seen = Effects()

    def take_terms(self, terms: Terms) -> None:
        self.terms = terms
        self.scale = terms.scale
        self._fees = terms.fees

    def total(self, executed: Executed) -> int:
        """The fees of an order: those of the terms that hold as it trades."""
        return self._fees.total(executed)

    @property
    def core(self) -> Book:
        return self.exchange.book

    @property
    def orders(self) -> dict[str, Order]:
        """To be read only."""
        return self.exchange.orders

    @property
    def latest(self) -> int:
        """The arrival of the open order that came last."""
        return next(reversed(self.orders.values())).arrival

    def arrived(self, latest: int, account_id: str | None) -> Iterator[Order]:
        """Open orders up to this arrival, of the account or of all, in the order of arrival."""
        for order in self.orders.values():
            if order.arrival > latest:
                return
            if account_id in (None, order.account_id):
                yield order

    @property
    def ends_at(self) -> int | None:
        """When the next order comes to its end, in nanoseconds: long since, while those of a session are taken out."""
        return self.exchange.expires_at() if self.ending is None else 0

    @property
    def shows_at(self) -> int | None:
        """When everybody is to be shown all of it, in nanoseconds; None: nothing has changed since."""
        if self.deltas == max(self.shown, 0):
            return None
        return self.shown_ns + SHOWN_AFTER_NS if self.deltas - self.shown < SHOWN_AFTER_DELTAS else 0

    @property
    def is_open(self) -> bool:
        return self.session is None or self.session.is_open

    def measure(self, side: Side) -> int:
        """What tells how large an order without a price is, in ticks: the last trade, else the best on the other side; 0
        where there is neither."""
        if self.price:
            return self.price
        best = self.core.depth(int(side is Side.BUY), 1).tolist()
        return int(best[0][0]) if best else 0

    # What is done

    def apply(self, command: Command, when: Moment) -> Effects:
        return self._told(self.exchange.apply(command, when.ns), when)

    def reject(self, ref: str, when: Moment) -> Effects:
        """An order did not come in: neither do those that wait for it."""
        return self._told(self.exchange.reject(ref, when.ns), when)

    def expire(self, when: Moment, most: int | None = None) -> Effects:
        """Ends what is good till a date that has come; of many the first `most`."""
        return self._told(self.exchange.expire(when.ns, most), when)

    def cancel(self, orders: Iterable[Order], code: str, when: Moment) -> Effects:
        """As long as they are open: the end of one may be that of another."""
        effects = Effects()
        for order in list(orders):
            if order.order_ref in self.orders:
                effects.add(self.apply(Cancel(order.order_ref, order.account_id, 0, code), when))
        return effects

    def begin(self, session: Session, reference: int | None, when: Moment) -> Effects:
        """The session before ends with its auction and its day orders, the new one begins with its auction.

        The day orders, and the auction after them, are left to `end_session`."""
        held, self.session = self.session, session
        effects = Effects()
        if held is None:
            return effects
        is_new = session.day != held.day
        if held.is_open and (is_new or not session.is_open):
            effects.add(self._auction(TimeInForce.AT_CLOSE, reference, when))
            since_ns = int(session.since.timestamp()) * 1_000_000_000
            self.ending = Ending(since_ns, when.market_at, is_new and session.is_open, reference)
        elif is_new and session.is_open:
            effects.add(self._auction(TimeInForce.AT_OPEN, reference, when))
        return effects

    def end_session(self, when: Moment, most: int | None = None) -> Effects:
        """Goes on with what a new session began: so many of the day orders, and when they are out, the opening auction."""
        ending = self.ending
        if ending is None:
            return Effects()
        when = when._replace(market_at=ending.market_at)
        effects = self._told(self.exchange.end_session(ending.since_ns, most), when)
        if not self.exchange.has_day_orders(ending.since_ns):
            self.ending = None
            if ending.opens:
                effects.add(self._auction(TimeInForce.AT_OPEN, ending.reference, when))
        effects.market_at = ending.market_at
        return effects

    def _auction(self, kind: TimeInForce, reference: int | None, when: Moment) -> Effects:
        effects = self._told(self.exchange.auction(kind, reference, when.ns), when)
        effects.prints = [Print(one.number, one.price, one.quantity, None) for one in effects.prints]
        return effects

    # What came of it

    def _watch(self, rows: e.Events) -> None:
        touched = self._seen.touched
        for row in rows.tolist():
            kind, side, price = row[e.KIND], row[e.SIDE], row[e.PRICE]
            if kind == _ACCEPTED:
                if row[e.REMAINING]:
                    touched.add((side, price))
            elif kind == _TRADED:
                touched.add((1 - side, price))
                self.trades += 1
                self.price = price
                self._seen.prints.append(Print(self.trades, price, row[e.QUANTITY], side))
            elif kind == _DECREMENTED:
                touched.add((1 - side, price))
            elif kind == _CANCELED:
                if row[e.WAS_RESTING]:
                    touched.add((side, price))
            elif kind == _REPLACED:
                touched.update(((side, price), (side, row[e.PREVIOUS_PRICE])))

    def _told(self, events: list[Event], when: Moment) -> Effects:
        effects, self._seen = self._seen, Effects()
        filled: dict[str, str] = {}
        for event in events:
            ref = event.order_ref
            match event:
                case Filled():
                    fill = fill_of(event, when)
                    self.fills.setdefault(ref, []).append(fill)
                    self.tape.append(OrderFill(ref, event.account_id, fill))
                    filled[ref] = event.account_id
                    effects.reports.append(Report(event, event.cumulative_quantity))
                    continue
                case Canceled(reason=reason):
                    cumulative = self._ended(event, "canceled", reason)
                case Expired():
                    cumulative = self._ended(event, "expired", None)
                case Rejected(reason=reason):
                    cumulative = self._ended(event, "rejected", reason)
                case Replaced(reason="parent_ended"):
                    cumulative = self._forget(ref, event.account_id, "filled", None)
                case Accepted():
                    self._references.add(ref)
                    cumulative = 0
                case _:
                    cumulative = self.filled(ref)
            effects.reports.append(Report(event, cumulative))
        for ref, account_id in filled.items():
            if ref in self.fills and ref not in self.orders:
                self._forget(ref, account_id, "filled", None)
        return effects

    def filled(self, ref: str) -> int:
        fills = self.fills.get(ref)
        return fills[-1].cumulative if fills else 0

    def _ended(self, event: Canceled | Expired | Rejected, stand: str, code: str | None) -> int:
        return self._forget(event.order_ref, event.account_id, stand, code)

    def _forget(self, ref: str, account_id: str, stand: str, code: str | None) -> int:
        cumulative = self.filled(ref)
        fills = self.fills.pop(ref, [])
        self._references.discard(ref)
        self._end(ref, EndedOrder(account_id, self.terms.symbol, stand, code, cumulative, fills))
        return cumulative

    # What is told of them

    def listed(self, query: ListQuery, older: Sequence[OrderFill]) -> Listed:
        """`older`: fills of the archive, at least those that are asked for, by trade."""
        since_trade, most = query.since_trade, query.most
        refs = self._references.above(query.after, most + 1)
        held = self.exchange.positions.above(query.positions_after, most + 1)
        fills: list[OrderFill] = []
        if since_trade is not None:
            first = self.tape[0].fill.trade if self.tape else self.trades + 1
            begin = bisect_left(self.tape, since_trade, key=_trade_of)
            # One more than is asked for tells whether there are more, another that no trade is torn apart.
            found = [one for one in older if since_trade <= one.fill.trade < first]
            found += self.tape[begin : begin + most + 2]
            fills = nsmallest(most + 1, found, key=lambda one: (one.fill.trade, one.order_ref))
        return Listed(
            orders=[self.orders[ref] for ref in refs[:most]],
            has_more_orders=len(refs) > most,
            fills=fills[:most],
            has_more_fills=len(fills) > most,
            last_trade=fills[:most][-1].fill.trade if fills else self.trades,
            positions=held[:most],
            has_more_positions=len(held) > most,
        )

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
            terms=self.terms,
            counters=counters.tobytes(),
            resting=resting.tobytes(),
            exchange=self.exchange.state(),
            orders=packed(self.orders.values(), resting),
            positions=self.exchange.positions.to_data(),
            fills=self.fills,
            tape=self.tape,
            deltas=self.deltas,
            trades=self.trades,
            price=self.price,
            session=self.session,
            shown=self.shown,
            shown_ns=self.shown_ns,
            ending=self.ending,
        )

    def restore(self, state: BookState) -> None:
        counters = np.frombuffer(state.counters, dtype=np.int64)
        resting = np.frombuffer(state.resting, dtype=np.int64).reshape(-1, len(Resting._fields))
        book = {"counters": counters, "orders": resting}
        self.exchange.resume(state.exchange, book, unpacked(state.orders, resting), state.positions)
        self._references = References(self.orders)
        self.fills, self.tape = state.fills, state.tape
        self.deltas, self.trades, self.price, self.session = state.deltas, state.trades, state.price, state.session
        self.shown, self.shown_ns, self.ending = state.shown, state.shown_ns, state.ending


def _trade_of(one: OrderFill) -> int:
    return one.fill.trade


def fill_of(event: Filled, when: Moment) -> Fill:
    return Fill(
        trade=event.trade_number,
        quantity=event.last_quantity,
        price=event.last_price,
        cumulative=event.cumulative_quantity,
        fee=event.fee,
        is_maker=event.liquidity is Liquidity.MAKER,
        executed_at=when.at,
        market_at=when.market_at,
    )
