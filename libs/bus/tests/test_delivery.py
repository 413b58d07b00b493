"""Messages go from one database to another once, in order per key, whatever is repeated, lost or out of order."""

import asyncio
import logging
from dataclasses import replace
from typing import Any

import pytest
import structlog
from counting_service import NUMBERS, Effects, Service, number, producing, record, work
from fleet_bus import NotYet, Received, Watch
from fleet_contracts.core_engine import SignalAccepted
from fleet_contracts.topics import audit_topic
from fleet_testkit.eventually import eventually


async def produce(service: Service, *records: tuple[str, int, int, int]) -> None:
    async with producing(service) as send:
        await send(*records)


async def test_what_is_committed_arrives_once_and_in_order(make_service: Any) -> None:
    writer, reader = await make_service("writer"), await make_service("reader")
    reader.bus.add(work())
    async with writer.running(), reader.running():
        for start in range(0, 300, 10):
            await writer.send(*((key, n) for n in range(start, start + 10) for key in ("a", "b", "c")))
        await eventually(lambda: _count(reader, 900), timeout_s=20)
    for key in ("a", "b", "c"):
        assert await reader.effects(key) == list(range(300))


async def test_what_is_rolled_back_is_never_sent(make_service: Any) -> None:
    writer, reader = await make_service("writer"), await make_service("reader")
    reader.bus.add(work())
    async with writer.running(), reader.running():
        with pytest.raises(RuntimeError, match="no"):
            async with writer.bus.transaction() as tx:
                tx.publish(NUMBERS, "a", number(1))
                raise RuntimeError("no")
        await writer.send(("a", 2))
        await eventually(lambda: _count(reader, 1))
    assert await reader.effects("a") == [2]


async def test_writers_of_one_key_are_numbered_in_commit_order(make_service: Any, new_database: Any) -> None:
    url = await new_database()
    writers = [await make_service("writer", url=url, ordinal=n) for n in range(4)]
    reader = await make_service("reader")
    reader.bus.add(work())

    async def write(writer: Service, start: int) -> None:
        for n in range(start, start + 50):
            await writer.send(("a", n), ("b", n))

    async with writers[0].running(), writers[1].running(), reader.running():
        await asyncio.gather(*(write(writer, 1000 * i) for i, writer in enumerate(writers)))
        await eventually(lambda: _count(reader, 400), timeout_s=20)
    for key in ("a", "b"):
        found = await reader.effects(key)
        assert sorted(found) == sorted(n for i in range(4) for n in range(1000 * i, 1000 * i + 50))
        for i in range(4):
            of_one = [n for n in found if n // 1000 == i]
            assert of_one == sorted(of_one)


async def test_two_processes_of_one_name_do_nothing_twice_and_say_what_is_wrong(
    make_service: Any, new_database: Any
) -> None:
    """One was started by hand: each takes the other's place at Kafka, again and again."""
    url = await new_database()
    writer, *both = await make_service("writer"), *[await make_service("reader", url=url) for _ in range(2)]
    logging.getLogger("aiokafka").handlers.clear()  # what it says seldom may have been said by a test before
    for reader in both:
        reader.bus.add(work())
    with structlog.testing.capture_logs() as said:
        async with writer.running(), both[0].running(), both[1].running():
            await eventually(lambda: "another_process_of_this_name" in {line["event"] for line in said}, timeout_s=40)
            await writer.send(*((key, n) for n in range(100) for key in ("a", "b")))
            await eventually(lambda: _count(both[0], 200), timeout_s=30)
    assert [line["log_level"] for line in said if line["event"] == "another_process_of_this_name"] == ["error"]
    for key in ("a", "b"):
        assert await both[0].effects(key) == list(range(100))


async def test_repeated_delivery_changes_nothing(make_service: Any) -> None:
    reader = await make_service("reader")
    reader.bus.add(work())
    async with reader.running():
        await produce(
            reader, ("a", 1, 1, 1), ("a", 2, 1, 2), ("a", 1, 1, 1), ("a", 2, 1, 2), ("a", 3, 1, 3), ("a", 2, 1, 2)
        )
        await eventually(lambda: _count(reader, 3))
        await produce(reader, ("a", 3, 1, 3), ("a", 4, 1, 4))
        await eventually(lambda: _count(reader, 4))
    assert await reader.effects("a") == [1, 2, 3, 4]


async def test_reordered_delivery_waits_for_what_is_missing(make_service: Any) -> None:
    reader = await make_service("reader")
    reader.bus.add(work())
    async with reader.running():
        await produce(reader, ("a", 1, 1, 1), ("a", 3, 1, 3), ("b", 7, 1, 1), ("a", 4, 1, 4))
        await eventually(lambda: _effects_are(reader, "b", [7]))
        assert await reader.effects("a") == [1]
        # The last record may come with a later look at Kafka.
        await eventually(lambda: _parked_is(reader, [("a", True, 2)]))
        await produce(reader, ("a", 2, 1, 2), ("a", 5, 1, 5))
        await eventually(lambda: _effects_are(reader, "a", [1, 2, 3, 4, 5]))
        await eventually(lambda: _nothing_parked(reader))


async def test_a_raised_epoch_begins_anew(make_service: Any) -> None:
    reader = await make_service("reader")
    reader.bus.add(work())
    async with reader.running():
        await produce(reader, ("a", 1, 1, 41), ("a", 2, 2, 7), ("a", 3, 1, 42), ("a", 4, 2, 8))
        await eventually(lambda: _effects_are(reader, "a", [1, 2, 4]))
    assert not await reader.bus.parked()


async def test_a_bad_message_parks_its_key_and_others_flow(make_service: Any) -> None:
    reader = await make_service("reader")
    broken = {13}

    async def picky(uow: Effects, received: Received[SignalAccepted]) -> None:
        if received.message.signal_id.int in broken:
            raise ValueError("thirteen")
        await record(uow, received)

    reader.bus.add(work(picky))
    async with reader.running():
        await produce(reader, ("a", 12, 1, 1), ("a", 13, 1, 2), ("b", 1, 1, 1), ("a", 14, 1, 3), ("b", 2, 1, 2))
        await eventually(lambda: _effects_are(reader, "b", [1, 2]))
        await eventually(lambda: _parked_messages(reader, 2))
        parked = await reader.bus.parked()
        assert [(p.subscription, p.key, p.is_not_yet) for p in parked] == [("reader.numbers", "a", False)]
        assert "thirteen" in parked[0].reason
        assert not await reader.bus.parked_replay("reader.numbers", "numbers", "a", by="test")
        assert await reader.effects("a") == [12]
        broken.clear()
        assert await reader.bus.parked_replay("reader.numbers", "numbers", "a", by="test")
        assert await reader.effects("a") == [12, 13, 14]
        await produce(reader, ("a", 15, 1, 4))
        await eventually(lambda: _effects_are(reader, "a", [12, 13, 14, 15]))


async def test_a_skipped_message_is_kept_and_the_rest_goes_on(make_service: Any) -> None:
    reader = await make_service("reader")

    async def picky(uow: Effects, received: Received[SignalAccepted]) -> None:
        if received.message.signal_id.int == 13:
            raise ValueError("thirteen")
        await record(uow, received)

    reader.bus.add(work(picky))
    acts: list[Received[Any]] = []
    reader.bus.add(Watch("acts", (audit_topic("reader"),), acts.append))
    async with reader.running():
        await eventually(lambda: reader.bus.ready() is None)
        await produce(reader, ("a", 13, 1, 1), ("a", 14, 1, 2))
        await eventually(lambda: _parked_messages(reader, 2))
        assert not await reader.bus.parked_replay("reader.numbers", "numbers", "a", by="cli:ada")
        assert await reader.bus.parked_skip("reader.numbers", "numbers", "a", by="test", reason="it is thirteen")
        assert await reader.effects("a") == [14]
        await eventually(lambda: len(acts) == 2)
        replayed, dropped = (act.message for act in acts)
        assert (replayed.action, replayed.actor) == ("parked.replayed", "cli:ada")
        assert (dropped.action, dropped.actor, dropped.reason) == ("parked.skipped", "test", "it is thirteen")
        assert replayed.target == dropped.target == "reader.numbers numbers a"
        assert [change.name for change in dropped.changes] == ["core-engine.SignalAccepted"]
    async with reader.database.connection() as connection:
        skipped = await connection.fetchrow("SELECT skipped_by, skipped_reason, sequence FROM parked_skipped")
    assert tuple(skipped) == ("test", "it is thirteen", 1)


async def test_not_yet_waits_and_then_goes_on_in_order(make_service: Any) -> None:
    reader = await make_service("reader")
    known: set[int] = set()

    async def needs(uow: Effects, received: Received[SignalAccepted]) -> None:
        if received.key == "a" and not known:
            raise NotYet("instrument a")
        await record(uow, received)

    reader.bus.add(work(needs))
    async with reader.running():
        await produce(reader, ("a", 1, 1, 1), ("b", 1, 1, 1), ("a", 2, 1, 2))
        await eventually(lambda: _effects_are(reader, "b", [1]))
        await eventually(lambda: _parked_messages(reader, 2))
        known.add(1)
        await eventually(lambda: _effects_are(reader, "a", [1, 2]))
        await eventually(lambda: _nothing_parked(reader))


async def test_not_yet_becomes_bad_in_the_end(make_service: Any) -> None:
    reader = await make_service("reader")
    reader.bus.settings = replace(reader.bus.settings, not_yet_most_s=1.0)

    async def never(uow: Effects, received: Received[SignalAccepted]) -> None:
        raise NotYet("instrument a")

    reader.bus.add(work(never))
    async with reader.running():
        await produce(reader, ("a", 1, 1, 1))
        await eventually(lambda: _parked_for_good(reader), timeout_s=10)


async def _count(service: Service, wanted: int) -> bool:
    return len(await service.effects()) >= wanted


async def _effects_are(service: Service, key: str, wanted: list[int]) -> bool:
    return await service.effects(key) == wanted


async def _nothing_parked(service: Service) -> bool:
    return not await service.bus.parked()


async def _parked_messages(service: Service, wanted: int) -> bool:
    return sum(p.messages for p in await service.bus.parked()) == wanted


async def _parked_for_good(service: Service) -> bool:
    return any(not p.is_not_yet for p in await service.bus.parked())


async def _parked_is(service: Any, expected: list[tuple[str, bool, int]]) -> bool:
    return [(p.key, p.is_not_yet, p.messages) for p in await service.bus.parked()] == expected
