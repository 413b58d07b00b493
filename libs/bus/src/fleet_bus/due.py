"""What time causes: rows of `due`, fired when their clock has come, each effect once."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from fleet_chassis.clock import Clock
from fleet_chassis.logging import get_logger

from .activity import Activity
from .applying import Opening
from .failures import is_down
from .settings import BusSettings
from .subscription import Due, DueKind

log = get_logger("fleet_bus.due")

_READ = """
SELECT aggregate_id, sequence, due_at FROM due
WHERE kind = $1 AND due_at <= $2 ORDER BY due_at, aggregate_id, sequence LIMIT $3
"""
_NEXT = "SELECT min(due_at) FROM due WHERE kind = $1"
_TAKE = """
DELETE FROM due USING unnest($2::text[], $3::bigint[]) AS taken (aggregate_id, sequence)
WHERE due.kind = $1 AND due.aggregate_id = taken.aggregate_id AND due.sequence = taken.sequence AND due.due_at <= $4
RETURNING due.aggregate_id, due.sequence, due.due_at
"""
_POSTPONE = """
UPDATE due SET attempts = attempts + 1, due_at = $4::timestamptz + least(power(2, attempts), 300) * interval '1 second'
WHERE kind = $1 AND aggregate_id = $2 AND sequence = $3 RETURNING attempts
"""


class DueRunner:
    """Fires the rows of one kind. Rows are read without a lock, the aggregates locked, then the row is deleted."""

    def __init__(
        self,
        settings: BusSettings,
        kind: DueKind,
        *,
        activity: Activity,
        open_transaction: Opening,
        clock: Clock,
        market_at: Callable[[], datetime | None],
    ) -> None:
        self.kind = kind
        self._settings = settings
        self._activity = activity
        self._open = open_transaction
        self._clock = clock
        self._market_at = market_at
        self._wake = asyncio.Event()

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            self._wake.clear()
            try:
                pause_s = await self._fire()
            except Exception as error:
                if not is_down(error):
                    raise
                log.warning("due_waits", kind=self.kind.kind, error=repr(error))
                pause_s = self._settings.backoff_first_s
            if pause_s > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._wake.wait()

    def _now(self) -> datetime | None:
        return self._clock.now() if self.kind.clock == "wall" else self._market_at()

    async def _fire(self) -> float:
        """Fires what is due; answers how long there is nothing to do, unless woken."""
        now = self._now()
        if now is None:
            return self._settings.due_poll_s
        async with self._open() as tx:
            rows = await tx.connection.fetch(_READ, self.kind.kind, now, self._settings.due_batch)
            next_at = None if rows else await tx.connection.fetchval(_NEXT, self.kind.kind)
        found = [Due(self.kind.kind, row["aggregate_id"], row["sequence"], row["due_at"]) for row in rows]
        if not found:
            if next_at is None or self.kind.clock == "market":
                return self._settings.due_poll_s
            wait_s: float = (next_at - now).total_seconds()
            return min(max(wait_s, 0.001), self._settings.due_poll_s)
        if self.kind.when is not None:
            found = [due for due in found if await self.kind.when(due)]
            if not found:
                return self._settings.backoff_first_s
        with self._activity.handling() if self.kind.counts_at_rest else contextlib.nullcontext():
            await self._handle(found, now)
        return 0.0

    async def _handle(self, found: Sequence[Due], now: datetime) -> None:
        try:
            await self._together(found, now)
        except Exception as error:
            if is_down(error):
                raise
            for due in found:
                await self._alone(due, now)

    async def _together(self, found: Sequence[Due], now: datetime) -> None:
        async with self._open() as tx:
            uow = self.kind.unit_of_work(tx)
            await uow.lock(sorted({identity for due in found for identity in self.kind.touches(due.aggregate_id)}))
            taken = await tx.connection.fetch(
                _TAKE, self.kind.kind, [due.aggregate_id for due in found], [due.sequence for due in found], now
            )
            still_there = {(row["aggregate_id"], row["sequence"]) for row in taken}
            for due in found:
                if (due.aggregate_id, due.sequence) in still_there:
                    await self.kind.handle(uow, due)
            await uow.flush()

    async def _alone(self, due: Due, now: datetime) -> None:
        try:
            await self._together([due], now)
        except Exception as error:
            if is_down(error):
                raise
            async with self._open() as tx:
                attempts = await tx.connection.fetchval(_POSTPONE, due.kind, due.aggregate_id, due.sequence, now)
            log.exception("due_row_failed", kind=due.kind, aggregate_id=due.aggregate_id, attempts=attempts)
            # By market time a postponed row may never come; it waits in this process instead.
            await asyncio.sleep(timedelta(seconds=self._settings.backoff_first_s).total_seconds())
