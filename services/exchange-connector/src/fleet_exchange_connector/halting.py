"""The last gate takes out what is open, by itself: on each halt, and at the start where one holds."""

import asyncio
from collections.abc import Sequence

from fleet_bus import Bus
from fleet_bus.failures import Streak, is_down
from fleet_chassis.logging import get_logger
from fleet_gate import Gate

from fleet_exchange_connector.service.orders import cancel_halted
from fleet_exchange_connector.store.unit_of_work import BOOK, Opening

RETRY_S = 0.5

log = get_logger("fleet_exchange_connector.halting")


async def cancel_when_halted(bus: Bus, gate: Gate, unit_of_work: Opening, symbols: Sequence[str]) -> None:
    """Needs the database alone: what it did is told when Kafka can carry it."""
    down = Streak(first_s=RETRY_S, most_s=RETRY_S)
    while True:
        await gate.has_halt.wait()
        gate.has_halt.clear()
        try:
            with bus.activity.handling():
                for symbol in symbols:
                    async with bus.transaction() as tx:
                        work = unit_of_work(tx)
                        await work.lock([BOOK + symbol])
                        cancel_halted(work, symbol)
                        await work.flush()
        except Exception as error:
            if not is_down(error):
                raise
            gate.has_halt.set()
            pause_s, is_told = down.failed()
            if is_told:
                log.warning("halt_waits", error=repr(error))
            await asyncio.sleep(pause_s)
        else:
            down = Streak(first_s=RETRY_S, most_s=RETRY_S)
