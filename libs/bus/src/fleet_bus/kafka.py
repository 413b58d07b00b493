"""Kafka clients with every dangerous default set. The only module that makes them."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextvars import ContextVar
from types import CoroutineType
from typing import TypeVar
from weakref import WeakKeyDictionary

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, errors
from aiokafka.producer.sender import Sender
from aiokafka.structs import TopicPartition
from fleet_chassis.logging import get_logger
from fleet_contracts import Topic

from .address import KafkaAddress
from .received import Record, UnreadableRecord, parse

__all__ = ["AIOKafkaConsumer", "AIOKafkaProducer", "ConsumerRecord", "TopicPartition", "errors"]

log = get_logger("fleet_bus.kafka")

_REQUEST_TIMEOUT_MS = 15_000
_STOP_TIMEOUT_S = 1.5
"""A broker that does not answer must not hold us; nothing is lost, for the inbox knows what was applied."""
_SAID_AGAIN_AFTER_S = 60.0
_SESSION_TIMEOUT_MS = 20_000
# What the client warns of and what is no news: another replica came or went; the URL says PLAIN without TLS, as the
# launcher's own does on this machine.
_ORDINARY = (
    "Heartbeat failed for group %s because it is rebalancing",
    "Sending username and password in the clear",
)
_LOST_ITS_PLACE = "Heartbeat failed: local member_id was not recognized"
_ANOTHER = "It has this service and ordinal, too, and takes what this one reads: end one of the two"

C = TypeVar("C", AIOKafkaConsumer, AIOKafkaProducer)

_closing: ContextVar[asyncio.Event | None] = ContextVar("closing", default=None)


@contextlib.contextmanager
def _life() -> Iterator[asyncio.Event]:
    """To be set when the client whose tasks begin in here is being closed."""
    before, closing = _closing.get(), asyncio.Event()
    _closing.set(closing)
    try:
        yield closing
    finally:
        _closing.set(before)


class _Seldom(logging.Handler):
    """The client's own log, each of its sentences at most once a minute: with a broker gone it says several a second.

    Of what it has asked when it is closed it cannot hear the answers: what it says of that is no warning. That its place
    is another's, for two processes have one name, it does not say at all."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._said_at: dict[tuple[str, bool], float] = {}
        self._lost_at: WeakKeyDictionary[asyncio.Event, float] = WeakKeyDictionary()

    def emit(self, record: logging.LogRecord) -> None:
        closing = _closing.get()
        sentence, is_last = str(record.msg), closing is not None and closing.is_set()
        now = time.monotonic()
        if closing is not None and sentence.startswith(_LOST_ITS_PLACE):
            # Who was silent for a session's time loses his place, too, but not so soon again.
            lost_at, self._lost_at[closing] = self._lost_at.get(closing, -1e9), now
            if now - lost_at < _SESSION_TIMEOUT_MS / 1000:
                sentence = _ANOTHER
        said = sentence, is_last
        if sentence.startswith(_ORDINARY) or now - self._said_at.get(said, -1e9) < _SAID_AGAIN_AFTER_S:
            return
        self._said_at[said] = now
        if sentence is _ANOTHER:
            log.error("another_process_of_this_name", text=sentence)
            return
        tell = log.info if is_last else log.warning
        tell("kafka_client_says", text=record.getMessage(), exc_info=record.exc_info)


def take_over_log() -> None:
    """Takes over the client's log, once."""
    logger = logging.getLogger("aiokafka")
    if not any(isinstance(handler, _Seldom) for handler in logger.handlers):
        logger.addHandler(_Seldom())
        logger.propagate = False


@contextlib.asynccontextmanager
async def started(client: C) -> AsyncIterator[C]:
    """The client started, and closed within a bound whatever state it and the broker are in."""
    take_over_log()
    with _life() as closing:
        try:
            await client.start()
            yield client
        finally:
            closing.set()
            if isinstance(client, AIOKafkaProducer):
                await _abandon(client)
            else:
                await _stop(client)


async def _stop(client: AIOKafkaConsumer) -> None:
    if not await _is_stopped(client):
        # Every request under way fails with its connection, and the client's tasks end.
        await client._client.close()


async def _is_stopped(client: AIOKafkaConsumer) -> bool:
    """Whether it came to its end within the bound.

    stop() may let out the cancellation of a task of its own. Nobody has cancelled us then: who reads would end for ever."""
    stopping = asyncio.create_task(client.stop())
    await asyncio.wait([stopping], timeout=_STOP_TIMEOUT_S)
    if not stopping.done() or stopping.cancelled():
        stopping.cancel()
        return False
    stopping.result()
    return True


async def _abandon(client: AIOKafkaProducer) -> None:
    """Closes a producer without stop(), whose flush would wait for ever in a task that nobody ends.

    What was not acknowledged is still in the outbox and will be sent by the next producer, and two must not send at
    once: an older version could come to lie behind a newer one. So a request that waits for a connection ends, too: it
    would go out as soon as it had one, however long after."""
    sending = client._sender.sender_task
    if sending is not None:
        sending.cancel()
    for task in asyncio.all_tasks():
        if _is_request_of(task, client._sender):
            task.cancel()
    await client.client.close()
    if sending is not None:
        await asyncio.wait([sending], timeout=_STOP_TIMEOUT_S)
    client._closed = True


def _is_request_of(task: asyncio.Task[object], sender: Sender) -> bool:
    """The sender keeps its requests to itself, as locals of its task."""
    running = task.get_coro()
    return (
        isinstance(running, CoroutineType)
        and running.cr_code is Sender._send_produce_req.__code__
        and running.cr_frame is not None
        and running.cr_frame.f_locals["self"] is sender
    )


@contextlib.asynccontextmanager
async def producer(kafka_url: str, client_id: str) -> AsyncIterator[AIOKafkaProducer]:
    """An idempotent producer; after any exception from it, close it and take a new one."""
    client = AIOKafkaProducer(
        **KafkaAddress.parse(kafka_url).for_aiokafka(),
        client_id=client_id,
        acks="all",
        enable_idempotence=True,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        max_batch_size=262_144,
        max_request_size=1_048_576,
    )
    async with started(client):
        yield client


def consumer(
    kafka_url: str, client_id: str, *, group: str | None = None, member: str | None = None
) -> AIOKafkaConsumer:
    """A consumer that commits only what it is told to and reads from the earliest offset where it has none."""
    return AIOKafkaConsumer(
        **KafkaAddress.parse(kafka_url).for_aiokafka(),
        client_id=client_id,
        group_id=group,
        group_instance_id=member,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        session_timeout_ms=_SESSION_TIMEOUT_MS,
        heartbeat_interval_ms=3_000,
        max_poll_interval_ms=600_000,
        request_timeout_ms=_REQUEST_TIMEOUT_MS,
        retry_backoff_ms=100,
        max_partition_fetch_bytes=1_048_576,
    )


def read(found: ConsumerRecord, prefix: str) -> Record | UnreadableRecord:
    """The record under its topic's own name, or why it cannot be read."""
    try:
        return parse(
            found.topic.removeprefix(prefix),
            found.partition,
            found.offset,
            key=found.key,
            value=found.value,
            raw=found.headers,
        )
    except UnreadableRecord as error:
        return error


def partitions_of(topics: Iterable[Topic], prefix: str) -> list[TopicPartition]:
    """All partitions of the topics, as Kafka names them."""
    return [TopicPartition(prefix + topic.name, number) for topic in topics for number in range(topic.partitions)]
