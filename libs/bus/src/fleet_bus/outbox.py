"""The relay: sends what committed transactions left in the outbox, in order, once per database at a time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

import asyncpg
from aiokafka.errors import (
    InvalidTopicError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RecordTooLargeError,
)
from fleet_chassis.clock import Clock
from fleet_chassis.database import Database
from fleet_chassis.logging import get_logger

from .activity import Activity
from .failures import Streak, is_down
from .kafka import AIOKafkaProducer, producer
from .metrics import OUTBOX_AGE_SECONDS, OUTBOX_FAILED, OUTBOX_SENT
from .received import Record, headers
from .settings import BusSettings

log = get_logger("fleet_bus.outbox")

# One relay per database: the holder of this advisory lock, on a connection of its own.
_LOCK = 0x0B05_0001
# By which a replica that does not hold it says that it has committed; in no transaction, so it holds up nobody.
_CHANNEL = "outbox"
_PERMANENT = (MessageSizeTooLargeError, RecordTooLargeError, RecordListTooLargeError, InvalidTopicError)
_READ = "SELECT * FROM outbox ORDER BY id LIMIT $1"
_DELETE = "DELETE FROM outbox WHERE id = ANY($1::bigint[])"
# Both in one round trip; the SELECT still sees what the DELETE takes away.
_DELETE_AND_READ = """
WITH gone AS (DELETE FROM outbox WHERE id = ANY($1::bigint[]))
SELECT * FROM outbox WHERE id <> ALL($1::bigint[]) ORDER BY id LIMIT $2
"""
_FAIL = """
WITH gone AS (DELETE FROM outbox WHERE id = $1 RETURNING *)
INSERT INTO outbox_failed SELECT gone.*, $2, $3 FROM gone
"""


class Relay:
    """Woken after each commit, of this process or another on its database, and by itself every `relay_poll_s`."""

    def __init__(self, settings: BusSettings, database: Database, clock: Clock, activity: Activity) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._activity = activity
        self._wake = asyncio.Event()
        self._kafka = Streak(first_s=settings.backoff_first_s, most_s=settings.backoff_most_s)
        self._oldest_at: datetime | None = None
        self.failed = 0
        self.holds_lock = False
        OUTBOX_AGE_SECONDS.set_function(lambda: self.oldest_age_s)

    @property
    def oldest_age_s(self) -> float:
        """How long the first row that this relay still has to send has been waiting; 0 if none."""
        return 0.0 if self._oldest_at is None else max((self._clock.now() - self._oldest_at).total_seconds(), 0.0)

    def ready(self) -> str | None:
        """For readiness: None, or why what is committed does not get out."""
        if self.failed:
            return f"{self.failed} outbox rows are refused by Kafka"
        if self.oldest_age_s > self._settings.silent_after_s:
            return f"the outbox has not been sent for {self.oldest_age_s:.0f} s"
        return None

    def wake(self) -> None:
        self._activity.is_relaying = self.holds_lock
        self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled; a lost connection or broker is waited out."""
        while True:
            try:
                async with self._lock() as connection:
                    await self._relay(connection)
            except Exception as error:
                if not is_down(error):
                    raise
                pause_s, is_told = self._kafka.failed()
                if is_told:
                    log.warning("relay_waits", error=repr(error))
                await asyncio.sleep(pause_s)
            finally:
                self.holds_lock = self._activity.is_relaying = False

    async def drain(self, timeout_s: float) -> None:
        """Waits until the outbox is empty, so that what was answered is on its way before the process ends.

        Does not wait for a Kafka or database known to be gone: the rows are kept."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._database.connection() as connection:
                while not self._kafka.count and await connection.fetchval("SELECT count(*) FROM outbox"):
                    self.wake()
                    await asyncio.sleep(0.02)

    @contextlib.asynccontextmanager
    async def _lock(self) -> AsyncIterator[asyncpg.Connection]:
        # A stopped holder would keep the lock for ever; the server ends a session that is silent for 10 s.
        # What it deletes need not survive a crash of the server: it would be sent again and dropped by its number.
        connection = await self._database.dedicated(idle_session_timeout="10s", synchronous_commit="off")
        try:
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                self._oldest_at = None  # another's to send, and to tell
                await self._pause(self._settings.relay_poll_s)
                if self._wake.is_set():
                    self._wake.clear()
                    await connection.execute("SELECT pg_notify($1, '')", _CHANNEL)
            await connection.add_listener(_CHANNEL, self._notified)
            self.holds_lock = True
            yield connection
        finally:
            connection.terminate()

    def _notified(self, *_: object) -> None:
        self.wake()

    async def _pause(self, most_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(most_s):
                await self._wake.wait()

    async def _relay(self, connection: asyncpg.Connection) -> None:
        self.failed = await connection.fetchval("SELECT count(*) FROM outbox_failed")
        OUTBOX_FAILED.set(self.failed)
        self._oldest_at = await connection.fetchval("SELECT min(occurred_at) FROM outbox")
        client_id = f"{self._settings.service}-{self._settings.ordinal}-relay"
        async with producer(self._settings.kafka_url, client_id) as client:
            sent: list[int] = []
            while True:
                self._wake.clear()
                read_at = time.monotonic()
                if sent:
                    rows = await connection.fetch(_DELETE_AND_READ, sent, self._settings.relay_batch)
                else:
                    rows = await connection.fetch(_READ, self._settings.relay_batch)
                self._oldest_at = rows[0]["occurred_at"] if rows else None
                sent = await self._send(connection, client, rows, read_at) if rows else []
                if self._kafka.ended():
                    log.info("relay_goes_on")
                if not rows:
                    if self._activity.is_relaying and not self._wake.is_set():
                        self._activity.is_relaying = False
                        self._activity.touch()
                    await self._pause(self._settings.relay_poll_s)

    async def _send(
        self,
        connection: asyncpg.Connection,
        client: AIOKafkaProducer,
        rows: Sequence[asyncpg.Record],
        read_at: float,
    ) -> list[int]:
        """Sends rows in order; answers which may be deleted, per partition up to the first that was not acknowledged."""
        sent: list[tuple[asyncpg.Record, asyncio.Future[object]]] = []
        error: Exception | None = None
        try:
            async with asyncio.timeout(self._settings.send_deadline_s):
                for row in rows:
                    if time.monotonic() - read_at > self._settings.relay_hold_s:
                        # After standing still, another relay may have sent them; slow as it may be, this session has the lock.
                        await connection.execute("SELECT")
                        read_at = time.monotonic()
                    sent.append((row, await self._hand_over(client, row)))
                await asyncio.wait([future for _, future in sent])
        except TimeoutError as late:
            # What was acknowledged in time is done with, or a slow round would never get ahead.
            error = late
        acknowledged: list[int] = []
        stopped: set[tuple[str, int]] = set()
        for row, future in sent:
            place = (row["topic"], row["partition"])
            failure = future.exception() if future.done() else error
            if place in stopped:
                continue
            if failure is None:
                acknowledged.append(row["id"])
            elif isinstance(failure, _PERMANENT):
                await self._set_aside(connection, row, failure)
            else:
                stopped.add(place)
                error = error or (failure if isinstance(failure, Exception) else KafkaError(repr(failure)))
        OUTBOX_SENT.inc(len(acknowledged))
        if error is not None:
            await connection.execute(_DELETE, acknowledged)
            raise error  # a new producer after any exception
        return acknowledged

    async def _hand_over(self, client: AIOKafkaProducer, row: asyncpg.Record) -> asyncio.Future[object]:
        record = Record(
            topic=row["topic"],
            partition=row["partition"],
            offset=-1,
            key=row["key"],
            writer=self._settings.service,
            type=row["type"],
            event_id=row["event_id"],
            epoch=row["epoch"],
            sequence=row["sequence"],
            occurred_at=row["occurred_at"],
            market_at=row["market_at"],
            traceparent=row["traceparent"],
            payload=row["payload"],
        )
        try:
            future: asyncio.Future[object] = await client.send(
                self._settings.topic_prefix + record.topic,
                value=record.payload,
                key=record.key.encode(),
                partition=record.partition,
                headers=headers(record),
            )
        except _PERMANENT as error:
            future = asyncio.get_running_loop().create_future()
            future.set_exception(error)
        return future

    async def _set_aside(self, connection: asyncpg.Connection, row: asyncpg.Record, failure: BaseException) -> None:
        log.error("outbox_row_failed", topic=row["topic"], key=row["key"], outbox_id=row["id"], error=repr(failure))
        await connection.execute(_FAIL, row["id"], repr(failure), self._clock.now())
        self.failed += 1
        OUTBOX_FAILED.set(self.failed)
