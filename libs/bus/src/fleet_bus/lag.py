"""How far a subscription of this process is behind."""

import time
from collections.abc import Mapping, Sequence

from fleet_contracts.rest import Behind

from .kafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from .metrics import LAG


class Lag:
    """Records ahead of where it stands, as Kafka last told, and when the oldest record of the last poll was written."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._records = 0
        self._written_ms: int | None = None

    def polled(self, found: Mapping[TopicPartition, Sequence[ConsumerRecord]]) -> None:
        """These are in hand now."""
        self._written_ms = min(records[0].timestamp for records in found.values())

    def measure(self, client: AIOKafkaConsumer, places: Mapping[TopicPartition, int]) -> int:
        here = client.assignment()
        ahead = ((client.highwater(place) or 0) - at for place, at in places.items() if place in here)
        self._records = sum(max(records, 0) for records in ahead)
        LAG.labels(self._name).set(self._records)
        return self._records

    def behind(self) -> Behind:
        if not self._records or self._written_ms is None:
            return Behind(records=self._records, seconds=None if self._records else 0.0)
        return Behind(records=self._records, seconds=round(max(time.time() - self._written_ms / 1000, 0.0), 3))
