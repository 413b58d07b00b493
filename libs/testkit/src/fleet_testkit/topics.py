"""Topics that are there as long as a test needs them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable

from fleet_bus.admin import admin_client, create_topics
from fleet_contracts import Topic


@contextlib.asynccontextmanager
async def topics_under(prefix: str, kafka_url: str, topics: Iterable[Topic]) -> AsyncIterator[None]:
    """Makes the topics under the prefix; when left, all that has come to be under it is deleted."""
    try:
        await create_topics(kafka_url, list(dict.fromkeys(topics)), prefix=prefix)
        yield
    finally:
        # All sessions of the checkout share one broker: with ten thousand partitions left behind it answers in seconds.
        async with admin_client(kafka_url) as admin:
            await admin.delete_topics([name for name in await admin.list_topics() if name.startswith(prefix)])
