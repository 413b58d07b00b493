"""Compacted topics read whole into memory: the last version per key wins."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from fleet_chassis.logging import get_logger
from fleet_contracts import Message, Topic

from .activity import Activity
from .failures import is_down
from .kafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition, consumer, partitions_of, read
from .received import Received, UnreadableRecord, decode
from .settings import BusSettings

log = get_logger("fleet_bus.table")

M = TypeVar("M", bound=Message)

Change = Callable[[str, Received[Message] | None], None]


class TableView(Generic[M]):
    """What a compacted topic says now. A table never causes a write."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self._messages: dict[str, M] = {}
        self._numbers: dict[tuple[str, str], tuple[int, int]] = {}
        self._listeners: list[Change] = []

    def get(self, key: str) -> M | None:
        return self._messages.get(key)

    def values(self) -> Iterable[M]:
        return self._messages.values()

    def __len__(self) -> int:
        return len(self._messages)

    def on_change(self, listener: Change) -> None:
        """Calls `listener(key, received or None for a removal)` on the event loop; it must neither block nor fail."""
        self._listeners.append(listener)

    def take(self, raw: ConsumerRecord, prefix: str) -> None:
        """Applies a record if it is newer than what is known of its key."""
        record = read(raw, prefix)
        if isinstance(record, UnreadableRecord):
            log.error("record_not_ours", topic=self.topic.name, error=str(record))
            return
        writer_key = (record.writer, record.key)
        if record.number <= self._numbers.get(writer_key, (-1, -1)):
            return
        self._numbers[writer_key] = record.number
        if record.payload is None:
            self._messages.pop(record.key, None)
            self._tell(record.key, None)
            return
        try:
            received = decode(record)
        except UnreadableRecord as error:
            log.error("record_unreadable", topic=self.topic.name, key=record.key, error=str(error))
            return
        self._messages[record.key] = received.message  # type: ignore[assignment]
        self._tell(record.key, received)

    def _tell(self, key: str, received: Received[Message] | None) -> None:
        for listener in self._listeners:
            listener(key, received)


class TableReading:
    """All tables of a process, read by one client without a group."""

    name = "tables"

    def __init__(self, settings: BusSettings, activity: Activity) -> None:
        self.places: dict[TopicPartition, int] = {}
        self.views: dict[str, TableView[Message]] = {}
        self._settings = settings
        self._activity = activity
        self._ready = asyncio.Event()

    @property
    def is_ready(self) -> bool:
        return self._ready.is_set()

    async def wait_ready(self) -> None:
        await self._ready.wait()

    async def run(self) -> None:
        """Runs until cancelled; after a failure it reads all from the start again, and older versions change nothing."""
        if not self.views:
            self._ready.set()
            await asyncio.Event().wait()
        while True:
            client = consumer(self._settings.kafka_url, f"{self._settings.service}-{self._settings.ordinal}-tables")
            client.assign(partitions_of([view.topic for view in self.views.values()], self._settings.topic_prefix))
            try:
                await client.start()
                await self._loop(client)
            except Exception as error:
                if not is_down(error):
                    raise
                log.warning("tables_wait", error=repr(error))
                await asyncio.sleep(self._settings.backoff_first_s * 5)
            finally:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(client.stop(), self._settings.backoff_most_s)

    async def _loop(self, client: AIOKafkaConsumer) -> None:
        assignment = client.assignment()
        beginnings = await client.beginning_offsets(assignment)
        ends = await client.end_offsets(assignment)
        for place, beginning in beginnings.items():
            client.seek(place, beginning)
            self.places[place] = beginning
        progress_at = time.monotonic()
        while True:
            if not self._ready.is_set() and all(self.places[place] >= end for place, end in ends.items()):
                self._ready.set()
                self._activity.touch()
            polled = await client.getmany(timeout_ms=500, max_records=2_000)
            for place, found in polled.items():
                view = self.views[place.topic.removeprefix(self._settings.topic_prefix)]
                for raw in found:
                    view.take(raw, self._settings.topic_prefix)
            for place in assignment:
                # Compaction leaves holes, so the place is the client's and not the last record's.
                self.places[place] = await client.position(place)
            if polled or all((client.highwater(place) or 0) <= at for place, at in self.places.items()):
                progress_at = time.monotonic()
            elif time.monotonic() - progress_at > self._settings.stuck_after_s:
                raise OSError("the tables' client is stuck")
            if polled:
                self._activity.touch()
