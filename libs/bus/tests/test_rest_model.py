"""The observer against every way in which a message may move while he looks: at rest is said only of a world that is."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from counting_service import NUMBERS
from fleet_bus.rest import Observer, counted_readers
from fleet_contracts import TOPICS
from fleet_contracts.rest import RestPart
from fleet_contracts.topics import Reader, Reading
from hypothesis import given, settings
from hypothesis import strategies as st

SHOWN_ONLY = Reader("gateway", Reading.LIVE)
A = replace(NUMBERS, name="a", owner="trading", partitions=1, readers=(Reader("execution", Reading.WORK), SHOWN_ONLY))
B = replace(A, name="b", owner="execution", readers=(Reader("strategy", Reading.LIVE), SHOWN_ONLY))
C = replace(A, name="c", owner="strategy", readers=(Reader("data", Reading.TABLE), SHOWN_ONLY), compacted=True)
CHAIN = (A, B, C)
SERVICES = ("trading", "execution", "strategy", "data")
STARTED = datetime(2026, 1, 2, tzinfo=UTC)


@dataclass(frozen=True)
class State:
    """Where the one message is, as the counters tell it."""

    outbox: frozenset[str] = frozenset()
    busy: frozenset[str] = frozenset()
    sent: frozenset[str] = frozenset()
    read: frozenset[str] = frozenset()


def life() -> list[State]:
    """trading -> a -> execution (work) -> b -> strategy (live) -> c -> data (table), a state for each step of its way."""
    states = [State(outbox=frozenset({"trading"}))]

    def becomes(**changed: set[str]) -> None:
        states.append(replace(states[-1], **{name: frozenset(value) for name, value in changed.items()}))

    for topic in CHAIN:
        (reader,) = counted_readers(topic)
        becomes(sent={*states[-1].sent, topic.name})
        becomes(outbox=set())
        if topic is C:
            becomes(read={*states[-1].read, topic.name})
        else:
            becomes(busy={reader})
            becomes(outbox={reader})
            becomes(busy=set(), read={*states[-1].read, topic.name})
    return states


LIFE = life()


@dataclass(frozen=True)
class Process:
    name: str
    ordinal: int = 0


@dataclass
class World:
    """Goes on to the next state after as many looks at it as `stays` says, one number a state."""

    stays: list[int]
    at: int = 0
    looks: int = field(default=0)

    def look(self) -> State:
        while self.at < len(self.stays) and self.looks >= self.stays[self.at]:
            self.at, self.looks = self.at + 1, 0
        self.looks += 1
        return LIFE[self.at]

    async def ask(self, process: Any, wait_ms: int, version: int) -> RestPart:
        outbox = process.name in self.look().outbox
        later = self.look()
        places = {t.name: {0: int(t.name in later.read)} for t in CHAIN if process.name in counted_readers(t)}
        return RestPart(
            service=process.name,
            ordinal=0,
            started_at=STARTED,
            outbox=int(outbox),
            positions={f"{process.name}.all": places},
            due=0,
            busy=int(process.name in later.busy),
            parked=(),
            market_at=None,
            version=1,
        )

    async def end_offsets(self, places: Sequence[Any]) -> dict[Any, int]:
        sent = self.look().sent
        return {place: int(place.topic in sent) for place in places}

    def observer(self, topics: Any = CHAIN) -> Observer:
        client: Any = self  # of Kafka's client, the observer uses this one question
        return Observer(client, self.ask, lambda: [Process(name) for name in SERVICES], topics=topics)


# As long as a look at everything takes, and a little longer.
schedules = st.lists(st.integers(0, 24), min_size=len(LIFE) - 1, max_size=len(LIFE) - 1)


@settings(max_examples=500)
@given(schedules)
def test_two_readings_never_take_a_message_on_its_way_for_rest(stays: list[int]) -> None:
    async def run() -> None:
        world = World(stays)
        observer = world.observer()
        while not (await observer.look()).at_rest:
            pass
        assert LIFE[world.at] == LIFE[-1]

    asyncio.run(run())


@settings(max_examples=500)
@given(schedules, st.sampled_from([None, "trading"]))
def test_who_follows_a_message_says_rest_only_when_it_has_arrived(stays: list[int], moved: str | None) -> None:
    async def run() -> None:
        world = World(stays)
        verdict = await world.observer().wait_at_rest(60, moved=moved)
        assert verdict.at_rest
        assert LIFE[world.at] == LIFE[-1]

    asyncio.run(run())


async def test_wherever_it_stays_there_is_no_rest() -> None:
    """Each state, held for as long as the observer looks."""
    for at, state in enumerate(LIFE):
        verdict = await World([0] * at + [1_000]).observer().look()
        assert verdict.at_rest == (state == LIFE[-1]), (at, verdict)


def test_tables_and_live_readers_with_effects_count_and_sockets_do_not() -> None:
    assert [counted_readers(topic) for topic in CHAIN] == [["execution"], ["strategy"], ["data"]]
    of_ours = {reader for topic in TOPICS for reader in counted_readers(topic)}
    assert {"strategy", "data", "core-engine"} <= of_ours
    assert "gateway" not in of_ours
