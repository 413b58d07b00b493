"""The loops that read Kafka for work and live subscriptions: poll, apply, remember the place, commit it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

from aiokafka import ConsumerRebalanceListener
from aiokafka.errors import IllegalStateError
from fleet_chassis.logging import get_logger
from fleet_contracts.rest import Behind

from .activity import Activity
from .applying import Applier, Opening
from .failures import Streak, is_down
from .hearing import Heard
from .kafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition, consumer, partitions_of, read, started
from .lag import Lag
from .metrics import AGE_SECONDS
from .offsets import OffsetCommits
from .received import Record, UnreadableRecord
from .settings import BusSettings

log = get_logger("fleet_bus.reading")

_POLL_MS = 500
LAST_COMMIT_S = 1.0
"""Of a stop: Kafka gets so long to take the last offsets."""
_FIRST_POLL_MS = 20
"""While it is not known where the client stands in each partition: that is asked between two polls."""
_LIVE = "SELECT topic, partition, next_offset FROM live_positions WHERE subscription = $1"


class Stuck(Exception):
    """Kafka has not answered, or records are ahead and none comes: the client is built anew."""


class _Assignments(ConsumerRebalanceListener):  # type: ignore[misc]
    """Forgets the places of partitions that went elsewhere; waits for nothing, so it cannot deadlock the poll loop."""

    def __init__(self, reading: "Reading") -> None:
        self._reading = reading

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        self._reading.reassigned(is_member=False)

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        self._reading.reassigned(is_member=True)


class Reading:
    """One subscription being read. `places` is the next offset to apply, of the partitions this process reads."""

    def __init__(
        self, settings: BusSettings, applier: Applier, activity: Activity, open_transaction: Opening, *, in_group: bool
    ) -> None:
        self.name = applier.name
        self.places: dict[TopicPartition, int] = {}
        self._settings = settings
        self._applier = applier
        self._activity = activity
        self._open = open_transaction
        self._in_group = in_group
        self._is_member = False
        self._heard = Heard(settings)
        self._lag = Lag(self.name)
        self._uncommitted: dict[TopicPartition, int] = {}
        self._committed_at = 0.0
        self._commits = OffsetCommits(applier.name)
        self._kafka = Streak(first_s=settings.backoff_first_s, most_s=settings.backoff_most_s)
        self._handling = Streak(first_s=settings.backoff_first_s, most_s=1.0)

    def ready(self) -> str | None:
        """None once the client knows its partitions and where it stands in each, while Kafka answers; else why not."""
        if not self._is_member:
            return f"{self.name} has no partitions yet"
        return self._heard.ready(self.name)

    def behind(self) -> Behind | None:
        """None while it does not hear Kafka."""
        return self._lag.behind() if self.ready() is None else None

    def reassigned(self, *, is_member: bool) -> None:
        """A rebalance took the partitions, or gave new ones (none, where there are more replicas than partitions)."""
        self._is_member = is_member
        self.places.clear()
        self._applier.forget()
        self._activity.touch()

    async def run(self) -> None:
        """Runs until cancelled. Whatever the client raises, a new one is taken after a pause."""
        while True:
            try:
                async with self._client() as client:
                    await self._loop(client)
            except Exception as error:
                if not (is_down(error) or isinstance(error, Stuck)):
                    raise
                pause_s, is_told = self._kafka.failed()
                if is_told:
                    log.warning("reading_waits", subscription=self.name, error=repr(error))
                await asyncio.sleep(pause_s)
            finally:
                self.reassigned(is_member=False)
                self._heard.forget()
                self._uncommitted.clear()

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[AIOKafkaConsumer]:
        member = f"{self.name}-{self._settings.ordinal}"
        prefix = self._settings.topic_prefix
        if self._in_group:
            client = consumer(self._settings.kafka_url, member, group=prefix + self.name, member=member)
            client.subscribe([prefix + topic.name for topic in self._applier.topics], listener=_Assignments(self))
        else:
            client = consumer(self._settings.kafka_url, member)
            client.assign(partitions_of(self._applier.topics, prefix))
        try:
            async with started(client):
                if not self._in_group:
                    await self._seek_live(client)
                try:
                    yield client
                finally:
                    # A restart then reads nothing twice. The inbox would drop it, so it may as well fail.
                    if self._heard.ready(self.name) is None:
                        await self._commit(client, LAST_COMMIT_S)
        finally:
            await self._commits.end()

    async def _seek_live(self, client: AIOKafkaConsumer) -> None:
        async with self._open() as tx:
            rows = await tx.connection.fetch(_LIVE, self.name)
        prefix = self._settings.topic_prefix
        kept = {TopicPartition(prefix + row["topic"], row["partition"]): row["next_offset"] for row in rows}
        beginnings = await client.beginning_offsets(client.assignment())
        for place, beginning in beginnings.items():
            at = max(kept.get(place, beginning), beginning)
            client.seek(place, at)
            self.places[place] = at
        self._heard.answered()
        self._is_member = True
        self._activity.touch()

    async def _loop(self, client: AIOKafkaConsumer) -> None:
        progress_at = time.monotonic()
        while True:
            knows_places = all(place in self.places for place in client.assignment())
            polled = await client.getmany(
                timeout_ms=_POLL_MS if knows_places else _FIRST_POLL_MS, max_records=self._settings.max_batch
            )
            if polled:
                with self._activity.handling():
                    await self._apply(client, polled)
                self._heard.answered()
            else:
                if not knows_places:
                    await self._find_places(client)
                self._heard.listen(client)
            if polled:
                progress_at = time.monotonic()
            elif self._lag.measure(client, self.places) == 0:
                progress_at = time.monotonic()
                AGE_SECONDS.labels(self.name).set(0)
            if max(time.monotonic() - progress_at, self._heard.silent_s) > self._settings.stuck_after_s:
                raise Stuck(self.name)
            if self._kafka.ended():
                log.info("reading_goes_on", subscription=self.name)
            if self._uncommitted and time.monotonic() - self._committed_at > self._settings.commit_every_s:
                await self._commit(client, self._settings.commit_timeout_s)

    async def _apply(self, client: AIOKafkaConsumer, polled: dict[TopicPartition, list[ConsumerRecord]]) -> None:
        self._lag.polled(polled)
        self._lag.measure(client, self.places)
        records = [record for found in polled.values() for record in self._read(found)]
        try:
            await self._applier.apply(records)
        except Exception as error:
            if not is_down(error):
                raise
            # The position is not moved back by itself, and seek_to_committed() does nothing where none is committed.
            for place, found in polled.items():
                with contextlib.suppress(IllegalStateError):
                    client.seek(place, found[0].offset)
            pause_s, is_told = self._handling.failed()
            if is_told:
                log.warning("batch_waits", subscription=self.name, error=repr(error))
            await asyncio.sleep(pause_s)
            return
        if self._handling.ended():
            log.info("batches_go_on", subscription=self.name)
        assigned = client.assignment()
        for place, found in polled.items():
            if place in assigned:
                self.places[place] = self._uncommitted[place] = found[-1].offset + 1
        self._lag.measure(client, self.places)
        self._activity.touch()

    def _read(self, found: Sequence[ConsumerRecord]) -> list[Record]:
        records: list[Record] = []
        for raw in found:
            record = read(raw, self._settings.topic_prefix)
            if isinstance(record, UnreadableRecord):
                # It names no writer and no number, so there is no key to park it under.
                log.error("record_not_ours", subscription=self.name, error=str(record))
            else:
                records.append(record)
        return records

    async def _find_places(self, client: AIOKafkaConsumer) -> None:
        """Where the client stands in partitions from which nothing has come yet."""
        for place in client.assignment():
            if place not in self.places:
                with contextlib.suppress(TimeoutError, IllegalStateError):
                    async with asyncio.timeout(_POLL_MS / 1000):
                        self.places[place] = await client.position(place)
                        self._heard.answered()
                        self._activity.touch()

    async def _commit(self, client: AIOKafkaConsumer, timeout_s: float) -> None:
        offsets, self._uncommitted = self._uncommitted, {}
        self._committed_at = time.monotonic()
        if self._in_group and (ours := {place: at for place, at in offsets.items() if place in client.assignment()}):
            await self._commits.commit(client, ours, timeout_s)
