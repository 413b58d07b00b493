"""A partition of a journal that this process owns: taking it over, claiming before obeying, snapshots."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from aiokafka.errors import KafkaError
from fleet_chassis.logging import get_logger

from .admin import delete_records
from .failures import Streak, is_down
from .forking import ChildFailed, Forked
from .journal_partition import CLOCK, JournalPartition
from .journal_store import Fact, JournalStore, Place
from .journaled import Journaled
from .kafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition, read
from .metrics import SNAPSHOT_STALL
from .received import Record, UnreadableRecord
from .settings import BusSettings

log = get_logger("fleet_bus.journal")

_REPLAY_POLL_MS = 500
_MOST_FACTS = 200

R = TypeVar("R")


class JournalCut(Exception):
    """The log no longer reaches back to the newest snapshot: what it said cannot be known, so nothing may be done."""


class ReplayStuck(Exception):
    """Records are claimed and do not come, or the partition went elsewhere meanwhile."""


@dataclass(slots=True)
class Owned:
    """A partition and what it has said that Kafka has not acknowledged. `told` waits to be learned."""

    settings: BusSettings
    place: TopicPartition
    journal: JournalPartition
    store: JournalStore
    epoch: int
    snapshot_offset: int
    journaled: Journaled
    snapshot_bytes: int = 0
    """Of the last one."""
    saving: asyncio.Task[None] | None = None
    unsaid: deque[Record] = field(default_factory=deque)
    told: list[tuple[Fact, asyncio.Future[None]]] = field(default_factory=list)
    waiting: deque[tuple[int, Record | UnreadableRecord]] = field(default_factory=deque)
    """Polled and not claimed yet, by offset."""

    def take_in(self, polled: Iterable[ConsumerRecord]) -> None:
        prefix, at = self.settings.topic_prefix, self.journal.place.offset
        self.waiting.extend((raw.offset, read(raw, prefix)) for raw in polled if raw.offset >= at)

    def next_at(self, now: datetime) -> datetime:
        """The time of what comes next: as far as what was read, or now where nothing waits."""
        record = self.waiting[0][1] if self.waiting else None
        if isinstance(record, Record):
            return max(self.journal.at, record.occurred_at)
        return now if record is None else self.journal.at

    def facts(self) -> list[Fact]:
        return list(self.journaled.wanted(self.journal.machine))[:_MOST_FACTS]

    def is_due(self, now: datetime) -> bool:
        due_at = self.journal.machine.due_at() if self.journaled.ticks else None
        return due_at is not None and due_at <= now

    def has_ended(self, at: datetime) -> bool:
        """Whether something has that the machine has not been told of yet."""
        ends_at = self._ends_at()
        return ends_at is not None and ends_at <= at

    def _ends_at(self) -> datetime | None:
        return self.journal.machine.ends_at() if self.journaled.ticks else None

    def _next_records(self) -> list[tuple[int, Record | UnreadableRecord]]:
        """The first, and those behind it that come before what rests ends."""
        ends_at = self._ends_at()
        found: list[tuple[int, Record | UnreadableRecord]] = []
        for offset, record in self.waiting:
            if found and ends_at is not None and isinstance(record, Record) and record.occurred_at >= ends_at:
                break
            found.append((offset, record))
        return found

    async def learn(self, facts: Sequence[Fact], at: datetime) -> bool:
        """Claims facts and learns them. False: another owns the partition, nothing is done."""
        stored = self.journal.next_facts(facts, at)
        if not await until_there(lambda: self.store.claim(self.epoch, self.journal.place.offset, stored)):
            return False
        for fact in stored:
            self.unsaid.extend(self.journal.learn(fact))
        return True

    async def obey(self, now: datetime) -> bool:
        """Claims records that wait and obeys them, and tells the time then: it goes as far as what was read, so that an
        order sent before another's end meets it, however late it is read. False as of `learn`."""
        found = self._next_records()
        if found:
            at = self.journal.place.offset
            if found[0][0] != at:
                raise ReplayStuck(f"{self.place} stands at {at}, was given {found[0][0]}")
            if not await until_there(lambda: self.store.claim(self.epoch, found[-1][0] + 1, ())):
                return False
            records = [record for _, record in found]
            await self._recall(records)
            for record in records:
                self.unsaid.extend(self._obeyed(record))
                self.waiting.popleft()
            now = self.journal.at
        return not self.is_due(now) or await self.learn([Fact(CLOCK, b"")], now)

    async def replay(
        self, client: AIOKafkaConsumer, claimed: int, committed: int, *, is_given_up: Callable[[], bool]
    ) -> None:
        """Up to what is claimed; what lies below the committed offset was acknowledged and is not said again."""
        journal = self.journal
        facts = deque(await until_there(lambda: self.store.facts_after(journal.place)))

        async def learn() -> None:
            while facts and facts[0].place.offset == journal.place.offset:
                fact = facts.popleft()
                said = journal.learn(fact)
                self.unsaid.extend(said if fact.place.offset >= committed else ())
                await asyncio.sleep(0)  # many in a row may be slices of much that ended

        client.seek(self.place, journal.place.offset)
        progress_at = time.monotonic()
        await learn()
        while journal.place.offset < claimed:
            polled = await client.getmany(self.place, timeout_ms=_REPLAY_POLL_MS, max_records=self.settings.max_batch)
            raws = [raw for raw in polled.get(self.place, ()) if journal.place.offset <= raw.offset < claimed]
            records = [read(raw, self.settings.topic_prefix) for raw in raws]
            await self._recall(records)
            for raw, record in zip(raws, records, strict=True):
                said = self._obeyed(record)
                self.unsaid.extend(said if raw.offset >= committed else ())
                await learn()
            if polled:
                progress_at = time.monotonic()
                await asyncio.sleep(0)
            elif is_given_up() or time.monotonic() - progress_at > self.settings.stuck_after_s:
                raise ReplayStuck(str(self.place))
        client.seek(self.place, journal.place.offset)

    @property
    def is_saving(self) -> bool:
        """Whether the last snapshot is still on its way; raises what it died of."""
        if self.saving is not None and self.saving.done():
            saved, self.saving = self.saving, None
            saved.result()
        return self.saving is not None

    async def take_snapshot(self, now: datetime) -> None:
        """Begins one of this state, all of whose output is acknowledged. The journal may go on while it is stored."""
        started_at = time.perf_counter()
        if self.journaled.archive is not None:
            keep = self.journaled.archive.keep
            await until_there(lambda: keep(self.journal.machine, self.journal.place.offset))
        content: bytes | Forked | None = None
        begun_at = time.perf_counter()
        if self.snapshot_bytes >= self.journaled.fork_from_bytes:
            try:
                content = Forked.begin(self.journal.snapshot)
            except OSError as error:
                log.warning("journal_not_forked", partition=self.place.partition, error=repr(error))
        content = content or self.journal.snapshot()
        SNAPSHOT_STALL.labels(self.journaled.name).set(time.perf_counter() - begun_at)
        self.snapshot_offset = self.journal.place.offset
        self.saving = asyncio.create_task(self._save(self.journal.place, content, now, started_at))

    async def saved(self) -> None:
        """Returns when no snapshot is on its way."""
        if self.saving is not None:
            await asyncio.wait((self.saving,))
        assert not self.is_saving

    def stop_saving(self) -> None:
        """What is on its way is given up; a snapshot without its last row is none."""
        if self.saving is not None:
            self.saving.cancel()

    async def _save(self, at: Place, found: bytes | Forked, now: datetime, started_at: float) -> None:
        """Then what lies behind the last two is forgotten."""
        try:
            content = await found.answer() if isinstance(found, Forked) else found
        except ChildFailed as error:
            log.error("journal_snapshot_failed", partition=self.place.partition, error=repr(error))
            self.snapshot_bytes = 0  # the next one is taken in this process
            return
        self.snapshot_bytes = len(content)
        await until_there(lambda: self.store.add_snapshot(self.epoch, at, content, now))
        cut = await until_there(self.store.forget_before_snapshots)
        if cut:
            try:
                await delete_records(self.settings.kafka_url, {self.place: cut})
            except (KafkaError, TimeoutError, OSError) as error:
                log.info("journal_not_trimmed", partition=self.place.partition, error=repr(error))
        log.info(
            "journal_snapshot",
            partition=self.place.partition,
            offset=at.offset,
            bytes=len(content),
            seconds=round(time.perf_counter() - started_at, 3),
        )

    async def _recall(self, found: Sequence[Record | UnreadableRecord]) -> None:
        if self.journaled.archive is not None and found:
            recall, records = self.journaled.archive.recall, [record for record in found if isinstance(record, Record)]
            await until_there(lambda: recall(self.journal.machine, records))

    def _obeyed(self, record: Record | UnreadableRecord) -> list[Record]:
        if isinstance(record, UnreadableRecord):
            log.error("record_not_ours", error=str(record))
            self.journal.skip()
            return []
        return self.journal.obey(record)


async def until_there(ask: Callable[[], Awaitable[R]]) -> R:
    """The database's answer, asked for until there is one: everything a journal asks may be asked twice."""
    down = Streak(first_s=0.1, most_s=1.0)
    while True:
        try:
            answer = await ask()
        except Exception as error:
            if not is_down(error):
                raise
            pause_s, is_told = down.failed()
            if is_told:
                log.warning("journal_waits", error=repr(error))
            await asyncio.sleep(pause_s)
        else:
            if down.ended():
                log.info("journal_goes_on")
            return answer
