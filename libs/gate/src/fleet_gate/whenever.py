"""How a gate does what it must: on being told, and again until the database has taken it."""

import asyncio
from collections.abc import Awaitable, Callable

from fleet_bus import Bus
from fleet_bus.failures import Streak, is_down
from fleet_chassis.logging import get_logger

RETRY_S = 0.5

log = get_logger("fleet_gate")


async def whenever(
    told: asyncio.Event, act: Callable[[], Awaitable[None]], bus: Bus, *, waits: str = "cancel_waits"
) -> None:
    """Acts each time that `told` is set, and clears it before; runs until cancelled. Needs the database alone: what was
    done is told when Kafka can carry it. `waits` is logged when the database is away."""
    while True:
        await told.wait()
        told.clear()
        # Also while it waits to be done again: it is on its way, so nothing is at rest.
        with bus.activity.handling():
            await _until_done(act, waits)


async def _until_done(act: Callable[[], Awaitable[None]], waits: str) -> None:
    down = Streak(first_s=RETRY_S, most_s=RETRY_S)
    while True:
        try:
            return await act()
        except Exception as error:
            if not is_down(error):
                raise
            pause_s, is_told = down.failed()
            if is_told:
                log.warning(waits, error=repr(error))
            await asyncio.sleep(pause_s)
