"""What this process is doing at the moment, for whoever wants to know whether anything is on its way."""

import asyncio
import contextlib
from collections.abc import Iterator


class Activity:
    """Counts what is being handled, and wakes who waits for a change."""

    def __init__(self) -> None:
        self.busy = 0
        self.is_relaying = False
        self.version = 0
        self._changed = asyncio.Event()

    @contextlib.contextmanager
    def handling(self) -> Iterator[None]:
        self.busy += 1
        try:
            yield
        finally:
            self.busy -= 1
            self.touch()

    def touch(self) -> None:
        """Something that `/internal/rest` tells has changed."""
        self.version += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def wait_change(self, version: int, wait_ms: int) -> None:
        """Returns once `version` is not the latest and what moved has settled (nothing handled, nothing to send), at the
        latest after `wait_ms`: one answer a hop, and not one a move."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_ms / 1000):
                while self.version == version or self.busy or self.is_relaying:
                    await self._changed.wait()
