"""Fixtures of the bus's tests."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from counting_service import BUS_MIGRATIONS, EFFECTS, NUMBERS, ProcessSettings, Service
from fleet_bus.admin import create_topics
from fleet_chassis.database import Database


@pytest.fixture
async def prefix(kafka: Any) -> str:
    found: str = kafka.unique("bus") + "."
    await create_topics(kafka.bootstrap, [NUMBERS], prefix=found)
    return found


@pytest.fixture
async def new_database(make_database: Any) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    async def make() -> str:
        url: str = await make_database([BUS_MIGRATIONS])
        async with Database(url, application_name="test") as database, database.connection() as connection:
            await connection.execute(EFFECTS)
        return url

    yield make


@pytest.fixture
async def make_service(kafka: Any, prefix: str, new_database: Any) -> AsyncIterator[Callable[..., Any]]:
    """`await make_service("writer")`: a service with its own database, not running yet; `url=` shares another's."""
    async with contextlib.AsyncExitStack() as stack:

        async def make(name: str, *, url: str | None = None, ordinal: int = 0, feed: str = "simulated") -> Service:
            settings = ProcessSettings(name, kafka.bootstrap, prefix, ordinal, feed)
            database = await stack.enter_async_context(Database(url or await new_database(), application_name=name))
            return Service(settings, database)

        yield make
