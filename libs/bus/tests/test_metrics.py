"""What operators are told of lag and age: how much waits and how old it is, and zero once nothing waits."""

import asyncio
from dataclasses import replace
from typing import Any

from counting_service import NUMBERS, Effects, Service, record, work
from fleet_bus import Bus, Received
from fleet_chassis.health import Health
from fleet_contracts.core_engine import SignalAccepted
from fleet_testkit.eventually import eventually
from prometheus_client import REGISTRY


async def test_lag_and_age_tell_of_what_waits_and_are_zero_when_nothing_does(make_service: Any) -> None:
    reader, go_on = await make_service("reader"), asyncio.Event()
    reader.bus.settings = replace(reader.bus.settings, max_batch=1)

    async def waits(uow: Effects, received: Received[SignalAccepted]) -> None:
        if received.message.signal_id.int:
            await go_on.wait()
        await record(uow, received)

    reader.bus.add(work(waits))
    writer = await make_service("writer")
    await writer.send(*(("k", n) for n in range(3)))
    await age_by_a_minute(writer)
    async with writer.running():
        await eventually(lambda: _is_sent(writer.bus), 20)
    async with reader.running():
        # The first is handled, the second is in hand, and the third behind it.
        await eventually(lambda: told("fleet_bus_age_seconds") >= 60, 20)
        await eventually(lambda: told("fleet_bus_lag_records") == 2)
        go_on.set()
        await eventually(lambda: told("fleet_bus_lag_records") == 0)
        await eventually(lambda: told("fleet_bus_age_seconds") == 0)
        assert await reader.effects() == [0, 1, 2]


async def test_the_age_of_the_outbox_is_that_of_its_oldest_row_until_it_is_sent(make_service: Any) -> None:
    writer = await make_service("writer")
    await writer.send(("a", 1))
    await age_by_a_minute(writer)
    unreachable = Bus(replace(writer.settings, kafka_url="127.0.0.1:1"), writer.database)
    async with unreachable.running(Health()):
        await eventually(outbox_age_s)
        assert outbox_age_s() >= 60
    back = Bus(writer.settings, writer.database)
    async with back.running(Health()):
        await eventually(lambda: _is_sent(back), 20)
        await eventually(lambda: outbox_age_s() == 0)


def told(metric: str) -> float:
    return REGISTRY.get_sample_value(metric, {"subscription": "reader.numbers"}) or 0.0


def outbox_age_s() -> float:
    return REGISTRY.get_sample_value("fleet_outbox_age_seconds") or 0.0


async def _is_sent(bus: Bus) -> bool:
    return await bus.oldest_unsent_age_s(NUMBERS) == 0


async def age_by_a_minute(service: Service) -> None:
    async with service.database.connection() as connection:
        await connection.execute("UPDATE outbox SET occurred_at = occurred_at - interval '1 minute'")
