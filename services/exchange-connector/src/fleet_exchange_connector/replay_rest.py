"""Waits for the fleet to be at rest on behalf of a replay, and notes what it waits for."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from fleet_bus import Bus, Due
from fleet_bus.rest import Ask, Asked, RestVerdict, asking
from fleet_chassis.calls import ServiceClient
from fleet_chassis.database import Database
from fleet_chassis.logging import get_logger
from fleet_contracts.rest import RestPart

from fleet_exchange_connector.domain.replays import STALLED_AFTER, ReplayStatus
from fleet_exchange_connector.service.replays import Rest
from fleet_exchange_connector.store import replays

LOOK_S = 1.0
"""How long one look waits; then what is waited for is noted."""

log = get_logger("fleet_exchange_connector.replay")


class LooksForRest(Protocol):
    """The observer of the fleet, or a test that says itself when all is at rest."""

    async def wait_at_rest(self, timeout_s: float, *, moved: str | None = None) -> RestVerdict: ...


def asking_all(bus: Bus, client: ServiceClient) -> Ask:
    """How a process is asked for its part of rest: this one directly, the others by an internal call."""
    own, ask_other = (bus.settings.service, bus.settings.ordinal), asking(client)

    async def ask(process: Asked, wait_ms: int, version: int) -> RestPart:
        if (process.name, process.ordinal) == own:
            return await bus.rest(wait_ms, version)
        return await ask_other(process, wait_ms, version)

    return ask


@dataclass(slots=True)
class _Wait:
    """For one phase of a replay, by the place of its due row: where another process has begun it, the wait is over."""

    place: tuple[str, int]
    since: datetime
    is_stalled: bool = False


class ReplayRest:
    """`has_come` is asked before a phase is begun; nothing is locked meanwhile."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self.looks: LooksForRest | None = None
        self._database = database
        self._now = now
        self._parked: tuple[str, ...] = ()
        self._wait: _Wait | None = None

    async def has_come(self, due: Due) -> bool:
        """Whether the phase may begin: the fleet is at rest, or never will be for a parked key."""
        if self.looks is None:
            return False
        verdict = await self.looks.wait_at_rest(LOOK_S, moved="exchange-connector")
        if verdict.at_rest or verdict.parked:
            self._parked, self._wait = verdict.parked, None
            return True
        now = self._now()
        place = due.aggregate_id, due.sequence
        if self._wait is None or self._wait.place != place:
            self._wait = _Wait(place, now)
        wait = self._wait
        if not wait.is_stalled and now - wait.since >= STALLED_AFTER:
            wait.is_stalled = True
            log.warning("replay_stalled", replay_id=due.aggregate_id, waiting_for=verdict.waiting_for)
        status = ReplayStatus.STALLED if wait.is_stalled else ReplayStatus.RUNNING
        async with self._database.connection() as connection:
            await replays.note_waiting(connection, UUID(due.aggregate_id), status, verdict.waiting_for, now)
        return False

    def found(self) -> Rest:
        """What the look that let the phase begin has seen."""
        return Rest(self._parked)
