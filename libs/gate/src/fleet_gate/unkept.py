"""What was heard and is obeyed already, until the database has it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from fleet_bus import Bus
from fleet_bus.failures import is_down

from .whenever import whenever

T = TypeVar("T")


class Unkept(Generic[T]):
    """The newest of each key; `keep` writes them, each key once, and is tried again while the database is away. `held` is
    what is obeyed now of the same as one that is told."""

    def __init__(self, keep: Callable[[Sequence[T]], Awaitable[None]], held: Callable[[T], T]) -> None:
        self._keep = keep
        self._held = held
        self._heard: dict[str, T] = {}
        self._has_heard = asyncio.Event()

    def add(self, key: str, heard: T) -> None:
        self._heard[key] = heard
        self._has_heard.set()

    async def keep(self, key: str, told: T) -> T:
        """Writes what is held of it at once, for whoever tells it directly waits, and answers with it. What fails is told to
        him and tried again all the same: Kafka's record of it, if it comes, is nothing new then."""
        held = self._held(told)
        try:
            await self._keep([held])
        except Exception as error:
            if is_down(error):
                self.add(key, self._held(told))  # by now it may be another, that waits already
            raise
        return held

    async def run(self, bus: Bus, *, waits: str) -> None:
        """Runs until cancelled; `waits` is logged when the database does not take them."""
        await whenever(self._has_heard, self._write, bus, waits=waits)

    async def _write(self) -> None:
        heard = dict(self._heard)
        if heard:
            await self._keep(list(heard.values()))
        for key, one in heard.items():
            if self._heard[key] is one:
                del self._heard[key]
