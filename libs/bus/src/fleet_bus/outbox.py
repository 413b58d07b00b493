"""The relay: sends what committed transactions left in the outbox, in order, once per database at a time."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

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
from .failures import is_down
from .kafka import AIOKafkaProducer, producer
from .metrics import OUTBOX_FAILED, OUTBOX_SENT
from .received import Record, headers
from .settings import BusSettings

log = get_logger("fleet_bus.outbox")

# One relay per database: the holder of this advisory lock, on a connection of its own.
_LOCK = 0x0B05_0001
_PERMANENT = (MessageSizeTooLargeError, RecordTooLargeError, RecordListTooLargeError, InvalidTopicError)
_READ = "SELECT * FROM outbox ORDER BY id LIMIT $1"
_FAIL = """
WITH gone AS (DELETE FROM outbox WHERE id = $1 RETURNING *)
INSERT INTO outbox_failed SELECT gone.*, $2, $3 FROM gone
"""


class HeldTooLong(Exception):
    """The process stood still between reading rows and sending them: another relay may have sent them since."""


class Relay:
    """Woken after each commit of this process, and by itself every `relay_poll_s` for rows of other processes."""

    def __init__(self, settings: BusSettings, database: Database, clock: Clock, activity: Activity) -> None:
        self._settings = settings
        self._database = database
        self._clock = clock
        self._activity = activity
        self._wake = asyncio.Event()
        self.failed = 0
        self.holds_lock = False

    def wake(self) -> None:
        self._activity.is_relaying = self.holds_lock
        self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled; a lost connection or broker is waited out."""
        backoff = self._settings.backoff_first_s
        while True:
            try:
                async with self._lock() as connection:
                    backoff = self._settings.backoff_first_s
                    await self._relay(connection)
            except HeldTooLong:
                log.warning("relay_stood_still")
            except Exception as error:
                if not is_down(error):
                    raise
                log.warning("relay_waits", error=repr(error), backoff_s=backoff)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, self._settings.backoff_most_s)
            finally:
                self.holds_lock = self._activity.is_relaying = False

    async def drain(self, timeout_s: float) -> None:
        """Waits until the outbox is empty, so that what was answered is on its way before the process ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s), self._database.connection() as connection:
                while await connection.fetchval("SELECT count(*) FROM outbox"):
                    self.wake()
                    await asyncio.sleep(0.02)

    @contextlib.asynccontextmanager
    async def _lock(self) -> AsyncIterator[asyncpg.Connection]:
        # A stopped holder would keep the lock for ever; the server ends a session that is silent for 10 s.
        connection = await self._database.dedicated(idle_session_timeout="10s")
        try:
            while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
                await asyncio.sleep(self._settings.relay_poll_s)
            self.holds_lock = True
            yield connection
        finally:
            connection.terminate()

    async def _relay(self, connection: asyncpg.Connection) -> None:
        client_id = f"{self._settings.service}-{self._settings.ordinal}-relay"
        async with producer(self._settings.kafka_url, client_id) as client:
            self.failed = await connection.fetchval("SELECT count(*) FROM outbox_failed")
            while True:
                self._wake.clear()
                read_at = time.monotonic()
                rows = await connection.fetch(_READ, self._settings.relay_batch)
                if rows:
                    await self._send(connection, client, rows, read_at)
                if len(rows) < self._settings.relay_batch:
                    if self._activity.is_relaying and not self._wake.is_set():
                        self._activity.is_relaying = False
                        self._activity.touch()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._settings.relay_poll_s):
                            await self._wake.wait()

    async def _send(
        self,
        connection: asyncpg.Connection,
        client: AIOKafkaProducer,
        rows: Sequence[asyncpg.Record],
        read_at: float,
    ) -> None:
        """Sends rows in order and deletes, per partition, up to the first that was not acknowledged."""
        sent: list[tuple[asyncpg.Record, asyncio.Future[object]]] = []
        error: Exception | None = None
        async with asyncio.timeout(self._settings.send_deadline_s):
            for row in rows:
                if time.monotonic() - read_at > self._settings.relay_hold_s:
                    raise HeldTooLong
                sent.append((row, await self._hand_over(client, row)))
            await asyncio.wait([future for _, future in sent])
        acknowledged: list[int] = []
        stopped: set[tuple[str, int]] = set()
        for row, future in sent:
            place = (row["topic"], row["partition"])
            failure = future.exception()
            if place in stopped:
                continue
            if failure is None:
                acknowledged.append(row["id"])
            elif isinstance(failure, _PERMANENT):
                await self._set_aside(connection, row, failure)
            else:
                stopped.add(place)
                error = error or (failure if isinstance(failure, Exception) else KafkaError(repr(failure)))
        if time.monotonic() - read_at > self._settings.relay_hold_s and error is None and not acknowledged:
            raise HeldTooLong
        await connection.execute("DELETE FROM outbox WHERE id = ANY($1::bigint[])", acknowledged)
        OUTBOX_SENT.inc(len(acknowledged))
        if error is not None:
            raise error  # a new producer after any exception

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
