"""The venue as the machine of its journal, and the facts that the world has for it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final, TypeVar

import msgspec
from fleet_bus import CLOCK, Fact, Received, Said
from fleet_contracts import Message
from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.data import BestQuote, InstrumentDefined
from fleet_contracts.encoding import encode_json
from fleet_contracts.partitioning import partition
from fleet_contracts.topics import MATCHING_ENGINE_MARKET_DATA, VENUE_INTERNAL_COMMANDS, VENUE_INTERNAL_REPORTS
from fleet_contracts.venue import CancelVenueOrder, PlaceVenueOrder, QueryVenueOrders, ReplaceVenueOrder

from fleet_matching_engine import events
from fleet_matching_engine.domain.orders import Effects
from fleet_matching_engine.domain.rules import (
    INSTRUMENT,
    MASS_CANCEL,
    REFERENCE,
    RULES,
    STATE,
    VENUE,
    MassCancel,
    Reference,
    Rules,
    State,
    Terms,
)
from fleet_matching_engine.domain.venue import BookEngine, Venue

SNAPSHOT_DELTAS: Final = 100
"""Deltas between two BookSnapshots of a symbol: who missed one waits for so many at the most."""

T = TypeVar("T")


def fact(kind: str, content: object) -> Fact:
    return Fact(kind, encode_json(content))


class VenueMachine:
    """One partition: commands and facts in, reports and market data out. No clock, no I/O."""

    def __init__(self, engine: BookEngine, number: int) -> None:
        self.venue = Venue(engine)
        self.number = number

    def obey(self, received: Received[Message], at: datetime) -> Iterator[Said]:
        message, market_at = received.message, received.market_at or at
        match message:
            case PlaceVenueOrder():
                effects = self.venue.place(events.place(message), at, market_at)
            case ReplaceVenueOrder():
                effects = self.venue.replace(events.replace(message), at, market_at)
            case CancelVenueOrder():
                effects = self.venue.cancel(events.cancel(message), at, market_at)
            case QueryVenueOrders():
                effects = self.venue.query(events.query(message))
            case _:
                return
        yield from self._said(message.symbol, effects, market_at)

    def learn(self, fact: Fact, at: datetime) -> Iterator[Said]:
        found: Iterable[tuple[str, Effects]] = ()
        if fact.kind == CLOCK:
            found = self.venue.tick(at)
        elif fact.kind == RULES:
            self.venue.take_rules(_decoded(fact, Rules))
        elif fact.kind == INSTRUMENT:
            self.venue.list(_decoded(fact, Terms))
        elif fact.kind == REFERENCE:
            self.venue.refer(_decoded(fact, Reference))
        elif fact.kind == STATE:
            found = self.venue.obey(_decoded(fact, State), at, at)
        elif fact.kind == MASS_CANCEL:
            found = self.venue.mass_cancel(_decoded(fact, MassCancel), at, at)
        else:
            raise ValueError(f"the journal holds a fact of no known kind, was {fact.kind!r}")
        for symbol, effects in found:
            yield from self._said(symbol, effects, at)

    def due_at(self) -> datetime | None:
        return self.venue.due_at()

    def snapshot(self) -> bytes:
        return self.venue.snapshot()

    def restore(self, content: bytes) -> None:
        self.venue.restore(content)

    def _said(self, symbol: str, effects: Effects, market_at: datetime) -> Iterator[Said]:
        book = self.venue.books.get(symbol)
        if effects.reports:
            told = events.reports(symbol, effects.reports, book, market_at)
            yield Said(VENUE_INTERNAL_REPORTS, symbol, told, market_at)
        if book is None:
            return
        for trade in events.trades(book, effects, market_at):
            yield Said(MATCHING_ENGINE_MARKET_DATA, symbol, trade, market_at)
        if effects.touched:
            book.deltas += 1
            yield Said(MATCHING_ENGINE_MARKET_DATA, symbol, events.delta(book, effects, market_at), market_at)
            if book.deltas % SNAPSHOT_DELTAS == 1:
                yield Said(MATCHING_ENGINE_MARKET_DATA, symbol, events.snapshot(book, market_at), market_at)


class World:
    """What holds outside of the journal: its rules, what may be traded, prices, trading states."""

    def __init__(
        self,
        rules: Rules,
        instruments: Callable[[], Iterable[InstrumentDefined]],
        quote: Callable[[str], BestQuote | None],
        states: Callable[[], Iterable[TradingStateChanged]],
    ) -> None:
        self._rules = rules
        self._instruments = instruments
        self._quote = quote
        self._states = states

    def news_for(self, machine: VenueMachine) -> Sequence[Fact]:
        """What this machine has not learned of it."""
        venue = machine.venue
        found = [] if venue.rules == self._rules else [fact(RULES, self._rules)]
        for defined in self._instruments():
            if VENUE in defined.venues and _partition(defined.symbol) == machine.number:
                found += self._of_instrument(venue, defined)
        for change in self._states():
            held = venue.states.get((change.scope.value, change.target))
            if held is None or (held.epoch, held.version) < (change.epoch, change.version):
                state = State(change.scope.value, change.target, change.state.value, change.epoch, change.version)
                found.append(fact(STATE, state))
        return found

    def _of_instrument(self, venue: Venue, defined: InstrumentDefined) -> Iterator[Fact]:
        book, terms = venue.books.get(defined.symbol), events.terms(defined)
        if (book is None or book.terms != terms) and venue.can_list(terms):
            yield fact(INSTRUMENT, terms)
        quote, known = self._quote(defined.symbol), venue.references.get(defined.symbol)
        if quote is not None and (known is None or known.is_far_from(quote.last, self._rules.band)):
            yield fact(REFERENCE, Reference(defined.symbol, quote.last))


def _decoded(fact: Fact, kind: type[T]) -> T:
    return msgspec.json.decode(fact.payload, type=kind)


@lru_cache(maxsize=10_000)
def _partition(symbol: str) -> int:
    return partition(symbol, VENUE_INTERNAL_COMMANDS.partitions)
