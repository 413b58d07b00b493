"""States that were told to the gates while core-engine was away, by `fleet halt`: taken over, so that they are known and
can be released here."""

import asyncio

from fleet_bus import Bus
from fleet_chassis.database import Database, is_down
from fleet_chassis.logging import get_logger
from fleet_gate import StateGates

from . import service
from .store.states import PostgresStateUnitOfWork, current_states

log = get_logger("fleet_core_engine")


async def adopt_told(bus: Bus, database: Database, gates: StateGates, *, every_s: float) -> None:
    """At the start, and again every `every_s`."""
    while True:
        try:
            await adopt_once(bus, database, gates)
        except Exception as error:
            if not is_down(error):
                raise
            log.warning("states_not_adopted", error=repr(error))
        await asyncio.sleep(every_s)


async def adopt_once(bus: Bus, database: Database, gates: StateGates) -> None:
    obeyed = await gates.obeyed()
    if not obeyed:
        return
    async with database.connection() as connection:
        ours = {(one.scope, one.target): (one.epoch, one.version) for one in await current_states(connection)}
    for change in obeyed:
        if (change.epoch, change.version) > ours.get((change.scope, change.target), (-1, 0)):
            async with bus.transaction() as tx:
                if await service.adopt(PostgresStateUnitOfWork(tx), change):
                    log.warning("state_adopted", scope=change.scope, target=change.target, state=change.state)
