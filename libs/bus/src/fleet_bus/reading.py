"""The loops that read Kafka for work and live subscriptions: poll, apply, remember the place, commit it."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

from aiokafka import ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from fleet_chassis.logging import get_logger

from .activity import Activity
from .applying import Applier, Opening
from .failures import is_down
from .kafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition, consumer, partitions_of, read
from .metrics import LAG
from .received import Record, UnreadableRecord
from .settings import BusSettings

log = get_logger("fleet_bus.reading")

_POLL_MS = 500
_LIVE = "SELECT topic, partition, next_offset FROM live_positions WHERE subscription = $1"


class Stuck(Exception):
    """Records are ahead and none comes: the client is built anew."""


class _Revoked(ConsumerRebalanceListener):  # type: ignore[misc]
    """Forgets the places of partitions that went elsewhere; waits for nothing, so it cannot deadlock the poll loop."""

    def __init__(self, places: dict[TopicPartition, int], activity: Activity) -> None:
        self._places = places
        self._activity = activity

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        self._places.clear()
        self._activity.touch()

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        self._places.clear()
        self._activity.touch()


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
        self._uncommitted: dict[TopicPartition, int] = {}
        self._committed_at = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether the client knows its partitions and where it stands in each."""
        return bool(self.places)

    async def run(self) -> None:
        """Runs until cancelled. Whatever the client raises, a new one is taken after a pause."""
        backoff = self._settings.backoff_first_s
        while True:
            started = time.monotonic()
            try:
                async with self._client() as client:
                    await self._loop(client)
            except Exception as error:
                if not (is_down(error) or isinstance(error, Stuck)):
                    raise
                log.warning("reading_waits", subscription=self.name, error=repr(error), backoff_s=backoff)
                if time.monotonic() - started > self._settings.backoff_most_s:
                    backoff = self._settings.backoff_first_s
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, self._settings.backoff_most_s)
            finally:
                self.places.clear()
                self._uncommitted.clear()

    @contextlib.asynccontextmanager
    async def _client(self) -> AsyncIterator[AIOKafkaConsumer]:
        member = f"{self.name}-{self._settings.ordinal}"
        prefix = self._settings.topic_prefix
        if self._in_group:
            client = consumer(self._settings.kafka_url, member, group=prefix + self.name, member=member)
            client.subscribe(
                [prefix + topic.name for topic in self._applier.topics], listener=_Revoked(self.places, self._activity)
            )
        else:
            client = consumer(self._settings.kafka_url, member)
            client.assign(partitions_of(self._applier.topics, prefix))
        await client.start()
        try:
            if not self._in_group:
                await self._seek_live(client)
            yield client
            await self._commit(client)
        finally:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(client.stop(), self._settings.backoff_most_s)

    async def _seek_live(self, client: AIOKafkaConsumer) -> None:
        async with self._open() as tx:
            rows = await tx.connection.fetch(_LIVE, self.name)
        prefix = self._settings.topic_prefix
        kept = {TopicPartition(prefix + row["topic"], row["partition"]): row["next_offset"] for row in rows}
        beginnings = await client.beginning_offsets(client.assignment())
        for place, beginning in beginnings.items():
            client.seek(place, max(kept.get(place, beginning), beginning))

    async def _loop(self, client: AIOKafkaConsumer) -> None:
        progress_at = time.monotonic()
        while True:
            polled = await client.getmany(timeout_ms=_POLL_MS, max_records=self._settings.max_batch)
            if polled:
                with self._activity.handling():
                    await self._apply(client, polled)
                progress_at = time.monotonic()
            else:
                await self._find_places(client)
                if self._lag(client) == 0:
                    progress_at = time.monotonic()
                elif time.monotonic() - progress_at > self._settings.stuck_after_s:
                    raise Stuck(self.name)
            if self._uncommitted and time.monotonic() - self._committed_at > self._settings.commit_every_s:
                await self._commit(client)

    async def _apply(self, client: AIOKafkaConsumer, polled: dict[TopicPartition, list[ConsumerRecord]]) -> None:
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
            log.warning("batch_waits", subscription=self.name, error=repr(error))
            await asyncio.sleep(self._settings.backoff_first_s)
            return
        assigned = client.assignment()
        for place, found in polled.items():
            if place in assigned:
                self.places[place] = self._uncommitted[place] = found[-1].offset + 1
        self._lag(client)
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
                        self._activity.touch()

    def _lag(self, client: AIOKafkaConsumer) -> int:
        ahead = sum(max((client.highwater(place) or 0) - at, 0) for place, at in self.places.items())
        LAG.labels(self.name).set(ahead)
        return ahead

    async def _commit(self, client: AIOKafkaConsumer) -> None:
        if not self._in_group or not self._uncommitted:
            self._uncommitted.clear()
            return
        offsets, self._uncommitted = dict(self._uncommitted), {}
        self._committed_at = time.monotonic()
        try:
            await client.commit({place: at for place, at in offsets.items() if place in client.assignment()})
        except (CommitFailedError, IllegalStateError):
            # A rebalance came between; the new owner reads again what the inbox drops.
            log.info("offset_commit_superseded", subscription=self.name)
        except KafkaError as error:
            log.warning("offset_commit_failed", subscription=self.name, error=repr(error))
