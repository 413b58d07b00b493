"""Compacted topics read whole into memory: the last version per key wins."""

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from fleet_chassis.logging import get_logger
from fleet_contracts import Message, Topic

from .activity import Activity
from .failures import Streak, is_down
from .hearing import Heard
from .kafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition, consumer, partitions_of, read, started
from .received import Received, UnreadableRecord, decode
from .settings import BusSettings

log = get_logger("fleet_bus.table")

M = TypeVar("M", bound=Message)

_NEVER = (-1, -1)
_MOST_GONE = 10_000

Change = Callable[[str, Received[Message] | None], None]


class TableView(Generic[M]):
    """What a compacted topic says now. A table never causes a write."""

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self._messages: dict[str, M] = {}
        self._numbers: dict[tuple[str, str], tuple[int, int]] = {}
        self._gone: dict[tuple[str, str], tuple[int, int]] = {}
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
        if record.number <= max(self._numbers.get(writer_key, _NEVER), self._gone.get(writer_key, _NEVER)):
            return
        if record.payload is None:
            self._forget(writer_key, record.number)
            if self._messages.pop(record.key, None) is not None:
                self._tell(record.key, None)
            return
        self._gone.pop(writer_key, None)
        self._numbers[writer_key] = record.number
        try:
            received = decode(record)
        except UnreadableRecord as error:
            log.error("record_unreadable", topic=self.topic.name, key=record.key, error=str(error))
            return
        self._messages[record.key] = received.message  # type: ignore[assignment]
        self._tell(record.key, received)

    def _forget(self, writer_key: tuple[str, str], number: tuple[int, int]) -> None:
        """Of a key that was taken out only its number is kept, for a while, lest an older version bring it back."""
        self._numbers.pop(writer_key, None)
        self._gone[writer_key] = number
        if len(self._gone) > _MOST_GONE:
            del self._gone[next(iter(self._gone))]

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
        self._is_whole = asyncio.Event()
        self._heard = Heard(settings)
        self._kafka = Streak(first_s=settings.backoff_first_s, most_s=settings.backoff_most_s)

    def ready(self) -> str | None:
        """None once every table is whole, while Kafka answers; else why not."""
        if not self.views:
            return None
        if not self._is_whole.is_set():
            return "tables are being read"
        return self._heard.ready(self.name)

    async def wait_whole(self) -> None:
        """Returns when everything that was in the topics at the start has been read."""
        if self.views:
            await self._is_whole.wait()

    async def run(self) -> None:
        """Runs until cancelled; after a failure it reads all from the start again, and older versions change nothing."""
        if not self.views:
            await asyncio.Event().wait()
        while True:
            client = consumer(self._settings.kafka_url, f"{self._settings.service}-{self._settings.ordinal}-tables")
            client.assign(partitions_of([view.topic for view in self.views.values()], self._settings.topic_prefix))
            try:
                async with started(client):
                    await self._loop(client)
            except Exception as error:
                if not is_down(error):
                    raise
                pause_s, is_told = self._kafka.failed()
                if is_told:
                    log.warning("tables_wait", error=repr(error))
                await asyncio.sleep(pause_s)
            finally:
                self._heard.forget()

    async def _loop(self, client: AIOKafkaConsumer) -> None:
        assignment = client.assignment()
        beginnings = await client.beginning_offsets(assignment)
        ends = await client.end_offsets(assignment)
        self._heard.answered()
        for place, beginning in beginnings.items():
            client.seek(place, beginning)
            self.places[place] = beginning
        progress_at = time.monotonic()
        while True:
            if not self._is_whole.is_set() and all(self.places[place] >= end for place, end in ends.items()):
                self._is_whole.set()
                self._activity.touch()
            polled = await client.getmany(timeout_ms=500, max_records=2_000)
            for place, found in polled.items():
                view = self.views[place.topic.removeprefix(self._settings.topic_prefix)]
                for raw in found:
                    view.take(raw, self._settings.topic_prefix)
                self.places[place] = found[-1].offset + 1
            if polled:
                self._heard.answered()
                self._activity.touch()
            else:
                # Compaction leaves holes, so when nothing comes the place is the client's and not the last record's.
                for place in assignment:
                    self.places[place] = await client.position(place)
                self._heard.listen(client)
            if polled or all((client.highwater(place) or 0) <= at for place, at in self.places.items()):
                progress_at = time.monotonic()
            if max(time.monotonic() - progress_at, self._heard.silent_s) > self._settings.stuck_after_s:
                raise OSError("Kafka does not answer the tables' client")
            if self._kafka.ended():
                log.info("tables_go_on")
