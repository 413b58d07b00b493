"""The bus of one process: what it reads, what it sends, what time causes, and whether any of it is on its way."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any, Protocol, TypeVar

from fleet_chassis.clock import Clock, SystemClock
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_chassis.internal import NothingParked
from fleet_chassis.logging import get_logger
from fleet_contracts import Message, Topic
from fleet_contracts.exchange_connector import MarketStepEnded
from fleet_contracts.rest import ParkedKey, RestPart

from .activity import Activity
from .applying import Applier
from .commit import GroupCommitter
from .direct import DirectProducer, open_direct
from .due import DueRunner
from .failures import Streak, is_down
from .journal import JournalReading
from .journaled import Journaled
from .outbox import Relay
from .parking import Parking, parked_keys
from .reading import Reading
from .received import Received
from .rest import rest_part
from .settings import BusSettings
from .subscription import DueKind, Live, UnitOfWork, Watch, Work
from .table import TableReading, TableView
from .transaction import Transaction, Woken, open_transaction
from .watch import Watching

M = TypeVar("M", bound=Message)
C = TypeVar("C")
R = TypeVar("R")

log = get_logger("fleet_bus")

# Of stopping: the last groups and the last rows get so long each; what is left is in the database, and goes on next time.
_DRAIN_S = 2.0
_SNAPSHOT_S = 8.0
_OLDEST = "SELECT min(occurred_at) FROM outbox WHERE topic = $1"


class ProcessSettings(Protocol):
    """What the bus needs of a service's settings."""

    @property
    def service(self) -> str: ...
    @property
    def ordinal(self) -> int: ...
    @property
    def kafka_url(self) -> str: ...
    @property
    def feed(self) -> str: ...
    @property
    def topic_prefix(self) -> str: ...


class Bus:
    """Made in `app.py`: add the subscriptions, then `async with bus.running(): …`. `database` is None for a gateway."""

    def __init__(self, settings: ProcessSettings, database: Database | None, *, clock: Clock | None = None) -> None:
        self.settings = BusSettings(
            settings.service, settings.ordinal, settings.kafka_url, settings.feed, settings.topic_prefix
        )
        self.clock: Clock = clock or SystemClock()
        self.activity = Activity()
        self.market_at: datetime | None = None
        self._database = database
        self._started_at = self.clock.now()
        self._relay = Relay(self.settings, database, self.clock, self.activity) if database else None
        self._tables = TableReading(self.settings, self.activity)
        self._readings: list[Reading] = []
        self._parkings: dict[str, Parking] = {}
        self._due: dict[str, DueRunner] = {}
        self._watches: list[Watching] = []
        self._committers: list[GroupCommitter[Any, Any]] = []
        self._journals: list[JournalReading] = []

    def add(self, part: Work | Live | Watch | DueKind) -> None:
        """Adds a subscription or a kind of due rows; before `running()`."""
        match part:
            case DueKind():
                self._due[part.kind] = DueRunner(
                    self.settings,
                    part,
                    activity=self.activity,
                    open_transaction=self._open,
                    clock=self.clock,
                    market_at=lambda: self.market_at,
                )
            case Watch():
                self._watches.append(Watching(self.settings, part))
            case Work() | Live():
                applier = Applier(self.settings, part, self._open, self._observe)
                in_group = isinstance(part, Work)
                self._readings.append(Reading(self.settings, applier, self.activity, self._open, in_group=in_group))
                if in_group:
                    self._parkings[applier.name] = Parking(self.settings, applier, self._open, self.clock, self._hears)

    def journal(self, journaled: Journaled) -> JournalReading:
        """A topic that is the journal of a machine; before `running()`."""
        if self._database is None:
            raise TypeError("a journal needs a database")
        reading = JournalReading(self.settings, journaled, self._database, self.clock, self.activity)
        self._journals.append(reading)
        return reading

    def table(self, topic: Topic, message: type[M]) -> TableView[M]:
        """A view of a compacted topic; one per topic and process."""
        if not topic.compacted:
            raise TypeError(f"{topic.name} is not compacted")
        if message not in topic.messages:
            raise TypeError(f"{topic.name} does not carry {message.type_name()}")
        return self._tables.views.setdefault(topic.name, TableView(topic))  # type: ignore[return-value]

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """For `api.py`: one transaction per request, committed when the block ends, before anything is answered."""
        with self.activity.handling():
            async with self._open() as tx:
                yield tx

    def group_committer(
        self,
        *,
        unit_of_work: Callable[[Transaction], UnitOfWork],
        touches: Callable[[C], Iterable[str]],
        decide: Callable[[Any, Sequence[C]], Awaitable[Iterable[R]]],
        most_waiting: int = 10_000,
    ) -> GroupCommitter[C, R]:
        """Natural batching over this bus's transactions."""
        committer = GroupCommitter(
            self._open,
            self.activity,
            unit_of_work=unit_of_work,
            touches=touches,
            decide=decide,
            most_waiting=most_waiting,
        )
        self._committers.append(committer)
        return committer

    def direct(self, topic: Topic, epoch: int) -> AbstractAsyncContextManager[DirectProducer]:
        """For the process that holds a feed's lock: a producer of market data under the epoch it took with the lock."""
        return open_direct(self.settings, self.clock, topic, epoch)

    @contextlib.asynccontextmanager
    async def running(self, health: Health) -> AsyncIterator[None]:
        """Starts everything; on the way out stops reading, then empties the outbox, then stops sending.

        Readiness and the death of a background task are told to `health`."""
        relay = [asyncio.create_task(unending(self._relay.run()), name="relay")] if self._relay else []
        readers = [
            asyncio.create_task(unending(self._tables.run()), name="tables"),
            *(asyncio.create_task(unending(watch.run()), name=watch.name) for watch in self._watches),
        ]
        # A use case may look into a table, so nothing is handled before the tables are whole.
        workers = asyncio.create_task(self._run_workers(), name="workers")
        health.check("bus", self.ready)
        for task in (*relay, *readers, workers):
            health.watch(task.get_name(), task)
        try:
            yield
        finally:
            await _cancel([workers, *readers])
            for committer in self._committers:
                await committer.drain(_DRAIN_S)
            for journal in self._journals:
                await journal.drain(_SNAPSHOT_S)
            if self._relay:
                await self._relay.drain(_DRAIN_S)
            await _cancel(relay)

    async def _run_workers(self) -> None:
        await self._load_market_at()
        await self._tables.wait_whole()
        if not (self._readings or self._due or self._journals):
            await asyncio.Event().wait()
        async with asyncio.TaskGroup() as group:
            for reading in self._readings:
                group.create_task(unending(reading.run()), name=reading.name)
            for journal in self._journals:
                group.create_task(unending(journal.run()), name=journal.name)
            for parking in self._parkings.values():
                group.create_task(unending(parking.run()))
            for due in self._due.values():
                group.create_task(unending(due.run()), name=due.kind.kind)

    def ready(self) -> str | None:
        """For readiness: None, or what is not there yet, or not any more."""
        if (why := self._tables.ready()) is not None:
            return why
        reasons = [reading.ready() for reading in self._readings]
        reasons += [journal.ready() for journal in self._journals] + [watch.ready() for watch in self._watches]
        if self._relay:
            reasons.append(self._relay.ready())
        return "; ".join(reason for reason in reasons if reason is not None) or None

    def _hears(self) -> bool:
        """Whether all that is read here comes in: so does what a parked key may wait for."""
        return self._tables.ready() is None and all(reading.ready() is None for reading in self._readings)

    async def rest(self, wait_ms: int = 0, version: int = -1) -> RestPart:
        """This process's part of whether the fleet is at rest; waits up to `wait_ms` while `version` is the latest."""
        if wait_ms:
            await self.activity.wait_change(version, wait_ms)
        if self._database is None:
            raise TypeError("a process without a database has no part in rest")
        return await rest_part(
            self._database,
            service=self.settings.service,
            ordinal=self.settings.ordinal,
            started_at=self._started_at,
            activity=self.activity,
            now=self.clock.now(),
            market_at=lambda: self.market_at,
            readings={self._tables.name: self._tables.places}
            | {reading.name: reading.places for reading in self._readings}
            | {journal.name: journal.places for journal in self._journals},
            waiting_facts=sum(journal.due(self.clock.now()) for journal in self._journals),
            topic_prefix=self.settings.topic_prefix,
            behind={reading.name: reading.behind() for reading in self._readings}
            | {journal.name: journal.behind() for journal in self._journals},
            uncounted_due=[kind for kind, runner in self._due.items() if not runner.kind.counts_at_rest],
        )

    async def oldest_unsent_age_s(self, topic: Topic) -> float:
        """Seconds since the oldest record of this topic was written that Kafka has not acknowledged yet; 0 if none."""
        if self._database is None:
            return 0.0
        async with self._database.connection() as connection:
            oldest = await connection.fetchval(_OLDEST, topic.name)
        return 0.0 if oldest is None else (self.clock.now() - oldest).total_seconds()

    async def parked(self) -> tuple[ParkedKey, ...]:
        if self._database is None:
            return ()
        async with self._database.connection() as connection:
            return await parked_keys(connection)

    async def parked_replay(self, subscription: str, topic: str, key: str, *, by: str) -> bool:
        """Hands a parked key to its handlers again, over the gap it may have waited at; True when nothing of it is left.

        `by` is kept in the audit log. Raises NothingParked."""
        parking, place = await self._find_parked(subscription, topic, key)
        with self.activity.handling():
            return await parking.replay(place, by=by)

    async def parked_skip(self, subscription: str, topic: str, key: str, *, by: str, reason: str) -> bool:
        """Drops a parked key's first record and releases the rest; `by` and `reason` are kept in the audit log.

        Raises NothingParked."""
        parking, place = await self._find_parked(subscription, topic, key)
        with self.activity.handling():
            return await parking.skip(place, by=by, reason=reason)

    async def _find_parked(self, subscription: str, topic: str, key: str) -> tuple[Parking, tuple[str, str, str]]:
        parking = self._parkings.get(subscription)
        if parking is None or self._database is None:
            raise NothingParked
        async with self._database.connection() as connection:
            writer = await connection.fetchval(
                "SELECT writer FROM parked WHERE subscription = $1 AND topic = $2 AND key = $3 ORDER BY id LIMIT 1",
                subscription,
                topic,
                key,
            )
        if writer is None:
            raise NothingParked
        return parking, (writer, topic, key)

    def _open(self) -> AbstractAsyncContextManager[Transaction]:
        if self._database is None:
            raise TypeError("this process has no database")
        return open_transaction(self._database, self.clock.now(), self._woken)

    def _woken(self, left: Woken) -> None:
        if left.outbox and self._relay:
            self._relay.wake()
        for kind, due_at in left.due.items():
            if kind in self._due:
                self._due[kind].scheduled(due_at)
        self.activity.touch()

    async def _load_market_at(self) -> None:
        if self._database is None or not self.settings.is_replay:
            return
        down = Streak(first_s=self.settings.backoff_first_s, most_s=1.0)
        while True:
            try:
                async with self._database.connection() as connection:
                    self.market_at = await connection.fetchval("SELECT market_at FROM bus_writer")
                return
            except Exception as error:
                if not is_down(error):
                    raise
                pause_s, is_told = down.failed()
                if is_told:
                    log.warning("bus_waits_for_its_database", error=repr(error))
                await asyncio.sleep(pause_s)

    def _observe(self, tx: Transaction, fresh: Sequence[Received[Message]]) -> None:
        """Moves the market clock: on a replay by MarketStepEnded only, kept so that a restart forgets nothing due."""
        if self.settings.is_replay:
            times = [r.message.market_at for r in fresh if isinstance(r.message, MarketStepEnded)]
        else:
            times = [r.market_at for r in fresh if r.market_at is not None]
        if not times:
            return
        seen = max(times)
        if self.settings.is_replay:

            async def keep() -> None:
                await tx.connection.execute(
                    "UPDATE bus_writer SET market_at = $1 WHERE market_at IS NULL OR market_at < $1", seen
                )

            tx.before_commit(keep)
        tx.after_commit(lambda: self._move_market(seen))

    def _move_market(self, seen: datetime) -> None:
        if self.market_at is None or seen > self.market_at:
            self.market_at = seen
            for runner in self._due.values():
                if runner.kind.clock == "market":
                    runner.time_moved(seen)


async def unending(running: Awaitable[object]) -> None:
    """A task that ends when it is cancelled by us. A cancellation that a client lets out of its own tasks would end it
    without a word, and a group of tasks goes on without it: that is a fault, by which the process ends and is begun anew."""
    try:
        await running
    except asyncio.CancelledError:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        raise RuntimeError("a background task was ended by a cancellation of nobody's") from None


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
