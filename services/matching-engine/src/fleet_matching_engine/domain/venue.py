"""The books of one partition of the internal venue, and the rules they are kept under. A pure function of its journal."""

import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

import msgspec
from fleet_simulator import Cancel as Taken
from fleet_simulator import CancelRejected, Rejected, ReplaceRejected
from fleet_simulator.book import Book

from fleet_matching_engine.domain.admission import Admission, Refused, ns_of
from fleet_matching_engine.domain.book import BookState, SymbolBook
from fleet_matching_engine.domain.orders import (
    Cancel,
    Effects,
    EndedOrder,
    Listed,
    ListQuery,
    Moment,
    OrderFill,
    Place,
    Query,
    Replace,
    Report,
    Stated,
)
from fleet_matching_engine.domain.rates import Rates
from fleet_matching_engine.domain.rules import HALTED, VENUE, Cutoffs, MassCancel, Reference, Rules, State, Sweep, Terms
from fleet_matching_engine.domain.sessions import Session

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_AT_ONCE: Final = 5_000
"""Orders that one fact takes out, in a quarter of a second: a million that a halt or an operator takes out, or that end
at one instant, would take longer than the broker waits for a sign of life."""


class _VenueState(msgspec.Struct, array_like=True):
    rules: Rules | None
    references: dict[str, Reference]
    states: list[State]
    users: dict[str, str]
    rates: dict[str, int]
    market_at: datetime
    books: list[BookState]
    ended: dict[str, EndedOrder]
    archived_upto: int
    cutoffs: dict[str, datetime] = {}
    sweeps: list[Sweep] = []


class Venue:
    """Answers each command and fact with the effects in the books it touches: (symbol, effects)."""

    def __init__(self, engine: Callable[[], Book]) -> None:
        self.admission = Admission()
        self.books: dict[str, SymbolBook] = {}
        self.users: dict[str, str] = {}
        """Whose the accounts are."""
        self.ended: dict[str, EndedOrder] = {}
        """By reference: what has ended and is not in the archive yet."""
        self.recalled: dict[str, EndedOrder] = {}
        """Of the archive: what the commands that come next ask for."""
        self.recalled_fills: dict[tuple[str, int, int], list[OrderFill]] = {}
        """So are these, by symbol, first trade and number asked for."""
        self.archived_upto = 0
        """The offset up to which the archive has what has ended; 0: it has nothing yet."""
        self.sweeps: list[Sweep] = []
        """What a halt or an operator has begun to take out: ticks go on with it, one after the other."""
        self.at_once = _AT_ONCE
        self._engine = engine
        self._market_at = _EPOCH

    def moment(self, at: datetime, market_at: datetime | None) -> Moment:
        """On a replay orders live by the market's time, as it was told last."""
        if not self._is_replay:
            return Moment(at, market_at or at, ns_of(at))
        self._market_at = max(self._market_at, market_at or self._market_at)
        return Moment(at, self._market_at, ns_of(self._market_at))

    # Commands

    def place(self, command: Place, when: Moment) -> Effects:
        """Takes an order, once: told again, the venue answers where it stands."""
        book, ref = self.books.get(command.symbol), command.ref
        if self._ended_order(ref) is not None or (book is not None and ref in book.orders):
            return Effects([self._state_of(book, ref, command.account_id)])
        try:
            if book is None:
                raise Refused("unknown_symbol")
            placed = self.admission.placed(command, book, when)
        except Refused as refused:
            self.ended[ref] = EndedOrder(command.account_id, command.symbol, "rejected", refused.code, 0, [])
            rejected = Report(Rejected(ref, command.account_id, when.ns, refused.code))
            effects = Effects() if book is None else book.reject(ref, when)
            effects.reports.insert(0, rejected)
            return effects
        self.users[command.account_id] = command.user_id
        return book.apply(placed, when)

    def replace(self, command: Replace, when: Moment) -> Effects:
        book = self.books.get(command.symbol)
        try:
            if book is None:
                raise Refused("unknown_order")
            order = book.orders.get(command.ref)
            return book.apply(self.admission.changed(command, book, order, when), when)
        except Refused as refused:
            return Effects([Report(ReplaceRejected(command.ref, command.account_id, when.ns, refused.code))])

    def cancel(self, command: Cancel, when: Moment) -> Effects:
        """In every state of the venue and at any time: a late cancel is still wanted."""
        book = self.books.get(command.symbol)
        if book is None:
            return Effects([Report(CancelRejected(command.ref, command.account_id, when.ns, "unknown_order"))])
        return book.apply(Taken(command.ref, command.account_id, 0), when)

    def query(self, command: Query) -> Effects:
        book = self.books.get(command.symbol)
        return Effects([self._state_of(book, ref, command.account_id) for ref in command.refs])

    def listed(self, query: ListQuery) -> Listed:
        book = self.books.get(query.symbol)
        if book is None:
            return Listed([], False, [], False, last_trade=0, positions=[], has_more_positions=False)
        since, most = query.since_trade, query.most
        older = () if since is None else self.recalled_fills.get((query.symbol, since, most), ())
        return book.listed(query, older)

    # Facts

    def take_rules(self, rules: Rules) -> None:
        self.admission.rules = rules

    def list(self, terms: Terms) -> None:
        """An instrument is traded here from now on, or on other terms."""
        book = self.books.get(terms.symbol)
        if book is None:
            self.books[terms.symbol] = SymbolBook(terms, self._engine(), self._remember)
        elif self.can_list(terms):
            book.take_terms(terms)

    def can_list(self, terms: Terms) -> bool:
        """A grid stays once orders rest on it or something has traded on it: all is counted in its ticks and lots."""
        book = self.books.get(terms.symbol)
        is_unused = book is None or not (book.orders or book.trades)
        return book is None or is_unused or (terms.tick, terms.lot) == (book.terms.tick, book.terms.lot)

    def refer(self, reference: Reference) -> None:
        self.admission.references[reference.symbol] = reference

    def begin(self, session: Session, when: Moment) -> Effects:
        book, reference = self.books.get(session.symbol), self.admission.references.get(session.symbol)
        if book is None:
            return Effects()
        ticks = int(reference.price / book.terms.tick) if reference is not None else book.price
        effects = book.begin(session, ticks or None, when)
        if self._is_replay:  # no tick goes on with it
            effects.add(book.end_session(when))
        return effects

    def obey(self, state: State, when: Moment) -> Iterator[tuple[str, Effects]]:
        """A halt takes out what is open in its scope; nothing new is taken until it is lifted."""
        self.admission.states[state.key] = state
        if state.word != HALTED:
            return
        symbol = state.target if state.scope == "symbol" else None
        account_id = state.target if state.scope == "account" else None
        if state.scope in ("system", "symbol", "account") or state.target == VENUE:
            yield from self._cancel_all(symbol, account_id, "market_halted", when)

    def cut_off(self, cutoffs: Cutoffs, when: Moment) -> Iterator[tuple[str, Effects]]:
        """What was accepted until then is taken out, and what was said until then is not taken any more."""
        self.admission.cutoffs.update(cutoffs.by_account)
        until = {account_id: ns_of(at) for account_id, at in cutoffs.by_account.items()}
        for name, book in self.books.items():
            orders = [o for o in book.orders.values() if o.accepted_at <= until.get(o.account_id, -1)]
            yield name, book.cancel(orders, "cancel_after", when)

    def mass_cancel(self, told: MassCancel, when: Moment) -> Iterator[tuple[str, Effects]]:
        yield from self._cancel_all(told.symbol, told.account_id, "mass_cancel", when)

    def _cancel_all(
        self, symbol: str | None, account_id: str | None, code: str, when: Moment
    ) -> Iterator[tuple[str, Effects]]:
        """What is open now, in the order of arrival."""
        found = {name: book.latest for name, book in self.books.items() if symbol in (None, name) and book.orders}
        self.sweeps.append(Sweep(account_id, code, found))
        yield from self._sweep(when)

    def _sweep(self, when: Moment, left: int | None = None) -> Iterator[tuple[str, Effects]]:
        left = self._at_once() if left is None else left
        while self.sweeps and left > 0:
            sweep = self.sweeps[0]
            for name, latest in list(sweep.latest.items()):
                book = self.books[name]
                orders = list(islice(book.arrived(latest, sweep.account_id), left))
                yield name, book.cancel(orders, sweep.code, when)
                left -= len(orders)
                if left == 0:
                    return
                del sweep.latest[name]
            del self.sweeps[0]

    def settle(self, symbol: str | None, when: Moment) -> Iterator[tuple[str, Effects]]:
        """All that has ended by then is out, in this book or in all: what comes next meets none of it.

        Little is left to it where time is told first, a slice at a time (`ends_at`)."""
        for name in self.books if symbol is None else (symbol,):
            book = self.books.get(name)
            ends_at = None if book is None else book.ends_at
            if book is not None and ends_at is not None and ends_at <= when.ns:
                yield name, book.expire(when)
                yield name, book.end_session(when)

    def tick(self, when: Moment) -> Iterator[tuple[str, Effects]]:
        """It is now so late: orders come to their end, so many at a time."""
        left = self._at_once()
        for name, book in self.books.items():
            for end in (book.expire, book.end_session):
                held = len(book.orders)
                yield name, end(when, left)
                left -= held - len(book.orders)
                if left <= 0:
                    return
        yield from self._sweep(when, left)

    def _at_once(self) -> int:
        return sys.maxsize if self._is_replay else self.at_once  # a replay has no ticks

    @property
    def _is_replay(self) -> bool:
        return self.admission.rules is not None and self.admission.rules.is_replay

    def ends_at(self) -> datetime | None:
        """When the next order comes to its end: at once, while those of a session are being taken out."""
        return _first(book.ends_at for book in self.books.values())

    def due_at(self) -> datetime | None:
        """When the next order comes to its end, or a book is shown whole: at once, while orders are being taken out."""
        if self.sweeps:
            return _EPOCH
        return _first(at for book in self.books.values() for at in (book.ends_at, book.shows_at))

    # What is known

    def _state_of(self, book: SymbolBook | None, ref: str, account_id: str) -> Report:
        order = None if book is None else book.orders.get(ref)
        if book is not None and order is not None and order.account_id == account_id:
            fills = tuple(book.fills.get(ref, ()))
            return Report(Stated(ref, account_id, "working", None, order.filled_quantity, fills))
        ended = self._ended_order(ref)
        if ended is None or ended.account_id != account_id:
            return Report(Stated(ref, account_id, "unknown", None, 0, ()))
        return Report(Stated(ref, account_id, ended.stand, ended.code, ended.cumulative, tuple(ended.fills)))

    def _ended_order(self, ref: str) -> EndedOrder | None:
        return self.ended.get(ref) or self.recalled.get(ref)

    def _remember(self, ref: str, ended: EndedOrder) -> None:
        self.ended[ref] = ended

    def archived(self, upto: int) -> None:
        """All that has ended before this offset, and every fill, is in the archive now."""
        self.archived_upto = upto
        self.ended = {}
        for book in self.books.values():
            book.tape = []

    # Snapshots

    def snapshot(self) -> bytes:
        state = _VenueState(
            self.admission.rules,
            self.admission.references,
            list(self.admission.states.values()),
            self.users,
            self.admission.rates.times,
            self._market_at,
            [book.state() for book in self.books.values()],
            self.ended,
            self.archived_upto,
            self.admission.cutoffs,
            self.sweeps,
        )
        return msgspec.msgpack.encode(state)

    def restore(self, content: bytes) -> None:
        state = msgspec.msgpack.decode(content, type=_VenueState)
        self.admission.rules, self.admission.references = state.rules, state.references
        self.admission.states = {one.key: one for one in state.states}
        self.admission.rates = Rates(state.rates)
        self.admission.cutoffs = state.cutoffs
        self.users, self.ended, self._market_at = state.users, state.ended, state.market_at
        self.archived_upto, self.sweeps = state.archived_upto, state.sweeps
        for one in state.books:
            self.list(one.terms)
            self.books[one.terms.symbol].restore(one)


def _first(times: Iterable[int | None]) -> datetime | None:
    first = min((at for at in times if at is not None), default=None)
    return None if first is None else _EPOCH + timedelta(microseconds=first // 1000)
