"""Tells Kafka how far a group has read."""

import asyncio
from collections.abc import Mapping

from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from fleet_chassis.logging import get_logger

from .kafka import AIOKafkaConsumer, TopicPartition

log = get_logger("fleet_bus.offsets")

_LAST_S = 0.1


class OffsetCommits:
    """The offset commits of one reader.

    aiokafka shields the request of a commit: if we cancel the commit, it goes on alone, and the error that it meets when
    the connection is closed is an unretrieved exception, logged with a traceback. So a commit that takes too long is left
    to itself, and only ended when its client has been closed."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._under_way: set[asyncio.Task[None]] = set()

    async def commit(self, client: AIOKafkaConsumer, offsets: Mapping[TopicPartition, int], timeout_s: float) -> None:
        """Waits for the answer so long. It need not come: the database knows what was applied."""
        task = asyncio.create_task(client.commit(offsets))
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        await asyncio.wait([task], timeout=timeout_s)
        if not task.done():
            log.info("offset_commit_unanswered", subscription=self._name, after_s=timeout_s)

    async def end(self) -> None:
        """To be called once the client is closed: what was under way has failed, and would try again for ever."""
        if under_way := tuple(self._under_way):
            await asyncio.wait(under_way, timeout=_LAST_S)
            for task in under_way:
                task.cancel()
            await asyncio.wait(under_way)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, CommitFailedError | IllegalStateError):
            # A rebalance came between; the new owner reads again what the inbox drops.
            log.info("offset_commit_superseded", subscription=self._name)
        elif isinstance(error, KafkaError):
            log.info("offset_commit_failed", subscription=self._name, error=repr(error))
        elif error is not None:
            log.error("offset_commit_failed", subscription=self._name, exc_info=error)
