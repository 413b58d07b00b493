"""Waits for the fleet to be at rest on behalf of a replay, and notes what it waits for."""

from collections.abc import Callable
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


class ReplayRest:
    """`has_come` is asked before a phase is begun; nothing is locked meanwhile."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self.looks: LooksForRest | None = None
        self._database = database
        self._now = now
        self._parked: dict[UUID, tuple[str, ...]] = {}
        self._stalled: set[UUID] = set()
        self._waiting_since: dict[UUID, datetime] = {}

    async def has_come(self, due: Due) -> bool:
        """Whether the phase may begin: the fleet is at rest, or never will be for a parked key."""
        if self.looks is None:
            return False
        replay_id = UUID(due.aggregate_id)
        verdict = await self.looks.wait_at_rest(LOOK_S, moved="exchange-connector")
        if verdict.at_rest or verdict.parked:
            self._parked[replay_id] = verdict.parked
            self._waiting_since.pop(replay_id, None)
            self._stalled.discard(replay_id)
            return True
        now = self._now()
        is_stalled = now - self._waiting_since.setdefault(replay_id, now) >= STALLED_AFTER
        status = ReplayStatus.STALLED if is_stalled else ReplayStatus.RUNNING
        if is_stalled and replay_id not in self._stalled:
            self._stalled.add(replay_id)
            log.warning("replay_stalled", replay_id=str(replay_id), waiting_for=verdict.waiting_for)
        async with self._database.connection() as connection:
            await replays.note_waiting(connection, replay_id, status, verdict.waiting_for, now)
        return False

    def found(self, replay_id: UUID) -> Rest:
        """What the look that let the phase begin has seen."""
        return Rest(self._parked.pop(replay_id, ()))
