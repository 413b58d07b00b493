"""Keys set aside: what an operator can do with them, also while messages of the key keep coming."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from counting_service import NUMBERS, Effects, Service, producing, record, work
from fleet_bus import NothingParked, NotYet, Received
from fleet_contracts.core_engine import SignalAccepted
from fleet_testkit.eventually import eventually

PLACE = ("reader.numbers", "numbers", "a")


class Moods:
    """A handler that fails on some numbers, as long as it is told to."""

    def __init__(self) -> None:
        self.bad: set[int] = set()
        self.not_yet: set[int] = set()

    async def __call__(self, uow: Effects, received: Received[SignalAccepted]) -> None:
        number = received.message.signal_id.int
        if number in self.bad:
            raise ValueError(str(number))
        if number in self.not_yet:
            raise NotYet(str(number))
        await record(uow, received)


async def test_a_replay_that_meets_a_not_yet_goes_on_by_itself_later(make_service: Any) -> None:
    reader, moods = await make_service("reader"), Moods()
    reader.bus.add(work(moods))
    moods.bad, moods.not_yet = {1}, {2}
    async with reader.running(), producing(reader) as produce:
        await produce(("a", 1, 1, 1), ("a", 2, 1, 2), ("a", 3, 1, 3))
        await eventually(lambda: _parked(reader, 3))
        moods.bad.clear()
        assert not await reader.bus.parked_replay(*PLACE, by="test")
        assert await reader.effects("a") == [1]
        assert [key.is_not_yet for key in await reader.bus.parked()] == [True]
        moods.not_yet.clear()
        await eventually(lambda: _effects_are(reader, [1, 2, 3]))


async def test_a_gap_that_was_given_up_is_accepted_by_a_replay_and_only_then(make_service: Any) -> None:
    reader = await make_service("reader")
    reader.bus.settings = replace(reader.bus.settings, not_yet_most_s=1.0)
    reader.bus.add(work())
    async with reader.running(), producing(reader) as produce:
        await produce(("a", 1, 1, 1), ("a", 3, 1, 3), ("a", 4, 1, 4), ("a", 6, 1, 6))
        await eventually(lambda: _parked(reader, 3))
        assert not await reader.bus.parked_replay(*PLACE, by="test")  # what is missing may still come
        await eventually(lambda: _is_given_up(reader))
        assert await reader.effects("a") == [1]
        assert not await reader.bus.parked_replay(*PLACE, by="test")  # stops at the second gap
        assert await reader.effects("a") == [1, 3, 4]
        await produce(("a", 5, 1, 5))
        await eventually(lambda: _effects_are(reader, [1, 3, 4, 5, 6]))


async def test_a_replay_loses_nothing_of_what_arrives_meanwhile(make_service: Any) -> None:
    reader, moods = await make_service("reader"), Moods()
    reader.bus.add(work(moods))
    moods.bad = {0}
    async with reader.running(), producing(reader) as produce:
        await produce(*(("a", n, 1, n + 1) for n in range(20)))
        await eventually(lambda: _parked(reader, 20))
        moods.bad.clear()
        arriving = asyncio.create_task(produce(*(("a", n, 1, n + 1) for n in range(20, 80))))
        while not arriving.done():
            if await reader.bus.parked():
                await reader.bus.parked_replay(*PLACE, by="test")
            else:
                await asyncio.sleep(0.001)
        await arriving
        await eventually(lambda: _replayed(reader, 80))
    assert await reader.effects("a") == list(range(80))


async def test_nobody_skips_or_replays_what_is_not_parked(make_service: Any) -> None:
    reader = await make_service("reader")
    reader.bus.add(work())
    for place in (PLACE, ("reader.nothing", "numbers", "a")):
        with pytest.raises(NothingParked):
            await reader.bus.parked_replay(*place, by="test")
        with pytest.raises(NothingParked):
            await reader.bus.parked_skip(*place, by="test", reason="none")


async def test_a_tombstone_behind_a_bad_record_is_no_message(make_service: Any, kafka: Any, prefix: str) -> None:
    """A work subscription of a compacted topic: what takes a key out waits its turn and tells the handlers nothing."""
    from fleet_bus.admin import create_topics

    users = replace(NUMBERS, name="users", compacted=True)
    await create_topics(kafka.url, [users], prefix=prefix)
    reader, writer, moods = await make_service("reader"), await make_service("writer"), Moods()
    reader.bus.add(work(moods, topic=users))
    moods.bad = {1}
    async with reader.running(), writer.running():
        await writer.send(("a", 1), topic=users)
        async with writer.bus.transaction() as tx:
            tx.publish_tombstone(users, "a")
        await writer.send(("a", 2), topic=users)
        await eventually(lambda: _parked(reader, 3))
        moods.bad.clear()
        assert await reader.bus.parked_replay("reader.numbers", "users", "a", by="test")
    assert await reader.effects("a") == [1, 2]


async def _parked(service: Service, messages: int) -> bool:
    return sum(key.messages for key in await service.bus.parked()) == messages


async def _is_given_up(service: Service) -> bool:
    return any(not key.is_not_yet for key in await service.bus.parked())


async def _effects_are(service: Service, wanted: list[int]) -> bool:
    return await service.effects("a") == wanted


async def _replayed(service: Service, count: int) -> bool:
    if await service.bus.parked():
        await service.bus.parked_replay(*PLACE, by="test")
    return len(await service.effects("a")) >= count
