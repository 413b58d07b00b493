"""Rest is told only when nothing is on its way, wherever on its way a message stands."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from counting_service import NUMBERS, PASSED_ON, Effects, Service, number, record, work
from fleet_bus import Due, DueKind, Received
from fleet_bus.rest import RestVerdict, observing
from fleet_contracts.core_engine import SignalAccepted
from fleet_contracts.rest import Behind, RestPart
from fleet_contracts.topics import Reader, Reading
from fleet_testkit.eventually import eventually

SECOND = replace(PASSED_ON, readers=(Reader("last", Reading.WORK),))
FIRST = replace(NUMBERS, readers=(Reader("middle", Reading.WORK),))


@dataclass(frozen=True)
class Process:
    name: str
    ordinal: int
    service: Service


async def look(services: Sequence[Service], url: str, prefix: str, topics: Sequence[Any]) -> RestVerdict:
    processes = [Process(s.settings.service, s.settings.ordinal, s) for s in services]

    async def ask(process: Any, wait_ms: int, version: int) -> RestPart:
        part: RestPart = await process.service.bus.rest(wait_ms, version)
        return part

    async with observing(url, "observer", ask, lambda: processes, topics=topics, topic_prefix=prefix) as observer:
        return await observer.look()


async def test_never_at_rest_while_a_message_is_anywhere_on_its_way(make_service: Any, prefix: str, kafka: Any) -> None:
    """writer → middle → last; after every send the fleet is looked at until it says rest: then all effects are there."""
    writer, middle, last = [await make_service(name) for name in ("writer", "middle", "last")]

    async def pass_on(uow: Effects, received: Received[SignalAccepted]) -> None:
        await record(uow, received)
        uow.tx.publish(SECOND, received.key, received.message)

    middle.bus.add(work(pass_on, topic=FIRST))
    last.bus.add(work(topic=SECOND))
    topics = [FIRST, SECOND]
    processes = [Process(s.settings.service, 0, s) for s in (writer, middle, last)]

    async def ask(process: Any, wait_ms: int, version: int) -> RestPart:
        part: RestPart = await process.service.bus.rest(wait_ms, version)
        return part

    async with (
        writer.running(),
        middle.running(),
        last.running(),
        observing(kafka.url, "observer", ask, lambda: processes, topics=topics, topic_prefix=prefix) as observer,
    ):
        assert (await observer.wait_at_rest(20)).at_rest
        for sent in range(1, 60):
            await writer.send(*((f"k{n}", sent) for n in range(sent % 5 + 1)))
            verdict = await observer.wait_at_rest(20)
            assert verdict.at_rest, verdict
            expected = sum(n % 5 + 1 for n in range(1, sent + 1))
            assert len(await last.effects()) == expected


async def test_a_silent_process_a_due_row_and_a_parked_key_are_not_rest(
    make_service: Any, prefix: str, kafka: Any
) -> None:
    reader = await make_service("middle")
    broken = True

    async def fails(uow: Effects, received: Received[SignalAccepted]) -> None:
        if broken:
            raise ValueError("no")
        await record(uow, received)

    reader.bus.add(work(fails, topic=FIRST))
    writer = await make_service("writer")
    async with writer.running():
        verdict = await look([writer, reader], kafka.url, prefix, [FIRST])
        assert not verdict.at_rest
        assert any("does not read" in why for why in verdict.waiting_for)
        async with reader.running():
            await eventually(lambda: _at_rest([writer, reader], kafka, prefix))
            async with reader.bus.transaction() as tx:
                tx.schedule("nobody-handles", "x", 1, "wall", tx.now)
                tx.schedule("nobody-handles", "y", 1, "wall", tx.now + timedelta(hours=1))
            verdict = await look([writer, reader], kafka.url, prefix, [FIRST])
            assert verdict.waiting_for == ("middle-0 has 1 due rows",)
            async with reader.bus.transaction() as tx:
                tx.unschedule("nobody-handles", "x", 1)
            await writer.send(("a", 1))
            await eventually(lambda: _parked_for_good(reader))
            verdict = await look([writer, reader], kafka.url, prefix, [FIRST])
            assert not verdict.at_rest
            assert "numbers a: ValueError" in verdict.parked[0]


async def test_due_rows_fire_once_and_only_when_their_time_has_come(make_service: Any, new_database: Any) -> None:
    url = await new_database()
    replicas = [await make_service("middle", url=url, ordinal=n) for n in range(2)]

    async def fire(uow: Effects, due: Due) -> None:
        uow.rows.append((due.kind, int(due.aggregate_id), due.sequence))

    for replica in replicas:
        replica.bus.add(DueKind("bell", "wall", Effects, lambda identity: [identity], fire))
    async with replicas[0].running(), replicas[1].running():
        async with replicas[0].bus.transaction() as tx:
            for n in range(50):
                tx.schedule("bell", str(n), 1, "wall", tx.now + timedelta(milliseconds=n))
            tx.schedule("bell", "99", 1, "wall", tx.now + timedelta(hours=1))
        await eventually(lambda: _count(replicas[0], 50))
        assert sorted(await replicas[0].effects()) == list(range(50))


async def test_market_rows_wait_for_the_market(make_service: Any) -> None:
    reader = await make_service("reader")

    async def fire(uow: Effects, due: Due) -> None:
        uow.rows.append((due.kind, 7, due.sequence))

    reader.bus.add(work())
    reader.bus.add(DueKind("bell", "market", Effects, lambda identity: [identity], fire))
    writer = await make_service("writer")
    async with writer.running(), reader.running():
        async with reader.bus.transaction() as tx:
            opens = tx.now + timedelta(days=1)
            tx.schedule("bell", "x", 1, "market", opens)
        async with writer.bus.transaction() as tx:
            tx.publish(NUMBERS, "a", number(1), market_at=opens - timedelta(seconds=1))
        await eventually(lambda: _count(reader, 1))
        async with writer.bus.transaction() as tx:
            tx.publish(NUMBERS, "a", number(2), market_at=opens)
        await eventually(lambda: _count(reader, 3))
        assert await reader.effects("bell") == [7]


async def test_a_group_is_committed_once_and_a_failing_command_fails_alone(make_service: Any) -> None:
    service = await make_service("writer")
    groups: list[int] = []

    async def decide(uow: Effects, commands: Sequence[int]) -> list[int]:
        groups.append(len(commands))
        if any(command < 0 for command in commands):
            raise ValueError("below zero")
        for command in commands:
            uow.rows.append(("a", command, 0))
            uow.tx.publish(NUMBERS, "a", number(command))
        return [command * 2 for command in commands]

    async with service.running():
        committer = service.bus.group_committer(unit_of_work=Effects, touches=lambda c: ["a"], decide=decide)
        assert await committer.submit(4) == 8
        results = await asyncio.gather(*(committer.submit(n) for n in range(300)), return_exceptions=True)
        assert results == [n * 2 for n in range(300)]
        assert groups[0] == 1
        assert max(groups) <= 256
        assert len(groups) < 10
        mixed = await asyncio.gather(*(committer.submit(n) for n in (1, -1, 2)), return_exceptions=True)
        assert mixed[0] == 2
        assert isinstance(mixed[1], ValueError)
        assert mixed[2] == 4
    assert len(await service.effects()) == 1 + 300 + 2


async def _at_rest(services: Sequence[Service], kafka: Any, prefix: str) -> bool:
    return (await look(services, kafka.url, prefix, [FIRST])).at_rest


async def _parked_for_good(service: Service) -> bool:
    return any(not key.is_not_yet for key in await service.bus.parked())


async def _count(service: Service, wanted: int) -> bool:
    return len(await service.effects()) >= wanted


async def test_how_far_a_subscription_is_behind_is_told_until_it_has_caught_up(make_service: Any) -> None:
    reader, go_on = await make_service("reader"), asyncio.Event()

    async def waits(uow: Effects, received: Received[SignalAccepted]) -> None:
        await go_on.wait()
        await record(uow, received)

    async def behind() -> Behind | None:
        told: Behind | None = (await reader.bus.rest()).behind["reader.numbers"]
        return told

    async def has_caught_up() -> bool:
        return await behind() == Behind(records=0, seconds=0.0)

    async def is_waiting() -> Behind | None:
        told = await behind()
        return told if told is not None and told.records else None

    reader.bus.add(work(waits))
    async with reader.running():
        await eventually(has_caught_up, 20)
        await reader.send(*(("k", n) for n in range(5)))
        told = await eventually(is_waiting)
        assert told is not None
        assert 0 < told.records <= 5
        assert told.seconds is not None and 0 <= told.seconds < 30
        go_on.set()
        await eventually(has_caught_up)
        assert await reader.effects() == [0, 1, 2, 3, 4]
    assert await behind() is None, "who does not read knows nothing of it"
