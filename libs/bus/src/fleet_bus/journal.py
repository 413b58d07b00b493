"""Reading a log that is a journal: each partition drives a machine, and what it said can be said again word for word.

Before anything is obeyed it is claimed, in one small transaction under the owner's epoch: the records of a polled batch
and the facts before them. What is then said is acknowledged by Kafka before the offset is committed. So a new owner
knows from the committed offset what has surely been said, replays up to the claimed offset, says again what lies
between, under the same ids and numbers, and goes on; a former owner that wakes can claim nothing any more."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from aiokafka import ConsumerRebalanceListener
from aiokafka.errors import IllegalStateError, KafkaError
from fleet_chassis.clock import Clock
from fleet_chassis.database import Database
from fleet_chassis.logging import get_logger
from fleet_contracts.partitioning import partition
from fleet_contracts.rest import Behind

from .activity import Activity
from .failures import Streak, is_down
from .hearing import Heard
from .journal_owned import JournalCut, Owned, ReplayStuck, until_there
from .journal_partition import CLOCK, JournalPartition, Machine
from .journal_store import Fact, JournalStore, writer_epoch
from .journaled import Journaled
from .kafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition, consumer, producer, started
from .lag import Lag
from .metrics import HANDLED
from .offsets import OffsetCommits
from .reading import LAST_COMMIT_S, Stuck
from .received import Record, headers
from .settings import BusSettings

log = get_logger("fleet_bus.journal")

_POLL_MS = 500
_LOOK_S = 0.1
"""How long a fact may have to wait while no record comes and nobody calls `wake()`."""
_MOST_TOLD = 1_000


class _Assignments(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, reading: "JournalReading") -> None:
        self._reading = reading

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        self._reading.reassigned(is_member=False)

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        self._reading.reassigned(is_member=True)


class JournalReading:
    """One journal being read by this process. `places`: the next offset to obey, of the partitions it owns."""

    def __init__(
        self, settings: BusSettings, journaled: Journaled, database: Database, clock: Clock, activity: Activity
    ) -> None:
        self.name = f"{settings.service}.{journaled.name}"
        self.places: dict[TopicPartition, int] = {}
        self._settings = settings
        self._journaled = journaled
        self._database = database
        self._clock = clock
        self._activity = activity
        self._owned: dict[TopicPartition, Owned] = {}
        self._uncommitted: dict[TopicPartition, int] = {}
        self._committed_at = 0.0
        self._commits = OffsetCommits(self.name)
        self._is_member = False
        self._is_new = True
        self._woken = asyncio.Event()
        self._polling: asyncio.Task[dict[TopicPartition, list[ConsumerRecord]]] | None = None
        self._heard = Heard(settings)
        self._lag = Lag(self.name)
        self._kafka = Streak(first_s=settings.backoff_first_s, most_s=settings.backoff_most_s)
        self._sending = Streak(first_s=settings.backoff_first_s, most_s=1.0)

    # What the service asks

    def machine(self, key: str) -> Machine | None:
        """The machine of this key's partition, where this process owns it."""
        number = partition(key, self._journaled.topic.partitions)
        owned = self._owned.get(TopicPartition(self._topic, number))
        return None if owned is None else owned.journal.machine

    def machines(self) -> list[Machine]:
        return [owned.journal.machine for owned in self._owned.values()]

    async def tell(self, fact: Fact) -> list[int]:
        """Has every machine here learn something that is no lasting state of the world, as an operator's order.

        Returns the partitions on which it was learned."""
        waiting: dict[int, asyncio.Future[None]] = {}
        for place, owned in self._owned.items():
            if len(owned.told) >= _MOST_TOLD:
                raise OverflowError(f"{_MOST_TOLD} facts wait already")
            waiting[place.partition] = asyncio.get_running_loop().create_future()
            owned.told.append((fact, waiting[place.partition]))
        await asyncio.gather(*waiting.values(), return_exceptions=True)
        return [number for number, told in waiting.items() if not told.cancelled()]

    def wake(self) -> None:
        """There may be a fact to learn: look now."""
        self._woken.set()

    def due(self, now: datetime) -> int:
        """Facts that are to be learned by now: part of whether the fleet is at rest."""
        return sum(len(o.facts()) + o.is_due(now) + len(o.told) for o in self._owned.values())

    def ready(self) -> str | None:
        if not self._is_member:
            return f"{self.name} has no partitions yet"
        if self._is_new:
            return f"{self.name} replays its journal"
        return self._heard.ready(self.name)

    # Running

    async def run(self) -> None:
        """Runs until cancelled. Whatever the client raises, new ones are taken; machines stay, the epoch guards them."""
        while True:
            try:
                async with self._client() as client:
                    await self._with_producers(client)
            except Exception as error:
                if not (is_down(error) or isinstance(error, Stuck | ReplayStuck)):
                    raise
                pause_s, is_told = self._kafka.failed()
                if is_told:
                    log.warning("journal_waits", subscription=self.name, error=repr(error))
                await asyncio.sleep(pause_s)
            finally:
                self.reassigned(is_member=False)
                self._heard.forget()
                self._uncommitted.clear()

    async def drain(self, timeout_s: float) -> None:
        """A last snapshot of each partition that has moved, so that the next owner need not replay."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                for owned in self._owned.values():
                    await owned.saved()
                    journal = owned.journal
                    if journal.is_whole and not owned.unsaid and journal.place.offset > owned.snapshot_offset:
                        await owned.take_snapshot(self._clock.now())
                        await owned.saved()
        for owned in self._owned.values():
            owned.stop_saving()

    def behind(self) -> Behind | None:
        """None while it does not hear Kafka."""
        return self._lag.behind() if self.ready() is None else None

    def reassigned(self, *, is_member: bool) -> None:
        """A rebalance took the partitions, or gave some: which, and from which owner, is found out in the loop."""
        self._is_member, self._is_new = is_member, True
        self.places.clear()
        self._activity.touch()

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[AIOKafkaConsumer]:
        member = f"{self.name}-{self._settings.ordinal}"
        group = self._settings.topic_prefix + self.name
        client = consumer(self._settings.kafka_url, member, group=group, member=member)
        client.subscribe([self._topic], listener=_Assignments(self))
        try:
            async with started(client):
                try:
                    yield client
                finally:
                    self._stop_polling()
                    if self._heard.ready(self.name) is None:
                        await self._commit(client, LAST_COMMIT_S)
        finally:
            await self._commits.end()

    async def _with_producers(self, client: AIOKafkaConsumer) -> None:
        """A producer that has failed leaves open what arrived; the next one says all of it again, in order."""
        while True:
            async with producer(self._settings.kafka_url, f"{self.name}-{self._settings.ordinal}-says") as out:
                try:
                    await self._loop(client, out)
                except _NotAcknowledged as failed:
                    pause_s, is_told = self._sending.failed()
                    if is_told:
                        log.warning("journal_not_acknowledged", subscription=self.name, error=repr(failed.__cause__))
                    await asyncio.sleep(pause_s)

    async def _loop(self, client: AIOKafkaConsumer, out: AIOKafkaProducer) -> None:
        progress_at = time.monotonic()
        while True:
            if self._is_new and self._is_member:
                with self._activity.handling():
                    await self._take_assigned(client)
            polled = await self._poll(client)
            waits = [place for place, owned in self._owned.items() if owned.waiting]
            if polled:
                self._lag.polled(polled)
            if polled or len(waits) == len(self._owned) > 0:  # then nothing was asked
                self._heard.answered()
            elif self._polling is None:
                self._heard.listen(client)
            for place, owned in self._owned.items():
                owned.take_in(polled.get(place, ()))
            for owned in list(self._owned.values()):
                await self._step(out, owned)
            if polled or waits or self._lag.measure(client, self.places) == 0:
                progress_at = time.monotonic()
            if max(time.monotonic() - progress_at, self._heard.silent_s) > self._settings.stuck_after_s:
                raise Stuck(self.name)
            if self._kafka.ended():
                log.info("journal_goes_on", subscription=self.name)
            if self._uncommitted and time.monotonic() - self._committed_at > self._settings.commit_every_s:
                await self._commit(client, self._settings.commit_timeout_s)

    async def _poll(self, client: AIOKafkaConsumer) -> dict[TopicPartition, list[ConsumerRecord]]:
        """What has come, or nothing after a moment; the client is asked on meanwhile.

        A partition with records in hand is not asked for more; nor does anything wait for others then."""
        if not self._owned or self._is_new:
            await asyncio.sleep(_LOOK_S)
            return {}
        free = [place for place, owned in self._owned.items() if not owned.waiting]
        if self._polling is None:
            if not free:
                await asyncio.sleep(0)
                return {}
            asked = client.getmany(*free, timeout_ms=_POLL_MS, max_records=self._settings.max_batch)
            self._polling = asyncio.create_task(asked)
        waking = asyncio.create_task(self._woken.wait())
        look_s = _LOOK_S if len(free) == len(self._owned) else 0
        try:
            await asyncio.wait((self._polling, waking), timeout=look_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
        self._woken.clear()
        if not self._polling.done():
            return {}
        polled, self._polling = self._polling.result(), None
        return polled

    def _stop_polling(self) -> None:
        if self._polling is not None:
            self._polling.cancel()
            self._polling = None

    # Ownership

    async def _take_assigned(self, client: AIOKafkaConsumer) -> None:
        """After an assignment: gives up what is another's, goes on with what is still ours, takes over the rest.

        What is still ours by Kafka's word may have been another's meanwhile; then the next claim fails."""
        assigned = client.assignment()
        self._is_new = False
        self._stop_polling()
        for place in [place for place in self._owned if place not in assigned]:
            self._give_up(self._owned[place])
        new = sorted(assigned - self._owned.keys())
        beginnings = await client.beginning_offsets(new) if new else {}
        for place in sorted(assigned):
            try:
                if place not in self._owned:
                    self._owned[place] = await self._take_over(client, place, beginnings[place])
                self._owned[place].waiting.clear()
                client.seek(place, self._owned[place].journal.place.offset)
            except IllegalStateError:  # reassigned meanwhile
                self._is_new = True
                return
            self._moved(self._owned[place])
        self._heard.answered()

    async def _take_over(self, client: AIOKafkaConsumer, place: TopicPartition, beginning: int) -> Owned:
        started_at = time.perf_counter()
        topic = self._journaled.topic
        store = JournalStore(self._database, topic.name, place.partition)
        epoch, claimed = await until_there(store.take_over)
        said_epoch = await until_there(lambda: writer_epoch(self._database))
        content = await until_there(store.newest_snapshot)
        machine = self._journaled.machine(place.partition)
        journal = JournalPartition(topic, place.partition, self._settings.service, said_epoch, machine)
        if content is not None:
            await asyncio.to_thread(journal.restore, content)
        at, size = journal.place.offset, len(content or b"")
        owned = Owned(self._settings, place, journal, store, epoch, at, self._journaled, snapshot_bytes=size)
        if beginning > journal.place.offset:
            raise JournalCut(f"{place.topic}[{place.partition}] begins at {beginning}, needed {journal.place.offset}")
        committed = await client.committed(place) or 0
        await owned.replay(client, claimed, committed, is_given_up=lambda: self._is_new)
        log.info(
            "journal_taken_over",
            subscription=self.name,
            partition=place.partition,
            epoch=epoch,
            claimed_offset=claimed,
            replayed=claimed - owned.snapshot_offset,
            said_again=len(owned.unsaid),
            seconds=round(time.perf_counter() - started_at, 3),
        )
        return owned

    def _give_up(self, owned: Owned) -> None:
        place = owned.place
        del self._owned[place]
        owned.stop_saving()
        self.places.pop(place, None)
        self._uncommitted.pop(place, None)
        for _, told in owned.told:
            told.cancel()
        self._activity.touch()
        log.info("journal_given_up", subscription=self.name, partition=place.partition, epoch=owned.epoch)

    # One step: facts, records, the time

    async def _step(self, out: AIOKafkaProducer, owned: Owned) -> None:
        """One of these: what has ended by the time of what comes next; else facts; else records."""
        now = self._clock.now()
        told, facts = list(owned.told), owned.facts()
        if not (owned.waiting or facts or told or owned.unsaid or owned.is_due(now)):
            return
        with self._activity.handling():
            begun, at = owned.journal.place.offset, now if told or facts else owned.next_at(now)
            if owned.has_ended(at):
                told, is_ours = [], await owned.learn([Fact(CLOCK, b"")], at)
            elif told or facts:
                is_ours = await owned.learn([*(fact for fact, _ in told), *facts], now)
            else:
                is_ours = await owned.obey(now)
            if not is_ours:
                log.warning("journal_fenced_off", subscription=self.name, partition=owned.place.partition)
                self._give_up(owned)
                # Somebody else has raised the epoch. If the group still gives it to us when asked anew, we take it over.
                raise Stuck(f"{self.name} was fenced off {owned.place.partition}")
            del owned.told[: len(told)]
            try:
                await self._say(out, owned)
            finally:
                for done in (done for _, done in told if not done.done()):
                    done.set_result(None)
            self._moved(owned)
            HANDLED.labels(self.name).inc(owned.journal.place.offset - begun)
            is_due = owned.journal.place.offset - owned.snapshot_offset >= self._journaled.snapshot_every
            if is_due and not owned.is_saving:
                await owned.take_snapshot(self._clock.now())

    async def _say(self, out: AIOKafkaProducer, owned: Owned) -> None:
        """All that has not been acknowledged, in order; returns when it is. Raises _NotAcknowledged."""
        if not owned.unsaid:
            return
        try:
            async with asyncio.timeout(self._settings.send_deadline_s):
                waiting = [await self._hand_over(out, record) for record in owned.unsaid]
                await asyncio.gather(*waiting)
        except (KafkaError, TimeoutError, OSError) as error:
            raise _NotAcknowledged from error
        owned.unsaid.clear()
        self._sending.ended()

    async def _hand_over(self, out: AIOKafkaProducer, record: Record) -> asyncio.Future[object]:
        topic, key = self._settings.topic_prefix + record.topic, record.key.encode()
        future: asyncio.Future[object] = await out.send(
            topic, value=record.payload, key=key, partition=record.partition, headers=headers(record)
        )
        return future

    def _moved(self, owned: Owned) -> None:
        """What was said is acknowledged: this is as far as we are."""
        offset = owned.journal.place.offset
        if not owned.unsaid and self.places.get(owned.place) != offset:
            self.places[owned.place] = self._uncommitted[owned.place] = offset
            self._activity.touch()

    async def _commit(self, client: AIOKafkaConsumer, timeout_s: float) -> None:
        offsets = {place: at for place, at in self._uncommitted.items() if place in client.assignment()}
        self._uncommitted.clear()
        self._committed_at = time.monotonic()
        if offsets:
            await self._commits.commit(client, offsets, timeout_s)

    @property
    def _topic(self) -> str:
        return self._settings.topic_prefix + self._journaled.topic.name


class _NotAcknowledged(Exception):
    """Whether Kafka has what was sent is unknown."""
