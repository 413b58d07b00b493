"""Fixtures of the bus's tests."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import structlog
from counting_service import BUS_MIGRATIONS, EFFECTS, NUMBERS, PASSED_ON, ProcessSettings, Service
from fleet_chassis.database import Database
from fleet_contracts.topics import audit_topic
from fleet_testkit.topics import topics_under


@pytest.fixture(autouse=True, scope="session")
def plain_logs() -> None:
    """structlog's own default draws every exception with all its variables, which takes a second each."""
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])


@pytest.fixture
async def prefix(kafka: Any) -> AsyncIterator[str]:
    found: str = kafka.unique("bus") + "."
    async with topics_under(found, kafka.url, [NUMBERS, PASSED_ON, audit_topic("reader")]):
        yield found


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
            settings = ProcessSettings(name, kafka.url, prefix, ordinal, feed)
            database = await stack.enter_async_context(Database(url or await new_database(), application_name=name))
            return Service(settings, database)

        yield make


@pytest.fixture
async def spawn(kafka: Any, prefix: str) -> AsyncIterator[Callable[..., Any]]:
    """`await spawn(url, step="after commit", after=2)`: counting_process.py, running (or another `program`); killed at the latest
    with the test."""
    running: list[asyncio.subprocess.Process] = []

    async def start(
        url: str, *, step: str = "never", after: int = 1, program: str = "counting_process.py", **more: Any
    ) -> asyncio.subprocess.Process:
        told = {"url": url, "kafka": kafka.url, "prefix": prefix, "step": step, "after": after, **more}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(Path(__file__).with_name(program)),
            json.dumps(told),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.returncode is None:
            process.kill()
            await process.wait()
