"""What was read: the last (epoch, sequence) applied per (subscription, writer, topic, key), kept with the effects."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import asyncpg
from fleet_chassis.database import columns

from .received import Record
from .transaction import Transaction

Place = tuple[str, str, str]

_READ = """
SELECT p.writer, p.topic, p.key, p.epoch, p.sequence, p.is_parked
FROM inbox_positions AS p
JOIN unnest($2::text[], $3::text[], $4::text[]) AS k (writer, topic, key) USING (writer, topic, key)
WHERE p.subscription = $1
ORDER BY p.writer, p.topic, p.key
FOR UPDATE OF p
"""
# Moves a position only from where it was believed to be.
_UPDATE = """
UPDATE inbox_positions AS p SET epoch = k.epoch, sequence = k.sequence, is_parked = k.is_parked
FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bool[], $8::bigint[], $9::bigint[],
            $10::bool[])
     AS k (writer, topic, key, epoch, sequence, is_parked, from_epoch, from_sequence, was_parked)
WHERE p.subscription = $1 AND p.writer = k.writer AND p.topic = k.topic AND p.key = k.key
  AND p.epoch = k.from_epoch AND p.sequence = k.from_sequence AND p.is_parked = k.was_parked
RETURNING 1
"""
# A key not seen before has no row to lock: whoever inserts second must do all of his again, also what the other had not
# got to, since he judged his records by a position that was not there.
_INSERT = """
INSERT INTO inbox_positions (subscription, writer, topic, key, epoch, sequence, is_parked)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bool[])
ON CONFLICT (subscription, writer, topic, key) DO NOTHING
RETURNING 1
"""
_PARK = """
INSERT INTO parked (subscription, topic, partition, record_offset, key, writer, type, event_id, epoch, sequence,
                    occurred_at, market_at, traceparent, payload, is_not_yet, reason, parked_at)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, coalesce($15::boolean, first.is_not_yet, true),
       $16, $17
FROM (SELECT) AS one LEFT JOIN LATERAL (
    SELECT p.is_not_yet FROM parked AS p
    WHERE p.subscription = $1 AND p.writer = $6 AND p.topic = $2 AND p.key = $5 ORDER BY p.epoch, p.sequence LIMIT 1
) AS first ON true
ON CONFLICT (subscription, writer, topic, key, epoch, sequence) DO NOTHING
"""


class Verdict(Enum):
    """What a record is to its reader."""

    APPLY = "apply"
    DUPLICATE = "duplicate"
    GAP = "gap"
    BEHIND_PARKED = "behind parked"


Number = tuple[int, int]


@dataclass(slots=True)
class _Position:
    number: Number | None
    is_parked: bool
    was: tuple[Number | None, bool]
    changed: bool = False


class KnownPlaces:
    """The positions that one reader has committed itself, so that it need not ask for them with each batch.

    Only a belief: another process may have moved them since, and then the write finds it out (Conflict) and all is
    forgotten. A parked key is never among them, for an operator may release it at any time."""

    MOST = 100_000

    def __init__(self) -> None:
        self._numbers: dict[Place, Number] = {}

    def get(self, place: Place) -> Number | None:
        return self._numbers.get(place)

    def learn(self, inbox: "Inbox") -> None:
        """After the commit of what was judged by these positions."""
        if len(self._numbers) > self.MOST:
            self._numbers.clear()
        for place, position in inbox.positions.items():
            if position.is_parked or position.number is None:
                self._numbers.pop(place, None)
            else:
                self._numbers[place] = position.number

    def forget(self) -> None:
        self._numbers.clear()


class Inbox:
    """The positions of one subscription for the keys of one batch, inside one transaction."""

    def __init__(self, subscription: str, positions: dict[Place, _Position]) -> None:
        self._subscription = subscription
        self.positions = positions

    @classmethod
    async def read(
        cls,
        connection: asyncpg.Connection,
        subscription: str,
        places: Iterable[Place],
        known: KnownPlaces | None = None,
    ) -> "Inbox":
        """Reads and locks the positions of these places, but for those that are known."""
        positions: dict[Place, _Position] = {}
        wanted: list[Place] = []
        for place in sorted(set(places)):
            number = known.get(place) if known else None
            if number is None:
                wanted.append(place)
                positions[place] = _Position(None, False, was=(None, False))
            else:
                positions[place] = _Position(number, False, was=(number, False))
        if wanted:
            for r in await connection.fetch(_READ, subscription, *columns(wanted, 3)):
                number = (r["epoch"], r["sequence"])
                place = (r["writer"], r["topic"], r["key"])
                positions[place] = _Position(number, r["is_parked"], was=(number, r["is_parked"]))
        return cls(subscription, positions)

    def judge(self, record: Record, *, is_gapless: bool) -> Verdict:
        """At or below is a duplicate; one above, or a higher epoch, is applied; further above is a gap.

        Where gaps are normal anything higher is applied. None yet: the baseline."""
        if self.positions[record.place].is_parked and not self._is_applied(record):
            return Verdict.BEHIND_PARKED
        return self.judge_parked(record, is_gapless=is_gapless)

    def judge_parked(self, record: Record, *, is_gapless: bool) -> Verdict:
        """The same for the first of a key's parked records, which has nothing before it to wait behind."""
        last = self.positions[record.place].number
        if self._is_applied(record):
            return Verdict.DUPLICATE
        if last is None or not is_gapless or record.epoch > last[0] or record.sequence == last[1] + 1:
            return Verdict.APPLY
        return Verdict.GAP

    def _is_applied(self, record: Record) -> bool:
        last = self.positions[record.place].number
        return last is not None and record.number <= last

    def advance(self, record: Record) -> None:
        position = self.positions[record.place]
        position.number = max(record.number, position.number or record.number)
        position.changed = True

    def set_parked(self, place: Place, is_parked: bool) -> None:
        position = self.positions[place]
        if position.is_parked == is_parked:
            return
        if position.number is None:
            # Nothing of this key was ever applied; (0, 0) is below every number.
            position.number = (0, 0)
        position.is_parked = is_parked
        position.changed = True

    def write(self, tx: Transaction) -> None:
        """Leaves what was applied to be stored with the transaction; it raises Conflict where another was faster."""
        moved: list[tuple[object, ...]] = []
        begun: list[tuple[object, ...]] = []
        for place, position in self.positions.items():
            if not position.changed or position.number is None:
                continue
            before, was_parked = position.was
            row = (*place, *position.number, position.is_parked)
            if before is None:
                begun.append(row)
            else:
                moved.append((*row, *before, was_parked))
        if moved:
            tx.write(_UPDATE, self._subscription, *columns(moved, 9), expects=len(moved))
        if begun:
            tx.write(_INSERT, self._subscription, *columns(begun, 6), expects=len(begun))


async def park(
    connection: asyncpg.Connection,
    subscription: str,
    record: Record,
    *,
    is_not_yet: bool | None,
    reason: str,
    now: datetime,
) -> None:
    """Sets a record aside, once. `is_not_yet` None: as the first of its key, behind (or, a gap filled, before) which it waits."""
    await connection.execute(
        _PARK,
        subscription,
        record.topic,
        record.partition,
        record.offset,
        record.key,
        record.writer,
        record.type,
        record.event_id,
        record.epoch,
        record.sequence,
        record.occurred_at,
        record.market_at,
        record.traceparent,
        record.payload or b"",
        is_not_yet,
        reason[:2000],
        now,
    )
