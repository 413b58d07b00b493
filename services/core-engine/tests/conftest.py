"""core-engine as it runs, once for each module of tests that asks for it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from fleet_bus import Bus
from fleet_chassis.database import Database
from fleet_core_engine.settings import Settings
from fleet_testkit.fixtures import KafkaForTests, MakeDatabase
from fleet_testkit.peers import Keys
from running_core_engine import CoreEngine, core_engine_at_rest


@pytest.fixture(scope="module")
async def core_engine(
    make_database: MakeDatabase, kafka: KafkaForTests, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[CoreEngine]:
    folder = tmp_path_factory.mktemp("core-engine")
    async with core_engine_at_rest(folder, make_database, kafka) as core_engine, core_engine.running():
        yield core_engine


@pytest.fixture
async def silent_bus(make_database: MakeDatabase, tmp_path: Path) -> AsyncIterator[tuple[Bus, Database]]:
    """A bus that sends nothing: transactions over the real tables, whose outbox the test reads."""
    url = await make_database("core-engine")
    keys = Keys.make(tmp_path, "core-engine")
    settings = Settings.model_validate(keys.settings("core-engine", url, "127.0.0.1:9"))
    async with Database(url, application_name="test") as database:
        yield Bus(settings, database), database
