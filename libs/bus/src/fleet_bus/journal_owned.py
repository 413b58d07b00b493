"""A partition of a journal that this process owns: taking it over, claiming before obeying, snapshots."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from aiokafka.errors import KafkaError
from fleet_chassis.logging import get_logger

from .admin import delete_records
from .failures import Streak, is_down
from .forking import ChildFailed, Forked
from .journal_partition import JournalPartition
from .journal_store import Fact, JournalStore, Place, StoredFact
from .journaled import Journaled
from .kafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition, read
from .metrics import SNAPSHOT_STALL
from .received import Record, UnreadableRecord
from .settings import BusSettings

log = get_logger("fleet_bus.journal")

_REPLAY_POLL_MS = 500

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

    async def claim(self, facts: list[StoredFact], raws: Sequence[ConsumerRecord]) -> bool:
        """Claims the facts and then the records, and obeys them. False: another owns the partition, nothing is done."""
        at = self.journal.place.offset
        if raws and raws[0].offset != at:
            raise ReplayStuck(f"{self.place} stands at {at}, was given {raws[0].offset}")
        to = raws[-1].offset + 1 if raws else at
        if (facts or raws) and not await until_there(lambda: self.store.claim(self.epoch, to, facts)):
            return False
        for fact in facts:
            self.unsaid.extend(self.journal.learn(fact))
        for record in await self._read(raws):
            self.unsaid.extend(self._obeyed(record))
        return True

    async def replay(
        self, client: AIOKafkaConsumer, claimed: int, committed: int, *, is_given_up: Callable[[], bool]
    ) -> None:
        """Up to what is claimed; what lies below the committed offset was acknowledged and is not said again."""
        journal = self.journal
        facts = deque(await until_there(lambda: self.store.facts_after(journal.place)))

        def learn() -> None:
            while facts and facts[0].place.offset == journal.place.offset:
                fact = facts.popleft()
                said = journal.learn(fact)
                self.unsaid.extend(said if fact.place.offset >= committed else ())

        client.seek(self.place, journal.place.offset)
        progress_at = time.monotonic()
        learn()
        while journal.place.offset < claimed:
            polled = await client.getmany(self.place, timeout_ms=_REPLAY_POLL_MS, max_records=self.settings.max_batch)
            raws = [raw for raw in polled.get(self.place, ()) if journal.place.offset <= raw.offset < claimed]
            for raw, record in zip(raws, await self._read(raws), strict=True):
                said = self._obeyed(record)
                self.unsaid.extend(said if raw.offset >= committed else ())
                learn()
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

    async def _read(self, raws: Sequence[ConsumerRecord]) -> list[Record | UnreadableRecord]:
        found = [read(raw, self.settings.topic_prefix) for raw in raws]
        if self.journaled.archive is not None and raws:
            recall, records = self.journaled.archive.recall, [record for record in found if isinstance(record, Record)]
            await until_there(lambda: recall(self.journal.machine, records))
        return found

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
