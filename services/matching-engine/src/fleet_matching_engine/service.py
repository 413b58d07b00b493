"""The venue as the machine of its journal, and the facts that the world has for it."""

import contextlib
import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TypeVar
from uuid import UUID

import msgspec
from fleet_bus import CLOCK, Fact, Received, Said
from fleet_calendars import ROUND_THE_CLOCK, OutsideCalendar
from fleet_contracts import Message
from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.data import BestQuote, InstrumentDefined
from fleet_contracts.encoding import encode_json
from fleet_contracts.partitioning import partition
from fleet_contracts.topics import MATCHING_ENGINE_MARKET_DATA, VENUE_INTERNAL_COMMANDS, VENUE_INTERNAL_REPORTS
from fleet_contracts.venue import (
    CancelVenueOrder,
    PlaceVenueOrder,
    QueryVenueOpenOrders,
    QueryVenueOrders,
    ReplaceVenueOrder,
)
from fleet_simulator.book import Book

from fleet_matching_engine import events
from fleet_matching_engine.domain.book import SymbolBook
from fleet_matching_engine.domain.orders import Effects, Moment
from fleet_matching_engine.domain.rules import (
    ACTIVE,
    ALONE,
    CANCEL_AFTER,
    INSTRUMENT,
    MASS_CANCEL,
    REDUCING,
    REFERENCE,
    RULES,
    STATE,
    VENUE,
    Cutoffs,
    MassCancel,
    Reference,
    Rules,
    State,
    Terms,
)
from fleet_matching_engine.domain.sessions import SESSION, Session, session
from fleet_matching_engine.domain.venue import Venue

AnyCommand = PlaceVenueOrder | ReplaceVenueOrder | CancelVenueOrder | QueryVenueOrders | QueryVenueOpenOrders

T = TypeVar("T")


def fact(kind: str, content: object) -> Fact:
    return Fact(kind, encode_json(content))


class VenueMachine:
    """One partition: commands and facts in, reports and market data out. No clock, no I/O."""

    def __init__(self, engine: Callable[[], Book], number: int) -> None:
        self.venue = Venue(engine)
        self.number = number
        self.seen_deadlines = 0
        """No part of the state: it spares the world to compare what has not changed."""

    def obey(self, received: Received[Message], at: datetime) -> Iterator[Said]:
        message, when = received.message, self.venue.moment(at, received.market_at)
        if not isinstance(message, AnyCommand):
            return
        yield from self._all_said(self.venue.settle(message.symbol, when), when)
        match message:
            case PlaceVenueOrder():
                effects = self.venue.place(events.place(message, received.occurred_at), when)
            case ReplaceVenueOrder():
                effects = self.venue.replace(events.replace(message), when)
            case CancelVenueOrder():
                effects = self.venue.cancel(events.cancel(message), when)
            case QueryVenueOrders():
                effects = self.venue.query(events.query(message))
            case QueryVenueOpenOrders():
                listed, book = self.venue.listed(events.list_query(message)), self.venue.books.get(message.symbol)
                told = events.open_orders(message, listed, book, self.venue.users, when)
                yield Said(VENUE_INTERNAL_REPORTS, message.symbol, told, when.market_at)
                return
        wish = message if isinstance(message, CancelVenueOrder | ReplaceVenueOrder) else None
        yield from self._said(message.symbol, effects, when, wish)

    def learn(self, fact: Fact, at: datetime) -> Iterator[Said]:
        when = self.venue.moment(at, None)
        found: Iterable[tuple[str, Effects]] = ()
        if fact.kind in (STATE, CANCEL_AFTER, MASS_CANCEL):
            yield from self._all_said(self.venue.settle(None, when), when)
        if fact.kind == CLOCK:
            found = self.venue.tick(when)
        elif fact.kind == RULES:
            self.venue.take_rules(_decoded(fact, Rules))
        elif fact.kind == INSTRUMENT:
            self.venue.list(_decoded(fact, Terms))
        elif fact.kind == REFERENCE:
            self.venue.refer(_decoded(fact, Reference))
        elif fact.kind == SESSION:
            begun = _decoded(fact, Session)
            yield from self._all_said(self.venue.settle(begun.symbol, when), when)
            when = self.venue.moment(at, begun.since)
            found = [(begun.symbol, self.venue.begin(begun, when))]
        elif fact.kind == STATE:
            found = self.venue.obey(_decoded(fact, State), when)
        elif fact.kind == CANCEL_AFTER:
            found = self.venue.cut_off(_decoded(fact, Cutoffs), when)
        elif fact.kind == MASS_CANCEL:
            found = self.venue.mass_cancel(_decoded(fact, MassCancel), when)
        else:
            raise ValueError(f"the journal holds a fact of no known kind, was {fact.kind!r}")
        yield from self._all_said(found, when)

    def ends_at(self) -> datetime | None:
        return self.venue.ends_at()

    def due_at(self) -> datetime | None:
        return self.venue.due_at()

    def snapshot(self) -> bytes:
        with _uncollected():
            return self.venue.snapshot()

    def restore(self, content: bytes) -> None:
        with _uncollected():
            self.venue.restore(content)

    def _all_said(self, found: Iterable[tuple[str, Effects]], when: Moment) -> Iterator[Said]:
        for symbol, effects in found:
            yield from self._said(symbol, effects, when)

    def _said(self, symbol: str, effects: Effects, when: Moment, wish: events.Wish | None = None) -> Iterator[Said]:
        when = when._replace(market_at=effects.market_at or when.market_at)
        book, market_at = self.venue.books.get(symbol), when.market_at
        if effects.reports:
            told = events.reports(symbol, effects.reports, book, when, wish)
            yield Said(VENUE_INTERNAL_REPORTS, symbol, told, market_at)
        if book is None:
            return
        for trade in events.trades(book, effects, market_at):
            yield Said(MATCHING_ENGINE_MARKET_DATA, symbol, trade, market_at)
        if effects.touched:
            book.deltas += 1
            yield Said(MATCHING_ENGINE_MARKET_DATA, symbol, events.delta(book, effects, market_at), market_at)
        shows_at = book.shows_at
        if shows_at is not None and shows_at <= when.ns:
            book.shown, book.shown_ns = book.deltas, when.ns
            yield Said(MATCHING_ENGINE_MARKET_DATA, symbol, events.snapshot(book, market_at), market_at)


class World:
    """What holds outside of the journal: its rules, what may be traded and when, prices, trading states."""

    def __init__(
        self,
        *,
        rules: Rules,
        calendars: Mapping[str, str],
        instruments: Callable[[], Iterable[InstrumentDefined]],
        quote: Callable[[str], BestQuote | None],
        states: Callable[[], Iterable[TradingStateChanged]],
        is_alone: Callable[[], bool],
        passed: Callable[[], tuple[Mapping[UUID, datetime], int]],
        now: Callable[[], datetime],
    ) -> None:
        self._rules = rules
        self._calendars = calendars
        self._instruments = instruments
        self._quote = quote
        self._states = states
        self._is_alone = is_alone
        self._passed = passed
        self._now = now

    def news_for(self, machine: VenueMachine) -> Sequence[Fact]:
        """What this machine has not learned of it; what stops orders first, since so many are learned at a time."""
        venue = machine.venue
        found = [] if venue.admission.rules == self._rules else [fact(RULES, self._rules)]
        for change in self._states():
            held = venue.admission.states.get((change.scope.value, change.target))
            if held is None or (held.epoch, held.version) < (change.epoch, change.version):
                state = State(change.scope.value, change.target, change.state.value, change.epoch, change.version)
                found.append(fact(STATE, state))
        alone, known = REDUCING if self._is_alone() else ACTIVE, venue.admission.states.get(ALONE)
        if alone != (ACTIVE if known is None else known.word):
            found.append(fact(STATE, State(ALONE[0], ALONE[1], alone, 0, 0)))
        cutoffs = self._news_of_deadlines(machine)
        if cutoffs:
            found.append(fact(CANCEL_AFTER, Cutoffs(cutoffs)))
        for defined in self._instruments():
            if VENUE in defined.venues and _partition(defined.symbol) == machine.number:
                found += self._of_instrument(venue, defined)
        return found

    def _news_of_deadlines(self, machine: VenueMachine) -> dict[str, datetime]:
        """All that have come in one fact: where many come together, the books are gone through once."""
        passed, version = self._passed()
        if machine.seen_deadlines == version:
            return {}
        known = machine.venue.admission.cutoffs
        found = {str(account_id): at for account_id, at in passed.items()}
        news = {account_id: at for account_id, at in found.items() if account_id not in known or known[account_id] < at}
        if not news:
            machine.seen_deadlines = version
        return news

    def _of_instrument(self, venue: Venue, defined: InstrumentDefined) -> Iterator[Fact]:
        symbol = defined.symbol
        book, terms = venue.books.get(symbol), events.terms(defined)
        if (book is None or book.terms != terms) and venue.can_list(terms):
            yield fact(INSTRUMENT, terms)
        quote, known = self._quote(symbol), venue.admission.references.get(symbol)
        if quote is not None and (known is None or known.is_far_from(quote.last, self._rules.band)):
            yield fact(REFERENCE, Reference(symbol, quote.last))
        now = self._now() if not self._rules.is_replay else None if quote is None else quote.market_at
        if now is not None:
            yield from self._of_session(book, symbol, now)

    def _of_session(self, book: SymbolBook | None, symbol: str, now: datetime) -> Iterator[Fact]:
        """None past the calendar's end: the last session stays over, and the health says why."""
        held = None if book is None else book.session
        with contextlib.suppress(OutsideCalendar):
            found = session(self._calendars.get(symbol, ROUND_THE_CLOCK), symbol, now)
            if held is None or (found != held and found.since >= held.since):
                yield fact(SESSION, found)

    def calendars_ended(self) -> str | None:
        """Why a symbol has no sessions any more; None: all have."""
        for symbol, calendar in self._calendars.items():
            try:
                session(calendar, symbol, self._now())
            except OutsideCalendar as error:
                return str(error)
        return None


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without the collector, which would look at a million orders again and again while no garbage is made."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _decoded(fact: Fact, kind: type[T]) -> T:
    return msgspec.json.decode(fact.payload, type=kind)


@lru_cache(maxsize=10_000)
def _partition(symbol: str) -> int:
    return partition(symbol, VENUE_INTERNAL_COMMANDS.partitions)
