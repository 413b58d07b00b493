"""What time causes: rows of `due`, fired when their clock has come, each effect once."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from fleet_chassis.clock import Clock
from fleet_chassis.logging import get_logger

from .activity import Activity
from .applying import Opening
from .failures import Streak, is_down
from .settings import BusSettings
from .subscription import Due, DueKind

log = get_logger("fleet_bus.due")

# Those that are due, or else the one that will be next.
_READ = """
SELECT aggregate_id, sequence, due_at FROM due WHERE kind = $1 ORDER BY due_at, aggregate_id, sequence LIMIT $2
"""
_TAKE = """
DELETE FROM due USING unnest($2::text[], $3::bigint[]) AS taken (aggregate_id, sequence)
WHERE due.kind = $1 AND due.aggregate_id = taken.aggregate_id AND due.sequence = taken.sequence AND due.due_at <= $4
RETURNING due.aggregate_id, due.sequence, due.due_at
"""
# A wall row is put off. A market row stays due, so that a replay does not go on without it, and waits in this process.
_POSTPONE = """
UPDATE due SET attempts = attempts + 1,
    due_at = CASE clock WHEN 'wall' THEN $4::timestamptz + $5::interval * power(2, least(attempts, 8)) ELSE due_at END
WHERE kind = $1 AND aggregate_id = $2 AND sequence = $3 RETURNING attempts
"""
_PUT_OFF = timedelta(seconds=1)


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
        self._next_at: datetime | None = None
        self._down = Streak(first_s=settings.backoff_first_s, most_s=1.0)

    def scheduled(self, due_at: datetime) -> None:
        """A row of this kind was committed; only one that comes before all that is known is worth a look."""
        if self._next_at is None or due_at < self._next_at:
            self._wake.set()

    def time_moved(self, now: datetime) -> None:
        """The market's clock went on."""
        if self._next_at is not None and now >= self._next_at:
            self._wake.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            self._wake.clear()
            try:
                pause_s = await self._fire()
                if self._down.ended():
                    log.info("due_goes_on", kind=self.kind.kind)
            except Exception as error:
                if not is_down(error):
                    raise
                pause_s, is_told = self._down.failed()
                if is_told:
                    log.warning("due_waits", kind=self.kind.kind, error=repr(error))
                await asyncio.sleep(pause_s)
                continue
            if pause_s > 0:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._wake.wait()

    def _now(self) -> datetime | None:
        return self._clock.now() if self.kind.clock == "wall" else self._market_at()

    async def _fire(self) -> float:
        """Fires what is due; answers how long there is nothing to do, unless woken."""
        self._next_at = None
        async with self._open() as tx:
            rows = await tx.connection.fetch(_READ, self.kind.kind, self.kind.batch)
        now = self._now()
        found = [
            Due(self.kind.kind, row["aggregate_id"], row["sequence"], row["due_at"])
            for row in rows
            if now is not None and row["due_at"] <= now
        ]
        if not found or now is None:
            if rows and not self._wake.is_set():
                self._next_at = rows[0]["due_at"]
            return self._until_next(now)
        if self.kind.when is not None:
            found = [due for due in found if await self.kind.when(due)]
            if not found:
                return self._settings.backoff_first_s
        with self._activity.handling() if self.kind.counts_at_rest else contextlib.nullcontext():
            return await self._handle(found, now)

    def _until_next(self, now: datetime | None) -> float:
        if now is None or self._next_at is None or self.kind.clock == "market":
            return self._settings.due_poll_s
        wait_s: float = (self._next_at - now).total_seconds()
        return min(max(wait_s, 0.001), self._settings.due_poll_s)

    async def _handle(self, found: Sequence[Due], now: datetime) -> float:
        try:
            await self._together(found, now)
        except Exception as error:
            if is_down(error):
                raise
            attempts = [await self._alone(due, now) for due in found]
            if self.kind.clock == "market" and any(attempts):
                return min(self._settings.backoff_first_s * 2.0 ** max(attempts), self._settings.backoff_most_s)
        return 0.0

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

    async def _alone(self, due: Due, now: datetime) -> int:
        """One row in a transaction of its own; how often it has failed by now."""
        try:
            await self._together([due], now)
        except Exception as error:
            if is_down(error):
                raise
            async with self._open() as tx:
                attempts: int | None = await tx.connection.fetchval(
                    _POSTPONE, due.kind, due.aggregate_id, due.sequence, now, _PUT_OFF
                )
            log.exception("due_row_failed", kind=due.kind, aggregate_id=due.aggregate_id, attempts=attempts)
            return min(attempts or 0, 20)
        return 0
