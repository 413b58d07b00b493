"""Whether nothing is on its way: each process tells its part, an observer reads all parts and the end offsets twice.

Two equal readings are rest, because what was under way in the first shows in the second (four-counter method:
F. Mattern, "Algorithms for distributed termination detection", Distributed Computing 2, 1987). Within a reading the
order matters: outboxes, then positions, then end offsets."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from fleet_chassis.database import Database
from fleet_contracts import TOPICS, Topic
from fleet_contracts.rest import RestPart
from fleet_contracts.topics import Reading as TopicReading

from .activity import Activity
from .kafka import AIOKafkaConsumer, TopicPartition, consumer, partitions_of
from .parking import parked_keys

_COUNTS = """
SELECT (SELECT count(*) FROM outbox) AS outbox,
       (SELECT count(*) FROM due WHERE NOT kind = ANY($3::text[])
        AND (clock = 'wall' AND due_at <= $1 OR clock = 'market' AND due_at <= $2::timestamptz)) AS due,
       EXISTS (SELECT FROM parked) AS has_parked
"""
# Sockets do not count, and the gateway causes nothing by what it reads.
_UNCOUNTED = "gateway"
_LIVE_WITH_EFFECTS = "strategy"


async def rest_part(
    database: Database,
    *,
    service: str,
    ordinal: int,
    started_at: datetime,
    activity: Activity,
    now: datetime,
    market_at: Callable[[], datetime | None],
    readings: Mapping[str, Mapping[TopicPartition, int]],
    uncounted_due: Sequence[str],
    topic_prefix: str = "",
) -> RestPart:
    """This process's part. What the database holds is read first, positions after it."""
    version = activity.version
    async with database.connection() as connection:
        counts = await connection.fetchrow(_COUNTS, now, market_at(), list(uncounted_due))
        assert counts is not None
        parked = await parked_keys(connection) if counts["has_parked"] else ()
    positions: dict[str, dict[str, dict[int, int]]] = {}
    for name, places in readings.items():
        of_subscription = positions.setdefault(name, {})
        for place, at in places.items():
            of_subscription.setdefault(place.topic.removeprefix(topic_prefix), {})[place.partition] = at
    return RestPart(
        service=service,
        ordinal=ordinal,
        started_at=started_at,
        outbox=counts["outbox"],
        positions=positions,
        due=counts["due"],
        busy=activity.busy,
        parked=parked,
        market_at=market_at(),
        version=version,
    )


@dataclass(frozen=True, slots=True)
class RestVerdict:
    """`waiting_for` says in words what is still on its way; `parked` names the keys that will not move by themselves."""

    at_rest: bool
    waiting_for: tuple[str, ...]
    parked: tuple[str, ...]


class Asked(Protocol):
    """One process that tells its part."""

    @property
    def name(self) -> str: ...
    @property
    def ordinal(self) -> int: ...


Ask = Callable[[Asked, int, int], Awaitable[RestPart]]
"""(process, wait_ms, version) → its part; raises OSError or TimeoutError where it is down."""

Ends = Mapping[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One reading of everything."""

    parts: tuple[RestPart, ...]
    silent: tuple[str, ...]
    ends: Ends

    def judge(self, topics: Sequence[Topic]) -> RestVerdict:
        """What this single reading says."""
        waiting = [f"{name} does not answer" for name in self.silent]
        parked: list[str] = []
        positions: dict[tuple[str, str, int], list[int]] = {}
        for part in self.parts:
            who = f"{part.service}-{part.ordinal}"
            if part.outbox:
                waiting.append(f"{who} has {part.outbox} outbox rows to send")
            if part.due:
                waiting.append(f"{who} has {part.due} due rows")
            if part.busy:
                waiting.append(f"{who} is handling something")
            for key in part.parked:
                text = f"{key.subscription} {key.topic} {key.key}: {key.reason}"
                (waiting if key.is_not_yet else parked).append(f"parked: {text}")
            for of_subscription in part.positions.values():
                for topic, places in of_subscription.items():
                    for partition, at in places.items():
                        positions.setdefault((part.service, topic, partition), []).append(at)
        waiting.extend(self._behind(topics, positions))
        return RestVerdict(not waiting and not parked, tuple(waiting), tuple(dict.fromkeys(parked)))

    def _behind(self, topics: Sequence[Topic], positions: Mapping[tuple[str, str, int], list[int]]) -> list[str]:
        behind: list[str] = []
        for topic in topics:
            for reader in counted_readers(topic):
                for partition in range(topic.partitions):
                    end = self.ends[(topic.name, partition)]
                    read = positions.get((reader, topic.name, partition), [])
                    if not read:
                        behind.append(f"{reader} does not read {topic.name}[{partition}] yet")
                    elif min(read) < end:
                        behind.append(f"{reader} is {end - min(read)} records behind in {topic.name}[{partition}]")
        return behind

    def is_same_as(self, other: "Snapshot") -> bool:
        """Whether nothing moved between the two."""
        return self.ends == other.ends and [(p.service, p.ordinal, p.started_at, p.positions) for p in self.parts] == [
            (p.service, p.ordinal, p.started_at, p.positions) for p in other.parts
        ]


def counted_readers(topic: Topic) -> list[str]:
    """The services whose place in the topic counts: work, tables, and live subscriptions with effects."""
    return [
        reader.service
        for reader in topic.readers
        if reader.service != _UNCOUNTED
        and (reader.reading is not TopicReading.LIVE or reader.service == _LIVE_WITH_EFFECTS)
    ]


class Observer:
    """Looks at the whole fleet. `processes` answers who there is now; `ask` asks one of them."""

    def __init__(
        self,
        client: AIOKafkaConsumer,
        ask: Ask,
        processes: Callable[[], Sequence[Asked]],
        *,
        topics: Sequence[Topic] = TOPICS,
        topic_prefix: str = "",
    ) -> None:
        self._client = client
        self._ask = ask
        self._processes = processes
        self._topics = [topic for topic in topics if counted_readers(topic)]
        self._prefix = topic_prefix
        self._places = partitions_of(self._topics, topic_prefix)

    async def look(self) -> RestVerdict:
        """Two readings, one verdict."""
        first = await self._read()
        verdict = first.judge(self._topics)
        if not verdict.at_rest:
            return verdict
        second = await self._read()
        again = second.judge(self._topics)
        if again.at_rest and not second.is_same_as(first):
            return RestVerdict(False, ("something moved between two readings",), ())
        return again

    async def wait_at_rest(self, timeout_s: float) -> RestVerdict:
        """Looks until the fleet is at rest, a key is parked for good, or the time is over."""
        deadline = time.monotonic() + timeout_s
        while True:
            verdict = await self._look_or_say_why()
            left_s = deadline - time.monotonic()
            if verdict.at_rest or verdict.parked or left_s <= 0:
                return verdict
            await asyncio.sleep(min(0.005, left_s))

    async def _look_or_say_why(self) -> RestVerdict:
        try:
            return await self.look()
        except (OSError, TimeoutError) as error:
            return RestVerdict(False, (f"Kafka does not answer: {error!r}",), ())

    async def _read(self) -> Snapshot:
        asked = [process for process in self._processes() if process.name != _UNCOUNTED]
        answers = await asyncio.gather(*(self._ask(process, 0, -1) for process in asked), return_exceptions=True)
        parts: list[RestPart] = []
        silent: list[str] = []
        for process, answer in zip(asked, answers, strict=True):
            if isinstance(answer, RestPart):
                parts.append(answer)
            elif isinstance(answer, Exception):
                silent.append(f"{process.name}-{process.ordinal}")
            else:
                raise answer
        async with asyncio.timeout(5):
            ends = await self._client.end_offsets(self._places)
        return Snapshot(
            tuple(parts),
            tuple(silent),
            {(place.topic.removeprefix(self._prefix), place.partition): at for place, at in ends.items()},
        )


@contextlib.asynccontextmanager
async def observing(
    kafka_url: str,
    client_id: str,
    ask: Ask,
    processes: Callable[[], Sequence[Asked]],
    *,
    topics: Sequence[Topic] = TOPICS,
    topic_prefix: str = "",
) -> AsyncIterator[Observer]:
    """An observer with a Kafka client of its own."""
    client = consumer(kafka_url, client_id)
    await client.start()
    try:
        yield Observer(client, ask, processes, topics=topics, topic_prefix=topic_prefix)
    finally:
        await client.stop()
