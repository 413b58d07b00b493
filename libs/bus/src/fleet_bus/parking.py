"""Keys set aside: tried again while *not yet*, listed, replayed and skipped by an operator."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import asyncpg
from fleet_chassis.clock import Clock
from fleet_chassis.internal import NothingParked
from fleet_chassis.logging import get_logger
from fleet_contracts.audit import Change
from fleet_contracts.rest import ParkedKey
from fleet_contracts.topics import audit_topic

from .applying import Applier, Opening
from .auditing import tell_acted
from .failures import NotYet, is_down
from .inbox import Inbox, Place, Verdict
from .received import TOMBSTONE, Record, decode
from .settings import BusSettings

log = get_logger("fleet_bus.parking")

_FIRST = """
SELECT * FROM parked WHERE subscription = $1 AND writer = $2 AND topic = $3 AND key = $4
ORDER BY epoch, sequence LIMIT 1
"""
_PLACE = "subscription, writer, topic, key"
_FIRSTS_COLUMNS = f"{_PLACE}, is_not_yet, reason, parked_at"


def _firsts(condition: str) -> str:
    """Each parked key's first record, from one key to the next by the index: DISTINCT ON reads what waits behind it, too."""
    return f"""
WITH RECURSIVE firsts AS (
    (SELECT {_FIRSTS_COLUMNS} FROM parked AS p WHERE {condition} ORDER BY {_PLACE}, epoch, sequence LIMIT 1)
    UNION ALL
    SELECT p.* FROM firsts AS f CROSS JOIN LATERAL (
        SELECT {_FIRSTS_COLUMNS} FROM parked
        WHERE ({_PLACE}) > (f.subscription, f.writer, f.topic, f.key) ORDER BY {_PLACE}, epoch, sequence LIMIT 1
    ) AS p WHERE {condition}
)
"""  # noqa: S608  constant columns and conditions


NOT_YET = f"""{_firsts("p.subscription = $1")}
SELECT writer, topic, key, parked_at FROM firsts WHERE is_not_yet
"""  # noqa: S608  constant columns
LIST = f"""{_firsts("true")}
SELECT subscription, topic, key, is_not_yet, reason, (SELECT count(*) FROM (
           SELECT FROM parked AS p WHERE ({_PLACE}) = (f.subscription, f.writer, f.topic, f.key) LIMIT $1
       ) AS counted) AS messages
FROM firsts AS f ORDER BY {_PLACE}
"""  # noqa: S608  constant columns
_SKIP = """
WITH gone AS (DELETE FROM parked WHERE id = $1 RETURNING *)
INSERT INTO parked_skipped
SELECT id, subscription, topic, key, writer, type, event_id, epoch, sequence, payload, reason, $2, $3, $4 FROM gone
"""
_MARK = "UPDATE parked SET is_not_yet = $3, reason = $2, parked_at = $4 WHERE id = $1"
_LOOK_EVERY_S = 10.0


class Parking:
    """The parked keys of one work subscription."""

    def __init__(
        self,
        settings: BusSettings,
        applier: Applier,
        open_transaction: Opening,
        clock: Clock,
        hears: Callable[[], bool],
    ) -> None:
        """`hears`: whether this process hears of what may be waited for."""
        self._settings = settings
        self._hears = hears
        self._hears_since: datetime | None = None
        self._audit = audit_topic(settings.service)
        self._applier = applier
        self._gapless = {topic.name: topic.is_gapless for topic in applier.topics}
        self._open = open_transaction
        self._clock = clock

    async def run(self) -> None:
        """Tries every key marked *not yet* again each second, in order; what is not there after 60 s is bad.

        Of those seconds in which it could have come: not of a process, a database or a Kafka that was down."""
        idle_s = 0.0
        while True:
            await asyncio.sleep(self._settings.not_yet_retry_s)
            idle_s += self._settings.not_yet_retry_s
            if self._hears_since is None or not self._hears():
                self._hears_since = self._clock.now()
            if not self._applier.has_parked and idle_s < _LOOK_EVERY_S:
                continue
            idle_s = 0.0
            try:
                await self._retry(self._hears_since)
            except Exception as error:
                if not is_down(error):
                    raise
                self._hears_since = None
                log.warning("parked_retry_waits", subscription=self._applier.name, error=repr(error))

    async def _retry(self, hears_since: datetime) -> None:
        async with self._open() as tx:
            rows = await tx.connection.fetch(NOT_YET, self._applier.name)
        self._applier.has_parked = bool(rows)
        for row in rows:
            waited = self._clock.now() - max(row["parked_at"], hears_since)
            too_late = waited > timedelta(seconds=self._settings.not_yet_most_s)
            await self.release((row["writer"], row["topic"], row["key"]), gives_up=too_late)

    async def release(self, place: Place, *, gives_up: bool = False, accepts_gap: bool = False) -> bool:
        """Hands the key's records to their handlers in order; True when none is left.

        Of the first record, `gives_up`: *not yet* is bad now; `accepts_gap`: what is missing before it is given up for lost."""
        while True:
            try:
                if await self._release_first(place, accepts_gap=accepts_gap):
                    return True
            except NotYet as missing:
                if gives_up:
                    reason = f"not there after {self._settings.not_yet_most_s:g} s: {missing}"
                    await self._mark(place, reason, is_not_yet=False)
                else:
                    await self._mark(place, str(missing), is_not_yet=True)
                return False
            except Exception as error:
                if is_down(error):
                    raise
                log.exception("parked_record_is_bad", subscription=self._applier.name, topic=place[1], key=place[2])
                await self._mark(place, repr(error), is_not_yet=False)
                return False
            accepts_gap = gives_up = False

    async def replay(self, place: Place, *, by: str) -> bool:
        """Releases the key because somebody said so, over the gap that it may have waited at."""
        async with self._open() as tx:
            tell_acted(tx, self._audit, "parked.replayed", self._target(place), by=by)
        return await self.release(place, accepts_gap=True)

    async def skip(self, place: Place, *, by: str, reason: str) -> bool:
        """Drops the key's first record for ever (kept in `parked_skipped`) and releases the rest."""
        async with self._open() as tx:
            inbox = await Inbox.read(tx.connection, self._applier.name, [place])
            first = await self._first(tx.connection, place)
            if first is None:
                raise NothingParked
            record = _record(first)
            await tx.connection.execute(_SKIP, first["id"], by, reason, tx.now)
            inbox.advance(record)
            inbox.write(tx)
            dropped = Change(name=first["type"], before=str(first["event_id"]))
            tell_acted(tx, self._audit, "parked.skipped", self._target(place), dropped, by=by, reason=reason)
        log.warning("parked_record_skipped", subscription=self._applier.name, topic=place[1], by=by, reason=reason)
        return await self.release(place)

    async def _release_first(self, place: Place, *, accepts_gap: bool) -> bool:
        async with self._open() as tx:
            inbox = await Inbox.read(tx.connection, self._applier.name, [place])
            first = await self._first(tx.connection, place)
            if first is None:
                inbox.set_parked(place, False)
                inbox.write(tx)
                return True
            record = _record(first)
            # A gap is accepted only once it has been given up: what is still on its way would be lost.
            is_gapless = self._gapless[record.topic] and (first["is_not_yet"] or not accepts_gap)
            match inbox.judge_parked(record, is_gapless=is_gapless):
                case Verdict.GAP:
                    raise NotYet("gap: a record before it is missing")
                case Verdict.APPLY:
                    if record.payload is not None:
                        await self._applier.handle(tx, [decode(record)])
                    inbox.advance(record)
            await tx.connection.execute("DELETE FROM parked WHERE id = $1", first["id"])
            inbox.write(tx)
            return False

    def _target(self, place: Place) -> str:
        """For the audit log: which key, as `fleet parked list` shows it."""
        return f"{self._applier.name} {place[1]} {place[2]}"

    async def _first(self, connection: asyncpg.Connection, place: Place) -> asyncpg.Record | None:
        return await connection.fetchrow(_FIRST, self._applier.name, *place)

    async def _mark(self, place: Place, reason: str, *, is_not_yet: bool) -> None:
        """Says of the key's first record why it waits; a *not yet* that had not been one has its time from now on."""
        async with self._open() as tx:
            first = await self._first(tx.connection, place)
            if first is None or (first["is_not_yet"] and is_not_yet):
                return
            await tx.connection.execute(_MARK, first["id"], reason[:2000], is_not_yet, tx.now)
        if is_not_yet:
            self._applier.has_parked = True
        else:
            log.error("key_parked", subscription=self._applier.name, topic=place[1], key=place[2], reason=reason)


async def parked_keys(connection: asyncpg.Connection, *, counted_to: int | None = None) -> tuple[ParkedKey, ...]:
    """Every key set aside in this database, with its first record's reason; of each, messages are counted so far."""
    return tuple(
        ParkedKey(
            subscription=row["subscription"],
            topic=row["topic"],
            key=row["key"],
            is_not_yet=row["is_not_yet"],
            messages=row["messages"],
            reason=row["reason"],
        )
        for row in await connection.fetch(LIST, counted_to)
    )


def _record(row: asyncpg.Record) -> Record:
    return Record(
        topic=row["topic"],
        partition=row["partition"],
        offset=row["record_offset"],
        key=row["key"],
        writer=row["writer"],
        type=row["type"],
        event_id=row["event_id"],
        epoch=row["epoch"],
        sequence=row["sequence"],
        occurred_at=row["occurred_at"],
        market_at=row["market_at"],
        traceparent=row["traceparent"],
        payload=None if row["type"] == TOMBSTONE else row["payload"],
    )
