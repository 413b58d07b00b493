"""What time does to the books: they are shown whole, and orders come to their end, many of them in slices."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from fleet_bus import CLOCK, Fact
from fleet_bus.journal_partition import JournalPartition
from fleet_bus.received import Record
from fleet_contracts import encode, venue
from fleet_contracts.matching_engine import BookDelta, BookSnapshot
from fleet_contracts.topics import VENUE_INTERNAL_COMMANDS
from fleet_contracts.vocabulary import OrderType, Side, TimeInForce
from fleet_matching_engine.app import engine_of
from fleet_matching_engine.domain.rules import INSTRUMENT, RULES, Rules, Terms
from fleet_matching_engine.service import VenueMachine, fact

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

    def __init__(self, engine: str = "naive") -> None:
        self.engine = engine
        self.journal = self._made()
        self.said: list[Record] = []
        self.learn(BEGIN, *KNOWN)

    def _made(self) -> JournalPartition:
        return JournalPartition(
            VENUE_INTERNAL_COMMANDS, 0, "matching-engine", 1, VenueMachine(engine_of(self.engine), 0)
        )

    @property
    def machine(self) -> VenueMachine:
        assert isinstance(self.journal.machine, VenueMachine)
        return self.journal.machine

    def learn(self, at: datetime, *facts: Fact) -> None:
        for one in self.journal.next_facts(facts, at):
            self.said += self.journal.learn(one)

    def obey(self, at: datetime, *messages: Any) -> None:
        for message in messages:
            offset = self.journal.place.offset
            self.said += self.journal.obey(
                Record(
                    topic=VENUE_INTERNAL_COMMANDS.name,
                    partition=0,
                    offset=offset,
                    key=SYMBOL,
                    writer="execution",
                    type=message.type_name(),
                    event_id=UUID(int=offset),
                    epoch=1,
                    sequence=offset + 1,
                    occurred_at=at,
                    market_at=at,
                    traceparent=None,
                    payload=encode(message),
                )
            )

    def tick(self, at: datetime) -> None:
        """As the bus does: only if it is due."""
        due_at = self.machine.due_at()
        if due_at is not None and due_at <= at:
            self.learn(at, Fact(CLOCK, b""))

    def begin_anew(self) -> None:
        """At a snapshot."""
        content, self.journal = self.journal.snapshot(), self._made()
        self.journal.restore(content)

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
