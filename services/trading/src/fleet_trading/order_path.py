"""Whether accepted orders leave for execution: while they do not, none is accepted."""

import asyncio

from fleet_bus import Bus
from fleet_bus.failures import Streak
from fleet_chassis.database import is_down
from fleet_chassis.logging import get_logger
from fleet_contracts.topics import TRADING_ORDER_COMMANDS

LOOK_EVERY_S = 0.1

log = get_logger("fleet_trading")


class OrderPath:
    """Knows how old the oldest unsent command is, to a tenth of a second; on live feeds only."""

    def __init__(self, bus: Bus, *, slow_after_s: float | None) -> None:
        """`slow_after_s` is None on a replay: there, the path is never slow."""
        self._bus = bus
        self._slow_after_s = slow_after_s
        self._age_s = 0.0

    def is_slow(self) -> bool:
        return self._slow_after_s is not None and self._age_s > self._slow_after_s

    async def watch(self) -> None:
        """Looks until cancelled."""
        down = Streak(first_s=LOOK_EVERY_S, most_s=LOOK_EVERY_S)
        while self._slow_after_s is not None:
            try:
                self._age_s = await self._bus.oldest_unsent_age_s(TRADING_ORDER_COMMANDS)
            except Exception as error:
                if not is_down(error):
                    raise
                # Without the database no order is accepted anyway.
                _, is_told = down.failed()
                if is_told:
                    log.warning("order_path_not_seen", error=repr(error))
            else:
                down.ended()
            await asyncio.sleep(LOOK_EVERY_S)
        await asyncio.Event().wait()
