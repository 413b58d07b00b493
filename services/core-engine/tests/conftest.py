"""core-engine as it runs, once for each module of tests that asks for it."""

from collections.abc import AsyncIterator

import pytest
from fleet_testkit.fixtures import KafkaForTests, MakeDatabase
from running_core_engine import CoreEngine, running_core_engine


@pytest.fixture(scope="module")
async def core_engine(
    make_database: MakeDatabase, kafka: KafkaForTests, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[CoreEngine]:
    async with running_core_engine(tmp_path_factory.mktemp("core-engine"), make_database, kafka) as running:
        yield running
