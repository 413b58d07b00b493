"""A process killed between any two steps, started again: every effect is there once and in order."""

import asyncio
import random
import signal
from typing import Any

import pytest
from counting_service import PASSED_ON, Service, number, work
from fleet_testkit.eventually import eventually

KEYS = ("a", "b", "c")


async def a_chain(make_service: Any, new_database: Any) -> tuple[Service, Service, Service, str]:
    """writer, middle and last, and the database of the middle, whose processes are spawned."""
    url = await new_database()
    places = (("writer", None), ("middle", url), ("last", None))
    writer, middle, last = [await make_service(name, url=place) for name, place in places]
    last.bus.add(work(topic=PASSED_ON))
    return writer, middle, last, url


async def send_in_pieces(writer: Service, start: int, count: int) -> None:
    """Several transactions, so that a reader gets several batches."""
    for n in range(start, start + count):
        await writer.send(*((key, n) for key in KEYS))
        await asyncio.sleep(0)


async def ready(process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    assert await asyncio.wait_for(process.stdout.readline(), 30) == b"ready\n"


async def all_arrived(service: Service, count: int) -> bool:
    return len(await service.effects()) >= count * len(KEYS)


async def assert_exactly_once(middle: Service, last: Service, count: int) -> None:
    for service in (middle, last):
        for key in KEYS:
            assert await service.effects(key) == list(range(count))


async def test_killed_between_any_two_steps(make_service: Any, new_database: Any, spawn: Any) -> None:
    """writer → middle (killed) → last: before COMMIT, after COMMIT before the offset, after the send before the delete."""
    writer, middle, last, url = await a_chain(make_service, new_database)
    sent = 0
    async with writer.running(), last.running():
        for step in ("before commit", "after commit", "after send"):
            await send_in_pieces(writer, sent, 15)
            sent += 15
            killed = await spawn(url, step=step)
            assert await asyncio.wait_for(killed.wait(), 30) == -signal.SIGKILL
        again = await spawn(url)
        await ready(again)
        await eventually(lambda: all_arrived(last, sent), timeout_s=40)
        again.terminate()
        assert await asyncio.wait_for(again.wait(), 10) == 0
    await assert_exactly_once(middle, last, sent)


@pytest.mark.long
async def test_killed_again_and_again_under_load(make_service: Any, new_database: Any, spawn: Any) -> None:
    """Twelve kills at random steps while messages flow."""
    writer, middle, last, url = await a_chain(make_service, new_database)
    chance = random.Random(7)
    sent = 0
    async with writer.running(), last.running():
        for _ in range(12):
            step = chance.choice(["before commit", "after commit", "after send"])
            killed = await spawn(url, step=step, after=chance.randint(1, 4))
            while killed.returncode is None:
                await send_in_pieces(writer, sent, 1)
                sent += 1
                await asyncio.sleep(0.02)
        again = await spawn(url)
        await ready(again)
        await eventually(lambda: all_arrived(last, sent), timeout_s=60)
        again.terminate()
        assert await asyncio.wait_for(again.wait(), 10) == 0
    await assert_exactly_once(middle, last, sent)


@pytest.mark.long
async def test_a_stopped_relay_is_replaced_and_does_no_harm_when_it_wakes(
    make_service: Any, new_database: Any, spawn: Any
) -> None:
    """Its lock goes with its session, which the server ends after 10 silent seconds; then another sends."""
    writer, middle, last, url = await a_chain(make_service, new_database)
    holder = await spawn(url, ordinal=0)
    await ready(holder)
    async with writer.running(), last.running():
        await send_in_pieces(writer, 0, 20)
        await eventually(lambda: all_arrived(last, 20), timeout_s=30)
        # Another replica, which only relays: reading would need the stopped one's partitions.
        other = await spawn(url, ordinal=1, reads=False)
        holder.send_signal(signal.SIGSTOP)
        try:
            async with middle.bus.transaction() as tx:
                for key in KEYS:
                    tx.publish(PASSED_ON, key, number(20))
            started = asyncio.get_running_loop().time()
            await eventually(lambda: all_arrived(last, 21), timeout_s=20)
            assert asyncio.get_running_loop().time() - started < 15
        finally:
            holder.send_signal(signal.SIGCONT)
        await send_in_pieces(writer, 21, 20)
        await eventually(lambda: _numbers_of(last, 40), timeout_s=40)
        for process in (holder, other):
            process.terminate()
            assert await asyncio.wait_for(process.wait(), 10) == 0
    for key in KEYS:
        assert await last.effects(key) == list(range(41))


async def _numbers_of(service: Service, highest: int) -> bool:
    return all([highest in await service.effects(key) for key in KEYS])
