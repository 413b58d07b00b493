"""pytest's fixtures for the real stack; the root conftest.py loads this module as a plugin."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from fleet_launcher.stack import Endpoints, up

from fleet_testkit.databases import TestDatabases
from fleet_testkit.stack import TEST_STATE, test_stack

MakeDatabase = Callable[[str | Sequence[Path]], Awaitable[str]]


@dataclass(frozen=True)
class KafkaForTests:
    """The broker that all test sessions share: whoever makes a topic or group takes a name of his own for it."""

    url: str

    def unique(self, name: str) -> str:
        return f"{name}-{secrets.token_hex(4)}"


@pytest.fixture(scope="session")
def stack() -> Iterator[Endpoints]:
    """Kafka, PostgreSQL and Valkey, as URLs."""
    with test_stack() as endpoints:
        yield endpoints


@pytest.fixture(scope="session")
def native_stack() -> Endpoints:
    """The stack of the checkout whatever FLEET_TEST_STACK asks for, for whom its parts must ask who he is."""
    return up(TEST_STATE)


@pytest.fixture(scope="session")
def kafka(stack: Endpoints) -> KafkaForTests:
    return KafkaForTests(stack.kafka_url)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def make_database(stack: Endpoints) -> AsyncIterator[MakeDatabase]:
    """`await make_database("trading")`, or with a list of migration folders: the URL of a fresh database."""
    databases = TestDatabases(stack.postgres_url)
    yield databases.make
    await databases.drop_all()
