"""When Kafka last answered a consumer: the client itself says nothing when a broker falls silent, it only brings nothing."""

import time

from .kafka import AIOKafkaConsumer
from .settings import BusSettings


class Heard:
    """Follows the answers to a consumer's fetches, which come twice a second also when there is nothing to bring."""

    def __init__(self, settings: BusSettings) -> None:
        self._settings = settings
        self._at: float | None = None
        self._since = time.monotonic()

    def answered(self) -> None:
        """Something came from Kafka."""
        self._at = time.monotonic()

    def listen(self, client: AIOKafkaConsumer) -> None:
        """To be called after a poll that brought nothing: was there an answer at all?"""
        places = client.assignment()
        last_ms = max((client.last_poll_timestamp(place) or 0 for place in places), default=None)
        if last_ms is None:  # more replicas than partitions: nothing is asked
            self.answered()
        elif last_ms:
            self._at = max(time.monotonic() - max(time.time() - last_ms / 1000, 0.0), self._at or 0.0)

    def forget(self) -> None:
        """A new client is taken, which has heard nothing."""
        self._at = None
        self._since = time.monotonic()

    @property
    def silent_s(self) -> float:
        return time.monotonic() - (self._since if self._at is None else max(self._at, self._since))

    def ready(self, name: str) -> str | None:
        """None, or that Kafka does not answer."""
        if self._at is None:
            return f"{name} has not heard of Kafka yet"
        if self.silent_s > self._settings.silent_after_s:
            return f"{name} has not heard of Kafka for {self.silent_s:.0f} s"
        return None
