"""What time does to the books: they are shown whole, and orders come to their end, many of them in slices."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

import msgspec
from fleet_bus import CLOCK, Fact
from fleet_bus.journal_partition import JournalPartition
from fleet_bus.journal_store import StoredFact
from fleet_bus.received import Record
from fleet_contracts import venue
from fleet_contracts.matching_engine import BookDelta, BookSnapshot
from fleet_contracts.topics import VENUE_INTERNAL_COMMANDS
from fleet_contracts.vocabulary import OrderType, Side, TimeInForce
from fleet_matching_engine.app import engine_of
from fleet_matching_engine.domain.rules import INSTRUMENT, MASS_CANCEL, RULES, MassCancel, Rules, Terms
from fleet_matching_engine.domain.sessions import SESSION, Session
from fleet_matching_engine.service import VenueMachine, fact
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_replay import record_of

SYMBOL = "AAPL/USD"
BEGIN = datetime(2026, 1, 5, 15, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ACCOUNTS = [UUID(int=n) for n in (1, 2, 3)]
KNOWN = (
    fact(RULES, Rules(Decimal("0.2"), Decimal(10**9), 10**6, "cancel_newest")),
    fact(
        INSTRUMENT,
        Terms(SYMBOL, "USD", Decimal("0.01"), Decimal(1), Decimal(1), Decimal(0), Decimal("0.001"), Decimal("0.002")),
    ),
)


class Driven:
    """The machine of a partition and its journal, driven as the bus drives them."""

    def __init__(self, engine: str = "naive", at_once: int = 1_000_000) -> None:
        self.engine = engine
        self.at_once = at_once
        self.journal = self._made()
        self.said: list[Record] = []
        self.kept: list[Record | StoredFact] = []
        self.learn(BEGIN, *KNOWN)

    def _made(self) -> JournalPartition:
        machine = VenueMachine(engine_of(self.engine), 0)
        machine.venue.at_once = self.at_once
        return JournalPartition(VENUE_INTERNAL_COMMANDS, 0, "matching-engine", 1, machine)

    @property
    def machine(self) -> VenueMachine:
        assert isinstance(self.journal.machine, VenueMachine)
        return self.journal.machine

    def learn(self, at: datetime, *facts: Fact) -> None:
        for one in self.journal.next_facts(facts, at):
            self.kept.append(one)
            self.said += self.journal.learn(one)

    def obey(self, at: datetime, *messages: Any) -> None:
        for message in messages:
            record = record_of(message, self.journal.place.offset, at)
            self.kept.append(record)
            self.said += self.journal.obey(record)

    def tick(self, at: datetime, most: int = 1_000) -> int:
        """As the bus does: while it is due. How often it was."""
        for n in range(most):
            due_at = self.machine.due_at()
            if due_at is None or due_at > at:
                return n
            self.learn(at, Fact(CLOCK, b""))
        return most

    def begin_anew(self) -> None:
        """At a snapshot."""
        content, self.journal = self.journal.snapshot(), self._made()
        self.journal.restore(content)

    def be_killed(self) -> None:
        """All is replayed, and the same is said."""
        self.journal, said = self._made(), []
        for one in self.kept:
            said += self.journal.obey(one) if isinstance(one, Record) else self.journal.learn(one)
        assert said == self.said

    def reports(self) -> list[venue.AnyVenueReport]:
        return [report for one in self.told(venue.VenueReports) for report in one.reports]

    def told(self, kind: Any) -> list[Any]:
        return [msgspec.json.decode(one.payload or b"", type=kind) for one in self.said if one.type == kind.type_name()]


def order(number: int, side: Side = Side.BUY, price: int = 90, **changed: Any) -> venue.PlaceVenueOrder:
    fields: dict[str, Any] = {
        "venue_order_ref": UUID(int=number + 1),
        "account_id": ACCOUNTS[number % 3],
        "user_id": ACCOUNTS[0],
        "command_sequence": 1,
        "send_by": None,
        "symbol": SYMBOL,
        "side": side,
        "order_type": OrderType.LIMIT,
        "quantity": Decimal(1),
        "limit_price": Decimal(price),
        "protection_price": None,
        "time_in_force": TimeInForce.GTC,
    }
    return venue.PlaceVenueOrder(**{**fields, **changed})


def test_a_book_is_shown_whole_every_hundred_deltas() -> None:
    """201 deltas -> snapshots after the 1st, 101st and 201st, each of the book as it is then"""
    driven = Driven()
    driven.obey(BEGIN, *(order(n) for n in range(201)))
    assert [delta.sequence for delta in driven.told(BookDelta)] == list(range(1, 202))
    shown = driven.told(BookSnapshot)
    assert [(one.sequence, one.bids[0].quantity) for one in shown] == [(1, 1), (101, 101), (201, 201)]
    deltas = {delta.sequence: delta.checksum for delta in driven.told(BookDelta)}
    assert [one.checksum for one in shown] == [deltas[one.sequence] for one in shown]


def test_a_quiet_book_is_shown_whole_a_minute_after_it_was_last() -> None:
    """two deltas, then nothing -> a minute after its last snapshot, one more; nothing has changed since -> none"""
    driven = Driven()
    driven.obey(BEGIN, order(0))
    assert driven.machine.due_at() is None  # it has been shown as it is
    driven.obey(BEGIN, order(1))
    assert driven.machine.due_at() == BEGIN + MINUTE
    driven.tick(BEGIN + MINUTE - timedelta(microseconds=1))
    assert [one.sequence for one in driven.told(BookSnapshot)] == [1]
    driven.begin_anew()
    driven.tick(BEGIN + MINUTE)
    assert [one.sequence for one in driven.told(BookSnapshot)] == [1, 2]
    assert driven.machine.due_at() is None
    driven.obey(BEGIN + 2 * MINUTE, order(2))  # a command that comes so late does it, too
    assert [one.sequence for one in driven.told(BookSnapshot)] == [1, 2, 3]


def the_session(day: int, *, is_open: bool, since: datetime) -> Fact:
    return fact(SESSION, Session(SYMBOL, f"day {day}", is_open, since))


def test_what_ends_at_one_instant_is_taken_out_in_slices() -> None:
    """five good till one date, two at a time -> three ticks; a command between them meets none that has ended"""
    ends_at, driven = BEGIN + MINUTE, Driven(at_once=2)
    driven.obey(BEGIN, *(order(n, time_in_force=TimeInForce.GTD, expires_at=ends_at) for n in range(5)), order(5))
    assert driven.machine.ends_at() == ends_at
    counts = []
    while driven.machine.ends_at() is not None:
        driven.tick(ends_at, most=1)
        counts.append(sum(isinstance(one, venue.VenueOrderExpired) for one in driven.reports()))
    assert counts == [2, 4, 5]


def test_a_session_round_the_clock_ends_in_slices_and_the_next_one_begins_then() -> None:
    """five day orders, two at a time; the next session is open already -> a sell that would meet them ends them first, and
    the opening auction is held without them"""
    midnight, driven = BEGIN + MINUTE, Driven(at_once=2)
    driven.learn(BEGIN, the_session(1, is_open=True, since=BEGIN - MINUTE))
    driven.obey(BEGIN, *(order(n, time_in_force=TimeInForce.DAY) for n in range(5)))
    driven.obey(BEGIN, order(5, Side.SELL, 90, time_in_force=TimeInForce.AT_OPEN))
    driven.learn(midnight + MINUTE, the_session(2, is_open=True, since=midnight))
    assert driven.machine.ends_at() is not None
    driven.tick(midnight + MINUTE, most=1)
    driven.begin_anew()
    driven.obey(midnight + MINUTE, order(6, Side.SELL, 90))
    assert driven.machine.ends_at() is None
    kinds = [(type(one).__name__, one.venue_order_ref.int) for one in driven.reports()[6:]]
    expired = [("VenueOrderExpired", n) for n in range(1, 6)]
    assert kinds == [*expired, ("VenueOrderCanceled", 6), ("VenueOrderAccepted", 7)]
    assert {one.market_at for one in driven.reports()[6:11]} == {midnight}


def some_steps(chance: Random, count: int) -> list[Any]:
    """Orders of which most end with the session or at one of few instants, some waiting for others; commands to them."""
    found: list[Any] = []
    orders: list[venue.PlaceVenueOrder] = []
    while len(found) < count:
        draw = chance.random()
        if draw < 0.6 or not orders:
            side, number = chance.choice(list(Side)), len(orders)
            words = [TimeInForce.DAY, TimeInForce.GTD, TimeInForce.GTC, TimeInForce.AT_OPEN, TimeInForce.AT_CLOSE]
            word = chance.choices(words, (6, 6, 2, 1, 1))[0]
            price = 100 + (chance.randint(-3, 1) if side is Side.BUY else chance.randint(-1, 3))
            more: dict[str, Any] = {"time_in_force": word, "quantity": Decimal(chance.randint(1, 9))}
            if word is TimeInForce.GTD:
                more["expires_at"] = BEGIN + chance.randint(1, 5) * MINUTE
            if chance.random() < 0.2 and number:
                more["parent_ref"] = UUID(int=chance.randint(1, number))
            elif chance.random() < 0.2:
                more["oco_group"] = UUID(int=1_000 + chance.randint(1, 3))
            orders.append(order(number, side, price, **more))
            found.append(orders[-1])
        elif draw < 0.8:
            asked = chance.choice(orders)
            head: dict[str, Any] = {"account_id": asked.account_id, "user_id": ACCOUNTS[0], "command_sequence": 2}
            if chance.random() < 0.5:
                ref = asked.venue_order_ref
                found.append(venue.CancelVenueOrder(**head, symbol=SYMBOL, venue_order_ref=ref, send_by=None))
            else:
                refs = (asked.venue_order_ref,)
                found.append(venue.QueryVenueOrders(**head, symbol=SYMBOL, venue_order_refs=refs))
        elif draw < 0.97:
            found.append(chance.choice(["tick", "tick", "later", "later", "snapshot", "kill"]))
        else:
            found.append("mass cancel")
    return found


def told_of(steps: list[Any], engine: str, at_once: int) -> tuple[list[venue.AnyVenueReport], str, Any]:
    driven, now, day = Driven(engine, at_once), BEGIN, 1
    driven.learn(now, the_session(day, is_open=True, since=now - MINUTE))
    for step in steps:
        if step == "later":  # the bus lets time go on when all has ended that ends by then
            driven.tick(now)
            now += MINUTE
            day += 1
            is_open = day % 3 != 0
            driven.tick(now, most=1)
            driven.learn(now, the_session(day if is_open else day - 1, is_open=is_open, since=now))
        elif step == "tick":
            driven.tick(now, most=1)
        elif step == "snapshot":
            driven.begin_anew()
        elif step == "kill":
            driven.be_killed()
        elif step == "mass cancel":
            driven.learn(now, fact(MASS_CANCEL, MassCancel(None, str(ACCOUNTS[0]), "an operator", "a test")))
            driven.tick(now)
        else:
            driven.obey(now, step)
    driven.tick(now)
    book = driven.machine.venue.books[SYMBOL]
    return driven.reports(), book.exchange.state_hash(), driven.machine.venue.ended


@settings(max_examples=40)
@given(st.randoms(use_true_random=True), st.integers(20, 150), st.integers(1, 7))
def test_the_same_ends_in_the_same_order_however_many_at_a_time(chance: Random, count: int, at_once: int) -> None:
    steps = some_steps(chance, count)
    naive = told_of([step for step in steps if step not in ("snapshot", "kill")], "naive", 1_000_000)
    assert told_of(steps, "fast", at_once) == naive
