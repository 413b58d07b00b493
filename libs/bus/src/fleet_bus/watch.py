"""A live subscription without effects: from the end on, every record to a callback; drops what is not newer."""

import asyncio

from fleet_chassis.logging import get_logger

from .failures import Streak, is_down
from .hearing import Heard
from .kafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition, consumer, partitions_of, read, started
from .received import UnreadableRecord, decode
from .settings import BusSettings
from .subscription import Watch

log = get_logger("fleet_bus.watch")

# Numbers are kept per key to drop what is said twice; beyond this many keys the oldest are forgotten.
_KEYS = 100_000
_AT_ONCE = 20
"""A gateway tells each record to thousands of sockets: after so many all else has its turn, also when much has come."""


class Watching:
    """Ready when it stands at the ends that were there at its start, so that a snapshot taken after misses nothing."""

    def __init__(self, settings: BusSettings, watch: Watch) -> None:
        self.name = f"{settings.service}.{watch.name}"
        self._settings = settings
        self._watch = watch
        self._places: dict[TopicPartition, int] = {}
        self._numbers: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._stands_at_end = False
        self._heard = Heard(settings)
        self._kafka = Streak(first_s=settings.backoff_first_s, most_s=settings.backoff_most_s)

    def ready(self) -> str | None:
        """None while it stands at the end and Kafka answers; else why not."""
        if not self._stands_at_end:
            return f"{self.name} does not listen yet"
        return self._heard.ready(self.name)

    async def run(self) -> None:
        """Runs until cancelled; a new client goes on where the last one stood."""
        while True:
            client = consumer(self._settings.kafka_url, f"{self.name}-{self._settings.ordinal}")
            client.assign(partitions_of(self._watch.topics, self._settings.topic_prefix))
            try:
                async with started(client):
                    await self._loop(client)
            except Exception as error:
                if not is_down(error):
                    raise
                pause_s, is_told = self._kafka.failed()
                if is_told:
                    log.warning("watch_waits", subscription=self.name, error=repr(error))
                await asyncio.sleep(pause_s)
            finally:
                self._stands_at_end = False
                self._heard.forget()

    async def _loop(self, client: AIOKafkaConsumer) -> None:
        ends = await client.end_offsets(client.assignment())
        beginnings = await client.beginning_offsets(client.assignment())
        for place, end in ends.items():
            # auto_offset_reset=latest can miss the first message, so the place is set by hand.
            at = max(self._places.get(place, end), beginnings[place])
            self._places[place] = at
            client.seek(place, at)
        self._stands_at_end = True
        self._heard.answered()
        while True:
            polled = await client.getmany(timeout_ms=500, max_records=2_000)
            for place, found in polled.items():
                for number, raw in enumerate(found, 1):
                    self._take(raw)
                    if number % _AT_ONCE == 0:
                        await asyncio.sleep(0)
                self._places[place] = found[-1].offset + 1
            if polled:
                self._heard.answered()
            else:
                self._heard.listen(client)
                if self._heard.silent_s > self._settings.stuck_after_s:
                    raise OSError("Kafka does not answer")
            if self._kafka.ended():
                log.info("watch_goes_on", subscription=self.name)

    def _take(self, raw: ConsumerRecord) -> None:
        record = read(raw, self._settings.topic_prefix)
        if isinstance(record, UnreadableRecord):
            log.error("record_not_ours", subscription=self.name, error=str(record))
            return
        if record.payload is None or record.number <= self._numbers.get(record.place, (-1, -1)):
            return
        self._numbers.pop(record.place, None)  # so that the key just heard of is the last to be forgotten
        self._numbers[record.place] = record.number
        if len(self._numbers) > _KEYS:
            del self._numbers[next(iter(self._numbers))]
        if self._watch.ours is not None and not self._watch.ours.concerns(record):
            return
        try:
            received = decode(record)
        except UnreadableRecord as error:
            log.error("record_unreadable", subscription=self.name, key=record.key, error=str(error))
            return
        self._watch.handle(received)
