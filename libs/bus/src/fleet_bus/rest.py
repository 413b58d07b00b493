"""Whether nothing is on its way: each process tells its part, an observer reads all parts and the end offsets twice.

Two equal readings are rest, because what was under way in the first shows in the second (four-counter method:
F. Mattern, "Algorithms for distributed termination detection", Distributed Computing 2, 1987). Within a reading the
order matters: outboxes, then positions, then end offsets."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from aiokafka.errors import KafkaError
from fleet_chassis.calls import CallFailed, ServiceClient
from fleet_chassis.database import Database
from fleet_contracts import TOPICS, Topic
from fleet_contracts.rest import Behind, RestPart
from fleet_contracts.topics import Reading as TopicReading

from .activity import Activity
from .kafka import AIOKafkaConsumer, TopicPartition, consumer, partitions_of, started
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
_SETTLE_MS = 50
"""How long a process that has something to do may hold its answer; shorter than anybody would notice."""
_PAUSE_S = 0.02
_COUNTED_PARKED = 100
"""Of a parked key so many messages are counted: rest is asked all the time, and how long the queue is does not matter."""
_KAFKA_TIMEOUT_S = 5.0
_ANSWER_TIMEOUT_S = 2.0


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
    behind: Mapping[str, Behind | None],
    waiting_facts: int = 0,
    topic_prefix: str = "",
) -> RestPart:
    """This process's part. What the database holds is read first, positions after it."""
    version = activity.version
    async with database.connection() as connection:
        counts = await connection.fetchrow(_COUNTS, now, market_at(), list(uncounted_due))
        assert counts is not None
        parked = await parked_keys(connection, counted_to=_COUNTED_PARKED) if counts["has_parked"] else ()
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
        due=counts["due"] + waiting_facts,
        busy=activity.busy,
        parked=parked,
        market_at=market_at(),
        version=version,
        behind=dict(behind),
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


def asking(client: ServiceClient) -> Ask:
    """Asks each process by an internal call; one that answers with an error counts as down."""

    async def ask(process: Asked, wait_ms: int, version: int) -> RestPart:
        path = f"/internal/rest?wait_ms={wait_ms}&version={version}"
        timeout_s = _ANSWER_TIMEOUT_S + wait_ms / 1000
        answer = await client.request(process.name, process.ordinal, "GET", path, timeout_s=timeout_s)
        if not answer.is_success:
            raise CallFailed(f"{process.name}-{process.ordinal} answered {answer.status}")
        return answer.decode(RestPart)

    return ask


Who = tuple[str, int]
Ends = dict[tuple[str, int], int]


@dataclass(frozen=True, slots=True)
class _Move:
    """Something on its way, and the service that has it or lacks it."""

    service: str
    text: str


def _moves(parts: Mapping[Who, RestPart | None], ends: Ends, topics: Sequence[Topic]) -> tuple[list[_Move], list[str]]:
    """What is on its way by these parts and ends, and the keys parked for good."""
    moves: list[_Move] = []
    parked: list[str] = []
    for (service, ordinal), part in parts.items():
        if part is None:
            moves.append(_Move(service, f"{service}-{ordinal} does not answer"))
            continue
        moves.extend(_inside(part))
        for key in part.parked:
            text = f"parked: {key.subscription} {key.topic} {key.key}: {key.reason}"
            if key.is_not_yet:
                moves.append(_Move(service, text))
            else:
                parked.append(text)
    moves.extend(_behind(_positions(parts), ends, topics))
    return moves, list(dict.fromkeys(parked))


def _inside(part: RestPart) -> Iterator[_Move]:
    """What one process has still to do."""
    who = f"{part.service}-{part.ordinal}"
    if part.outbox:
        yield _Move(part.service, f"{who} has {part.outbox} outbox rows to send")
    if part.due:
        yield _Move(part.service, f"{who} has {part.due} due rows")
    if part.busy:
        yield _Move(part.service, f"{who} is handling something")


def _positions(parts: Mapping[Who, RestPart | None]) -> dict[tuple[str, str, int], int]:
    """Where each service stands in each partition: where its slowest reader of it stands."""
    positions: dict[tuple[str, str, int], int] = {}
    for (service, _), part in parts.items():
        for of_subscription in part.positions.values() if part else ():
            for topic, places in of_subscription.items():
                for partition, at in places.items():
                    place = (service, topic, partition)
                    positions[place] = min(at, positions.get(place, at))
    return positions


def _behind(positions: Mapping[tuple[str, str, int], int], ends: Ends, topics: Sequence[Topic]) -> Iterator[_Move]:
    """Who has not read to the end."""
    for topic in topics:
        for reader in counted_readers(topic):
            for partition in range(topic.partitions):
                end, read = ends[(topic.name, partition)], positions.get((reader, topic.name, partition))
                if read is None:
                    yield _Move(reader, f"{reader} does not read {topic.name}[{partition}] yet")
                elif read < end:
                    yield _Move(reader, f"{reader} is {end - read} records behind in {topic.name}[{partition}]")


def counted_readers(topic: Topic) -> list[str]:
    """The services whose place in the topic counts: work, tables, and live subscriptions with effects."""
    return [
        reader.service
        for reader in topic.readers
        if reader.service != _UNCOUNTED
        and (reader.reading is not TopicReading.LIVE or reader.service == _LIVE_WITH_EFFECTS)
    ]


class Observer:
    """Looks at the whole fleet. `processes` answers who there is now; `ask` asks one of them.

    The first reading may be as old as it likes: what it says of each process and topic is compared with a second that
    begins after all of it was read, and a counter that is the same then has stood still in between. So while something
    is on its way only those are asked who have it, and one look at everybody confirms the rest."""

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
        self._parts: dict[Who, RestPart | None] = {}
        self._ends: Ends = {}

    async def look(self) -> RestVerdict:
        """Two readings of everything, one verdict."""
        await self._read_all()
        return await self._confirm()

    async def wait_at_rest(self, timeout_s: float, *, moved: str | None = None) -> RestVerdict:
        """Looks until the fleet is at rest, a key is parked for good, or the time is over.

        `moved` names the service that has just set something going, where the caller knows it."""
        deadline = time.monotonic() + timeout_s
        services = {moved} if moved else set()
        while True:
            try:
                verdict = await self._follow(deadline, services)
                services = {move.service for move in _moves(self._parts, self._ends, self._topics)[0]}
            except (OSError, TimeoutError, KafkaError) as error:
                verdict = RestVerdict(False, (f"Kafka does not answer: {error!r}",), ())
                await asyncio.sleep(_PAUSE_S)
            if verdict.at_rest or verdict.parked or time.monotonic() >= deadline:
                return verdict

    async def _follow(self, deadline: float, services: set[str]) -> RestVerdict:
        """Asks who has something to do until nobody has by what is known, then confirms it with a look at everybody."""
        if not self._parts:
            await self._read_all()
        while services:
            await self._ask_those(services)
            await self._read_ends([topic for topic in self._topics if topic.owner in services])
            moves, parked = _moves(self._parts, self._ends, self._topics)
            services = {move.service for move in moves}
            if parked or time.monotonic() >= deadline:
                return RestVerdict(False, tuple(move.text for move in moves), tuple(parked))
        return await self._confirm()

    async def _confirm(self) -> RestVerdict:
        """A look at everybody, compared with what was known before."""
        parts, ends = dict(self._parts), dict(self._ends)
        await self._read_all()
        moves, parked = _moves(self._parts, self._ends, self._topics)
        if not moves and not parked and (ends != self._ends or _standing(parts) != _standing(self._parts)):
            return RestVerdict(False, ("something moved between two readings",), ())
        return RestVerdict(not moves and not parked, tuple(move.text for move in moves), tuple(parked))

    async def _read_all(self) -> None:
        there = [process for process in self._processes() if process.name != _UNCOUNTED]
        answers = await asyncio.gather(*(self._part(process, wait_ms=0) for process in there))
        self._parts = {(process.name, process.ordinal): part for process, part in zip(there, answers, strict=True)}
        await self._read_ends(self._topics)

    async def _ask_those(self, services: set[str]) -> None:
        """Asks these, each answering when it has settled."""
        there = [process for process in self._processes() if process.name in services]
        if not there:
            await asyncio.sleep(_PAUSE_S)
        answers = await asyncio.gather(*(self._part(process, wait_ms=_SETTLE_MS) for process in there))
        self._parts.update(
            ((process.name, process.ordinal), part) for process, part in zip(there, answers, strict=True)
        )
        if any(part is None for part in answers):
            await asyncio.sleep(_PAUSE_S)

    async def _part(self, process: Asked, *, wait_ms: int) -> RestPart | None:
        known = self._parts.get((process.name, process.ordinal))
        try:
            return await self._ask(process, wait_ms, known.version if known else -1)
        except (OSError, TimeoutError):
            return None

    async def _read_ends(self, topics: Sequence[Topic]) -> None:
        if not topics:
            return
        async with asyncio.timeout(_KAFKA_TIMEOUT_S):
            ends = await self._client.end_offsets(partitions_of(topics, self._prefix))
        self._ends.update(((place.topic.removeprefix(self._prefix), place.partition), at) for place, at in ends.items())


def _standing(parts: Mapping[Who, RestPart | None]) -> object:
    """Where everybody stands: what must be equal in two readings."""
    return {who: part and (part.started_at, part.positions) for who, part in parts.items()}


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
    async with started(consumer(kafka_url, client_id)) as client:
        yield Observer(client, ask, processes, topics=topics, topic_prefix=topic_prefix)
