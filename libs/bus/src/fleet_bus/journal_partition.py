"""One partition of a journal in memory: a machine, its place in the log, and the numbers of what it has said. Pure.

Everything follows from the records and facts, in their order: whoever applies them says the same, under the same ids and
numbers and with the same times."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol
from uuid import UUID, uuid5

import msgspec
from fleet_chassis.logging import get_logger
from fleet_contracts import Message, Topic, encode_cut
from fleet_contracts.partitioning import partition

from .journal_store import Fact, Place, StoredFact
from .received import Received, Record, UnreadableRecord, decode
from .transaction import MOST_BYTES

log = get_logger("fleet_bus.journal")

_IDS = UUID("6f1d5f0e-2f0a-5c39-9a55-0a3f5d8b6c11")
"""Namespace of the ids of what a journal says."""
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

CLOCK = "clock"
"""The kind of the fact that time has come to what `Machine.due_at` said."""


# A journal says the same few keys over and over.
_partition = lru_cache(maxsize=100_000)(partition)


@dataclass(frozen=True, slots=True)
class Said:
    """A message that the machine has caused."""

    topic: Topic
    key: str
    message: Message
    market_at: datetime | None = None


class Machine(Protocol):
    """What a partition's records drive. It must be a pure function of them, of the facts, and of their times."""

    def obey(self, received: Received[Message], at: datetime) -> Iterable[Said]:
        """A record of the log. `at` is its time, or that of an earlier one if that was later: it never goes back."""

    def learn(self, fact: Fact, at: datetime) -> Iterable[Said]:
        """A fact, CLOCK among them."""

    def due_at(self) -> datetime | None:
        """When it wants to be told the time."""

    def ends_at(self) -> datetime | None:
        """What is of then or later comes after the time has been told, as often as it takes, until this is later. So a
        machine may end much in slices, and nothing meets what has ended. None, or not before `due_at()`."""

    def snapshot(self) -> bytes: ...

    def restore(self, content: bytes) -> None: ...


class _Snapshot(msgspec.Struct, array_like=True):
    offset: int
    number: int
    at: datetime
    said: dict[str, int]
    heard: dict[str, tuple[int, int]]
    machine: bytes


class JournalPartition:
    """Applies records and facts in order; what that says comes back as records with ids and numbers."""

    def __init__(self, topic: Topic, number: int, writer: str, epoch: int, machine: Machine) -> None:
        self.machine = machine
        self.place = Place(0, 0)
        self.at = _BEGINNING
        self.is_whole = True
        """False while a record or fact is applied, and for good once one has failed half way."""
        self._log = (topic.name, number)
        self._writer = writer
        self._epoch = epoch
        self._said: dict[str, int] = {}
        self._heard: dict[str, tuple[int, int]] = {}

    def obey(self, record: Record) -> list[Record]:
        """The record at the place where the journal stands. A repetition, by its writer's number, says nothing."""
        offset = self.place.offset
        if record.offset != offset:
            raise ValueError(f"the journal stands at {offset}, was {record.offset}")
        self.is_whole = False
        said = self._obeyed(record)
        self.place, self.is_whole = Place(offset + 1, 0), True
        return said

    def skip(self) -> None:
        """What stands at this place is no record of ours."""
        self.place = Place(self.place.offset + 1, 0)

    def _obeyed(self, record: Record) -> list[Record]:
        place = f"{record.writer} {record.key}"
        known = self._heard.get(place)
        if record.payload is None or (known is not None and record.number <= known):
            return []
        if known is not None and record.epoch == known[0] and record.sequence > known[1] + 1:
            log.error("journal_has_a_gap", topic=record.topic, key=record.key, after=known[1], was=record.sequence)
        self._heard[place] = record.number
        try:
            received = decode(record)
        except UnreadableRecord as error:
            log.error("record_unreadable", topic=record.topic, key=record.key, error=str(error))
            return []
        self.at = max(self.at, record.occurred_at)
        said = self.machine.obey(received, self.at)
        return list(self._numbered(said, record.offset, 0, record.traceparent))

    def learn(self, fact: StoredFact) -> list[Record]:
        """A fact whose place follows the one where the journal stands."""
        if fact.place != (self.place.offset, self.place.number + 1):
            raise ValueError(f"the journal stands at {self.place}, was {fact.place}")
        self.is_whole = False
        self.at = max(self.at, fact.at)
        said = list(self._numbered(self.machine.learn(fact.fact, self.at), *fact.place, None))
        self.place, self.is_whole = fact.place, True
        return said

    def next_facts(self, facts: Iterable[Fact], at: datetime) -> list[StoredFact]:
        """The facts with the places they will have."""
        offset, number = self.place
        return [StoredFact(Place(offset, number + n), at, fact) for n, fact in enumerate(facts, start=1)]

    def snapshot(self) -> bytes:
        state = _Snapshot(*self.place, self.at, self._said, self._heard, self.machine.snapshot())
        return msgspec.msgpack.encode(state)

    def restore(self, content: bytes) -> None:
        state = msgspec.msgpack.decode(content, type=_Snapshot)
        self.place = Place(state.offset, state.number)
        self.at = state.at
        self._said, self._heard = state.said, state.heard
        self.machine.restore(state.machine)

    def _numbered(self, said: Iterable[Said], offset: int, number: int, traceparent: str | None) -> Iterator[Record]:
        n = 0
        for one in said:
            for payload in encode_cut(one.message, MOST_BYTES):
                place = f"{one.topic.name} {one.key}"
                sequence = self._said[place] = self._said.get(place, 0) + 1
                yield Record(
                    topic=one.topic.name,
                    partition=_partition(one.key, one.topic.partitions),
                    offset=-1,
                    key=one.key,
                    writer=self._writer,
                    type=one.message.type_name(),
                    event_id=uuid5(_IDS, f"{self._log[0]} {self._log[1]} {offset} {number} {n}"),
                    epoch=self._epoch,
                    sequence=sequence,
                    occurred_at=self.at,
                    market_at=one.market_at,
                    traceparent=traceparent,
                    payload=payload,
                )
                n += 1


def replayed(
    journal: JournalPartition, records: Iterable[Record], facts: Iterable[StoredFact], say: Callable[[Record], None]
) -> None:
    """All records and facts in their order, from where the journal stands."""
    waiting = [fact for fact in facts if fact.place > journal.place]
    for record in records:
        while waiting and waiting[0].place.offset <= record.offset:
            for said in journal.learn(waiting.pop(0)):
                say(said)
        for said in journal.obey(record):
            say(said)
    for fact in waiting:
        for said in journal.learn(fact):
            say(said)
