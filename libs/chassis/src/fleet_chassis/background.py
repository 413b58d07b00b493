"""Tasks that run as long as the process; one that dies takes the process down, for the supervisor to start anew."""

import asyncio
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

from .health import Health


class Background:
    """Runs tasks inside an `async with` block and cancels them at its end.

    `background.start("relay", relay.run())`: whether it raises or just returns, an end that nobody asked for is told
    to the health, which ends the process.
    """

    def __init__(self, health: Health, *, cancels_again_after_s: float = 10.0) -> None:
        self._health = health
        self._cancels_again_after_s = cancels_again_after_s
        self._tasks: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> Self:
        return self

    def start(self, name: str, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Starts the task."""
        task = asyncio.create_task(work, name=name)
        self._tasks.append(task)
        self._health.watch(name, task)
        return task

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        running = {task for task in self._tasks if not task.done()}
        while running:
            for task in running:
                task.cancel()
            # A library that swallows a cancellation (as asyncio.wait_for of Python 3.11 may) would keep the process from
            # ending. Later than any orderly end takes, so that it disturbs none.
            _, running = await asyncio.wait(running, timeout=self._cancels_again_after_s)
        # The errors of those that died are told by the health already.
        await asyncio.gather(*self._tasks, return_exceptions=True)
