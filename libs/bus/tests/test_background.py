"""Background tasks end when they are asked to, and not without a word otherwise."""

import asyncio
from typing import Any

import pytest
from counting_service import work
from fleet_bus.bus import unending
from fleet_chassis.health import Health
from fleet_testkit.eventually import eventually


async def test_a_cancellation_of_nobodys_is_a_fault() -> None:
    async def lets_one_out() -> None:
        inner = asyncio.create_task(asyncio.sleep(60))
        inner.cancel()
        await inner

    with pytest.raises(RuntimeError, match="of nobody's"):
        await asyncio.create_task(unending(lets_one_out()))


async def test_a_cancellation_that_was_asked_for_is_none() -> None:
    task = asyncio.create_task(unending(asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_reader_that_ends_so_makes_the_process_dead(make_service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async def ends() -> None:
        raise asyncio.CancelledError

    service, health = await make_service("reader"), Health()
    service.bus.add(work())
    monkeypatch.setattr(service.bus._readings[0], "run", ends)
    async with service.bus.running(health):
        await eventually(lambda: "workers" in health.dead)
