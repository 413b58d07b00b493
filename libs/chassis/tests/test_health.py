"""Live and ready, truthfully."""

import asyncio
import contextlib
from typing import Any

import pytest
from fleet_chassis.background import Background
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_testkit.eventually import eventually


async def test_ready_is_the_sum_of_its_checks() -> None:
    health = Health()
    reasons: list[str | None] = [None]

    async def database() -> str | None:
        return reasons[-1]

    health.check("database", database)
    health.check("kafka", lambda: None)
    assert await health.readiness() == {"database": "ok", "kafka": "ok"}
    reasons.append("no answer")
    assert await health.readiness() == {"database": "no answer", "kafka": "ok"}


async def test_a_check_that_fails_or_hangs_is_not_ok(caplog: pytest.LogCaptureFixture) -> None:
    health = Health(check_timeout_s=0.05)

    async def hangs() -> None:
        await asyncio.Event().wait()

    def fails() -> str | None:
        raise ValueError

    health.check("hangs", hangs)
    health.check("fails", fails)
    assert await health.readiness() == {"hangs": "no answer within 0.05 s", "fails": "ValueError"}


@pytest.mark.parametrize("way", ["raises", "returns"])
async def test_a_background_task_that_ends_is_a_death(way: str) -> None:
    health = Health()
    told: list[bool] = []
    health.on_death(lambda: told.append(True))

    async def work() -> None:
        if way == "raises":
            raise LookupError

    async with Background(health) as background:
        background.start("relay", work())
        await eventually(lambda: told)
    assert set(health.dead) == {"relay"}
    assert (await health.readiness())["relay"].startswith("died: ")


async def test_a_background_task_that_is_cancelled_is_no_death() -> None:
    health = Health()
    async with Background(health) as background:
        task = background.start("relay", asyncio.Event().wait())
    assert task.cancelled()
    assert health.dead == {}


async def test_a_background_task_that_swallows_a_cancellation_ends_all_the_same() -> None:
    async def work() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async with asyncio.timeout(5), Background(Health(), cancels_again_after_s=0.01) as background:
        task = background.start("relay", work())
        await asyncio.sleep(0)
    assert task.cancelled()


async def test_a_database_that_is_gone_is_not_ready(make_database: Any) -> None:
    async with Database(await make_database([]), application_name="test") as database:
        assert await database.check() is None
    assert await database.check() == "the database is not open"
