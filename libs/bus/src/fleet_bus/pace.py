"""Turns that are taken as they come, and under load no more often than so: more is then done in each of them."""

import asyncio
import time


class Pace:
    """A few turns may follow each other at once, after them one every `every_s`. Who comes seldom never waits.

    A transaction, a produce and a fetch cost much the same for one record as for ten. Where they are shared, the
    machine is left to the others, and all are done sooner."""

    def __init__(self, every_s: float, at_once: int) -> None:
        self._every_s = every_s
        self._lead_s = every_s * at_once
        self._next_at = float("-inf")

    async def turn(self) -> None:
        """Returns when the next turn may be taken."""
        if (wait_s := self.take(time.monotonic())) > 0:
            await asyncio.sleep(wait_s)

    def take(self, now: float) -> float:
        """Takes the next turn; how long to wait for it. `now` in seconds."""
        self._next_at = max(self._next_at, now - self._lead_s) + self._every_s
        return self._next_at - now
