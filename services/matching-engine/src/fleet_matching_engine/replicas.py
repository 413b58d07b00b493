"""The other instances of this service: each keeps the books of its own partitions, and answers for them."""

import asyncio

from fleet_chassis.calls import Answer, CallFailed, ServiceClient

SERVICE = "matching-engine"
_NOT_HERE = 503


class Replicas:
    """Those besides the instance `ordinal`."""

    def __init__(self, client: ServiceClient, ordinal: int, *, timeout_s: float) -> None:
        self._client = client
        self._ordinal = ordinal
        self._timeout_s = timeout_s

    async def book(self, symbol: str, depth: int) -> Answer | None:
        """What the instance that keeps the book answers, the first that does; None: none is there that keeps it."""
        path = f"/internal/books/{symbol.replace('/', '-')}?depth={depth}"
        others = [one.ordinal for one in self._client.instances.of(SERVICE) if one.ordinal != self._ordinal]
        asking = [asyncio.create_task(self._ask(ordinal, path)) for ordinal in others]
        try:
            for asked in asyncio.as_completed(asking):
                answer = await asked
                if answer is not None:
                    return answer
        finally:
            for task in asking:
                task.cancel()
        return None

    async def _ask(self, ordinal: int, path: str) -> Answer | None:
        try:
            answer = await self._client.request(SERVICE, ordinal, "GET", path, timeout_s=self._timeout_s)
        except CallFailed:
            return None
        return None if answer.status == _NOT_HERE else answer
