"""What was heard from Kafka and is obeyed already, until the database has it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from fleet_bus import Bus

from .whenever import whenever

T = TypeVar("T")


class Unkept(Generic[T]):
    """The newest of each key; `keep` writes them, each key once, and is tried again while the database is away."""

    def __init__(self, keep: Callable[[Sequence[T]], Awaitable[None]]) -> None:
        self._keep = keep
        self._heard: dict[str, T] = {}
        self._has_heard = asyncio.Event()

    def add(self, key: str, heard: T) -> None:
        self._heard[key] = heard
        self._has_heard.set()

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
