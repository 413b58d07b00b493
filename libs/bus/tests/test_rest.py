"""Rest is told only when nothing is on its way, wherever on its way a message stands."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import pytest
from counting_service import NUMBERS, PASSED_ON, Effects, Service, number, record, work
from fleet_bus import Due, DueKind, GroupCommitter, Live, NotYet, Received
from fleet_bus.admin import create_topics
from fleet_bus.rest import RestVerdict, observing
from fleet_contracts.core_engine import SignalAccepted
from fleet_contracts.rest import Behind, RestPart
from fleet_contracts.topics import Reader, Reading
from fleet_testkit.eventually import eventually

FIRST = replace(NUMBERS, readers=(Reader("middle", Reading.WORK),))
SECOND = replace(PASSED_ON, readers=(Reader("strategy", Reading.LIVE),))
SHOWN = replace(NUMBERS, name="shown", compacted=True, retention=None, readers=(Reader("data", Reading.TABLE),))


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
    """writer → middle (work) → strategy (live, with effects) → data (table); after every send the fleet is looked at until
    it says rest: then all effects are there, and the table shows the last of them."""
    await create_topics(kafka.url, [SHOWN], prefix=prefix)
    services = [await make_service(name) for name in ("writer", "middle", "strategy", "data")]
    writer, middle, strategy, data = services

    async def pass_on(uow: Effects, received: Received[SignalAccepted]) -> None:
        await record(uow, received)
        uow.tx.publish(SECOND, received.key, received.message)

    async def show(uow: Effects, received: Received[SignalAccepted]) -> None:
        await record(uow, received)
        uow.tx.publish(SHOWN, received.key, received.message)

    middle.bus.add(work(pass_on, topic=FIRST))
    strategy.bus.add(Live("live", (SECOND,), Effects, {SignalAccepted: show}, lambda message: []))
    shown = data.bus.table(SHOWN, SignalAccepted)
    processes = [Process(s.settings.service, 0, s) for s in services]

    async def ask(process: Any, wait_ms: int, version: int) -> RestPart:
        part: RestPart = await process.service.bus.rest(wait_ms, version)
        return part

    topics = [FIRST, SECOND, SHOWN]
    async with contextlib.AsyncExitStack() as stack:
        for service in services:
            await stack.enter_async_context(service.running())
        observer = await stack.enter_async_context(
            observing(kafka.url, "observer", ask, lambda: processes, topics=topics, topic_prefix=prefix)
        )
        assert (await observer.wait_at_rest(20)).at_rest
        for sent in range(1, 60):
            keys = [f"k{n}" for n in range(sent % 5 + 1)]
            await writer.send(*((key, sent) for key in keys))
            verdict = await observer.wait_at_rest(20)
            assert verdict.at_rest, verdict
            expected = sum(n % 5 + 1 for n in range(1, sent + 1))
            assert len(await strategy.effects()) == expected
            assert [message and message.signal_id.int for message in map(shown.get, keys)] == [sent] * len(keys)


@dataclass
class Held:
    """One message on its way from `writer` to `middle`, that can be held at each place it passes."""

    writer: Service
    middle: Service
    committer: GroupCommitter[int, int]
    group_may_go: asyncio.Event
    hand_may_go: asyncio.Event
    is_there: bool = True
    """What the message needs; while it is not, it is *not yet*."""

    def let_go(self) -> None:
        self.group_may_go.set()
        self.hand_may_go.set()
        self.is_there = True


@contextlib.asynccontextmanager
async def in_a_group(held: Held) -> AsyncIterator[str]:
    held.group_may_go.clear()
    asking = asyncio.create_task(held.committer.submit(1))
    async with held.writer.running(), held.middle.running():
        yield "writer-0 is handling something"
        held.let_go()
        await asking


@contextlib.asynccontextmanager
async def in_the_outbox(held: Held) -> AsyncIterator[str]:
    async with held.middle.running():
        await held.committer.submit(1)
        yield "writer-0 has 1 outbox rows to send"
        async with held.writer.running():
            await eventually(lambda: _count(held.middle, 1))


@contextlib.asynccontextmanager
async def sent_and_not_deleted(held: Held) -> AsyncIterator[str]:
    async with held.writer.database.connection() as connection, held.middle.running():
        await held.committer.submit(1)
        async with connection.transaction():
            await connection.fetch("SELECT FROM outbox FOR UPDATE")  # so that the relay cannot delete it
            async with held.writer.running():
                await eventually(lambda: _count(held.middle, 1), 20)
                yield "writer-0 has 1 outbox rows to send"
        async with held.writer.running():
            await eventually(lambda: _is_sent(held.writer))


@contextlib.asynccontextmanager
async def in_kafka(held: Held) -> AsyncIterator[str]:
    await held.committer.submit(1)
    async with held.writer.running():
        await eventually(lambda: _is_sent(held.writer), 20)
        yield "middle does not read numbers"
        async with held.middle.running():
            await eventually(lambda: _count(held.middle, 1))


@contextlib.asynccontextmanager
async def in_hand(held: Held) -> AsyncIterator[str]:
    held.hand_may_go.clear()
    async with held.writer.running(), held.middle.running():
        await eventually(lambda: _knows_its_places(held.middle), 20)
        await held.committer.submit(1)
        await eventually(lambda: held.middle.bus.activity.busy)
        await eventually(lambda: _is_sent(held.writer))
        yield "middle is 1 records behind in numbers"
        held.let_go()


@contextlib.asynccontextmanager
async def not_yet(held: Held) -> AsyncIterator[str]:
    held.is_there = False
    async with held.writer.running(), held.middle.running():
        await held.committer.submit(1)
        await eventually(held.middle.bus.parked, 20)
        yield "parked: middle.numbers numbers a: the instrument"
        held.let_go()


@pytest.mark.parametrize("place", [in_a_group, in_the_outbox, sent_and_not_deleted, in_kafka, in_hand, not_yet])
async def test_a_message_held_at_a_place_is_not_rest(place: Any, make_service: Any, prefix: str, kafka: Any) -> None:
    writer, middle = await make_service("writer"), await make_service("middle")

    async def decide(uow: Effects, commands: Sequence[int]) -> list[int]:
        await held.group_may_go.wait()
        for command in commands:
            uow.tx.publish(FIRST, "a", number(command))
        return list(commands)

    async def handle(uow: Effects, received: Received[SignalAccepted]) -> None:
        await held.hand_may_go.wait()
        if not held.is_there:
            raise NotYet("the instrument")
        await record(uow, received)

    committer = writer.bus.group_committer(unit_of_work=Effects, touches=lambda c: ["a"], decide=decide)
    held = Held(writer, middle, committer, asyncio.Event(), asyncio.Event())
    held.let_go()
    middle.bus.add(work(handle, topic=FIRST))
    async with place(held) as why:
        # What else was on its way when it was first looked at (a client that finds its place) comes to an end.
        await eventually(lambda: _waits_only_for(why, [writer, middle], kafka.url, prefix), 20)
    async with writer.running(), middle.running():
        await eventually(lambda: _at_rest([writer, middle], kafka, prefix), 20)
        assert await middle.effects() == [1]


async def _waits_only_for(why: str, services: Sequence[Service], url: str, prefix: str) -> bool:
    verdict = await look(services, url, prefix, [FIRST])
    assert not verdict.at_rest
    return bool(verdict.waiting_for) and all(
        text.startswith(why) or text == "middle-0 is handling something" for text in verdict.waiting_for
    )


async def _knows_its_places(service: Service) -> bool:
    part = await service.bus.rest()
    return len(part.positions["middle.numbers"].get(FIRST.name, {})) == FIRST.partitions


async def _is_sent(service: Service) -> bool:
    return await service.bus.oldest_unsent_age_s(FIRST) == 0


async def test_a_process_tells_its_outbox_as_of_before_its_positions(make_service: Any) -> None:
    reader, writer = await make_service("reader"), await make_service("writer")
    reader.bus.add(work())

    async def is_asking() -> bool:
        async with reader.database.connection() as connection:
            found: bool = await connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%FROM due%'"
                " AND datname = current_database() AND pid <> pg_backend_pid())"
            )
        return found

    async with writer.running(), reader.running():
        await eventually(lambda: reader.bus.ready() is None, 20)
        async with reader.database.connection() as connection, connection.transaction():
            await connection.execute("LOCK TABLE due")
            asking = asyncio.create_task(reader.bus.rest())
            await eventually(is_asking)
            await writer.send(("a", 1))
            await eventually(lambda: _count(reader, 1))
            await eventually(lambda: not reader.bus.activity.busy)
        told = await asking
    assert sum(told.positions["reader.numbers"][NUMBERS.name].values()) == 1


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
