"""Applies records: a batch in one transaction, and message by message where the batch failed."""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from fleet_chassis.logging import get_logger
from fleet_contracts import Message

from .failures import NotYet, is_down
from .glance import Glance
from .inbox import Inbox, KnownPlaces, Verdict, park
from .metrics import AGE_SECONDS, BATCH_SECONDS, DUPLICATES, HANDLED, PARKED
from .received import Received, Record, decode
from .settings import BusSettings
from .subscription import Live, UnitOfWork, Work
from .tracing import handling
from .transaction import Transaction

log = get_logger("fleet_bus.applying")

Opening = Callable[[], AbstractAsyncContextManager[Transaction]]
Places = dict[tuple[str, int], int]

_LIVE_POSITIONS = """
INSERT INTO live_positions (subscription, topic, partition, next_offset)
SELECT $1, * FROM unnest($2::text[], $3::int[], $4::bigint[])
ON CONFLICT (subscription, topic, partition) DO UPDATE SET next_offset = excluded.next_offset
"""


# So many records of no concern are read again at the most after a restart: a fraction of a second's work.
_MOST_PASSED = 1_000


class Applier:
    """One subscription's door to its use cases."""

    def __init__(
        self,
        settings: BusSettings,
        subscription: Work | Live,
        open_transaction: Opening,
        observe: Callable[[Transaction, Sequence[Received[Message]]], None],
    ) -> None:
        self.name = f"{settings.service}.{subscription.name}"
        self.topics = subscription.topics
        self.has_parked = True  # until the database has said otherwise
        self._settings = settings
        self._subscription = subscription
        self._open = open_transaction
        self._observe = observe
        self._is_live = isinstance(subscription, Live)
        self._passed = 0
        self._passed_places: Places = {}
        self._known = KnownPlaces()
        self._gapless = {topic.name: topic.is_gapless and not self._is_live for topic in subscription.topics}

    async def apply(self, records: Sequence[Record]) -> None:
        """Applies all of them, or sets aside what is bad. Raises only what is down, with nothing of the rest applied."""
        started = time.perf_counter()
        if isinstance(self._subscription, Live) and not self._is_worth_keeping(records, self._subscription.ours):
            return
        try:
            await self._together(records, self._known)
        except Exception as error:
            # Nothing is set aside on the word of what was only believed.
            self._known.forget()
            if is_down(error):
                raise
            if not isinstance(error, NotYet):
                log.warning("batch_failed", subscription=self.name, records=len(records), error=repr(error))
            for record in records:
                await self._alone(record)
        BATCH_SECONDS.labels(self.name).observe(time.perf_counter() - started)

    def _is_worth_keeping(self, records: Sequence[Record], ours: Glance[Any] | None) -> bool:
        """Whether something in the batch concerns us, or so much was passed that a restart would read too much again."""
        if ours is None:
            return True
        self._passed += len(records)
        if self._passed < _MOST_PASSED and not any(map(ours.concerns, records)):
            self._passed_places |= _places_after(records)
            return False
        self._passed = 0
        return True

    def forget(self) -> None:
        """The places may be another's now."""
        self._known.forget()
        self._passed_places.clear()

    async def _together(self, records: Sequence[Record], known: KnownPlaces | None = None) -> None:
        async with self._open() as tx:
            inbox = await Inbox.read(tx.connection, self.name, {record.place for record in records}, known)
            fresh: list[Received[Message]] = []
            for record in records:
                match inbox.judge(record, is_gapless=self._gapless[record.topic]):
                    case Verdict.DUPLICATE:
                        DUPLICATES.labels(self.name).inc()
                    case Verdict.BEHIND_PARKED:
                        await park(tx.connection, self.name, record, is_not_yet=None, reason="behind", now=tx.now)
                        self.has_parked = True
                    case Verdict.GAP:
                        await self._park(
                            tx, inbox, record, is_not_yet=True, reason="gap: a record before it is missing"
                        )
                    case Verdict.APPLY:
                        inbox.advance(record)
                        if record.payload is not None:  # a tombstone tells a work subscription nothing
                            fresh.append(decode(record))
            await self.handle(tx, fresh)
            if self._is_live:
                await self._keep_positions(tx, records)
            inbox.write(tx)
        self._known.learn(inbox)
        HANDLED.labels(self.name).inc(len(fresh))
        if fresh:
            AGE_SECONDS.labels(self.name).set((tx.now - min(r.occurred_at for r in fresh)).total_seconds())

    async def handle(self, tx: Transaction, fresh: Sequence[Received[Message]]) -> None:
        """Locks what the messages touch, then runs their use cases in order, then flushes."""
        handlers = self._subscription.handlers
        wanted = [received for received in fresh if type(received.message) in handlers]
        self._observe(tx, fresh)
        if not wanted:
            return
        uow: UnitOfWork = self._subscription.unit_of_work(tx)
        ids = {identity for received in wanted for identity in self._subscription.touches(received.message)}
        await uow.lock(sorted(ids))
        for received in wanted:
            with handling(f"{self.name} {type(received.message).__name__}", received.traceparent):
                await handlers[type(received.message)](uow, received)
        # What is published in flush() belongs to the whole batch; of a batch with one cause, to that.
        causes = {received.traceparent for received in wanted}
        with handling(f"{self.name} flush", causes.pop() if len(causes) == 1 else None):
            await uow.flush()

    async def _alone(self, record: Record) -> None:
        """One record in a transaction of its own: three tries, then it is set aside, or passed over on a live topic."""
        deadline = time.monotonic() + self._settings.not_yet_most_s
        tries = 0
        while True:
            try:
                return await self._together([record])
            except NotYet as missing:
                if not self._is_live:
                    return await self._set_aside(record, is_not_yet=True, reason=str(missing))
                if time.monotonic() > deadline:
                    return await self._pass_over(record, repr(missing))
                await asyncio.sleep(self._settings.backoff_first_s)
            except Exception as error:
                if is_down(error):
                    raise
                tries += 1
                if tries == self._settings.bad_tries:
                    log.exception("record_is_bad", subscription=self.name, type=record.type, key=record.key)
                    if self._is_live:
                        return await self._pass_over(record, repr(error))
                    return await self._set_aside(record, is_not_yet=False, reason=repr(error))

    async def _set_aside(self, record: Record, *, is_not_yet: bool, reason: str) -> None:
        async with self._open() as tx:
            inbox = await Inbox.read(tx.connection, self.name, [record.place])
            if inbox.judge(record, is_gapless=False) is not Verdict.DUPLICATE:
                await self._park(tx, inbox, record, is_not_yet=is_not_yet, reason=reason)
                inbox.write(tx)

    async def _park(self, tx: Transaction, inbox: Inbox, record: Record, *, is_not_yet: bool, reason: str) -> None:
        inbox.set_parked(record.place, True)
        await park(tx.connection, self.name, record, is_not_yet=is_not_yet, reason=reason, now=tx.now)
        self.has_parked = True
        PARKED.labels(self.name, "not_yet" if is_not_yet else "bad").inc()
        if not is_not_yet:
            log.error("key_parked", subscription=self.name, topic=record.topic, key=record.key, reason=reason)

    async def _pass_over(self, record: Record, reason: str) -> None:
        PARKED.labels(self.name, "passed_over").inc()
        log.error("record_passed_over", subscription=self.name, topic=record.topic, key=record.key, reason=reason)
        async with self._open() as tx:
            inbox = await Inbox.read(tx.connection, self.name, [record.place])
            if inbox.judge(record, is_gapless=False) is Verdict.APPLY:
                inbox.advance(record)
                inbox.write(tx)
            await self._keep_positions(tx, [record])

    async def _keep_positions(self, tx: Transaction, records: Sequence[Record]) -> None:
        # Also where nothing of ours has come for long: of that partition all would be read again.
        ends = self._passed_places | _places_after(records)
        tx.after_commit(self._passed_places.clear)
        places = sorted(ends)
        await tx.connection.execute(
            _LIVE_POSITIONS,
            self.name,
            [topic for topic, _ in places],
            [partition for _, partition in places],
            [ends[place] for place in places],
        )


def _places_after(records: Sequence[Record]) -> Places:
    return {(record.topic, record.partition): record.offset + 1 for record in records}
