"""How long orders wait while a load runs: the age of the oldest command as it is taken up."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

EVERY_S = 0.5
_SERVICES = ("trading", "execution", "exchange-connector")
_AGE = re.compile(
    r'^fleet_(?:outbox_age_seconds|bus_age_seconds\{subscription="[a-z.-]*commands"\}) (\S+)$', re.MULTILINE
)


@dataclass(slots=True)
class Ages:
    """The oldest at each look: unsent in the database of a service, or when it was taken from Kafka."""

    seen_s: list[float] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """Seconds, and how many of the looks found it younger than one."""
        younger = sum(age < 1 for age in self.seen_s)
        return {
            "oldest_command_max_s": round(max(self.seen_s, default=0.0), 2),
            "looks": len(self.seen_s),
            "looks_younger_than_1_s": younger,
        }


@contextlib.asynccontextmanager
async def watched(session: aiohttp.ClientSession, description: Mapping[str, Any]) -> AsyncIterator[Ages]:
    """Looks at the metrics of all that hand commands on, until the block ends."""
    urls = [one["url"] + "/metrics" for name in _SERVICES for one in description["services"][name]["instances"]]
    ages = Ages()

    async def look(url: str) -> list[float]:
        async with session.get(url) as answer:
            return [float(age) for age in _AGE.findall(await answer.text())]

    async def watch() -> None:
        while True:
            found = await asyncio.gather(*map(look, urls))
            ages.seen_s.append(max((age for one in found for age in one), default=0.0))
            await asyncio.sleep(EVERY_S)

    task = asyncio.create_task(watch())
    try:
        yield ages
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
