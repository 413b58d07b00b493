"""Tables, watches and live subscriptions: what a process knows after it was started, cut off or restarted."""

import asyncio
import threading
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from counting_service import NUMBERS, Effects, Service, number, producing, record
from fleet_bus import Glance, Live, NotYet, Received, Record, Watch
from fleet_bus.admin import admin_client, create_topics
from fleet_bus.kafka import consumer, partitions_of, started
from fleet_contracts import Topic, encode
from fleet_contracts.core_engine import SignalAccepted
from fleet_contracts.partitioning import partition
from fleet_testkit.eventually import eventually


class _Numbered(msgspec.Struct):
    signal_id: UUID


ODD = Glance(_Numbered, lambda message: message.signal_id.int % 2 == 1)
STATES = replace(NUMBERS, name="states", compacted=True)


@pytest.fixture
async def states(kafka: Any, prefix: str) -> Topic:
    """A compacted topic that the broker compacts as soon as it can."""
    await create_topics(kafka.url, [STATES], prefix=prefix)
    settings = {
        "cleanup.policy": "compact",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.0",
        "max.compaction.lag.ms": "100",
        "delete.retention.ms": "100",
    }
    async with admin_client(kafka.url) as admin:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, prefix + STATES.name, settings)])
    return STATES


def live() -> Live:
    return Live(
        name="live",
        topics=(NUMBERS,),
        unit_of_work=Effects,
        handlers={SignalAccepted: record},
        touches=lambda message: [],
    )


async def test_a_table_is_whole_before_work_and_follows_what_comes(make_service: Any, states: Topic) -> None:
    writer, reader = await make_service("writer"), await make_service("reader")
    view = reader.bus.table(states, SignalAccepted)
    changes: list[tuple[str, int | None]] = []
    view.on_change(lambda key, received: changes.append((key, received and received.message.signal_id.int)))
    async with writer.running():
        await writer.send(*((f"k{n % 10}", n) for n in range(100)), topic=states)
        async with writer.bus.transaction() as tx:
            tx.publish_tombstone(states, "k3")
        await eventually(lambda: _is_sent(writer))
        async with reader.running():
            await eventually(lambda: reader.bus.ready() is None)
            assert len(view) == 9
            assert view.get("k3") is None
            assert {message.signal_id.int for message in view.values()} == {*range(90, 100)} - {93}
            await writer.send(("k3", 200), topic=states)
            await eventually(lambda: view.get("k3"))
            async with writer.bus.transaction() as tx:
                tx.publish_tombstone(states, "k3")
            await eventually(lambda: view.get("k3") is None)
    assert changes[-2:] == [("k3", 200), ("k3", None)]


async def test_a_table_drops_older_versions_also_of_what_was_taken_out(make_service: Any, kafka: Any) -> None:
    """Said again by a relay that had been given up for dead: an older version changes nothing."""
    reader, writer = await make_service("reader"), await make_service("writer")
    topic = replace(NUMBERS, compacted=True)
    view = reader.bus.table(topic, SignalAccepted)
    async with reader.running(), producing(reader) as produce, writer.running():
        await produce(("a", 5, 1, 5), ("a", 4, 1, 4), ("a", 1, 0, 9), ("b", 2, 1, 2), ("end", 0, 1, 1))
        await eventually(lambda: view.get("end"))
        assert _shown(view) == {"a": 5, "b": 2, "end": 0}
        async with writer.bus.transaction() as tx:
            tx.publish_tombstone(topic, "b")  # the writer's first record of b, so let its number be higher
            await tx.connection.execute("INSERT INTO outbox_sequences VALUES ('numbers', 'b', 7)")
        await eventually(lambda: view.get("b") is None)
        await produce(("b", 3, 1, 3), ("a", 6, 1, 6))
        await eventually(lambda: _shown(view)["a"] == 6)
        assert "b" not in _shown(view)


async def test_what_does_not_concern_a_live_reader_costs_no_transaction(make_service: Any, new_database: Any) -> None:
    """Odd numbers concern it: evens leave no trace in the database, and a restart repeats nothing."""
    writer, url = await make_service("writer"), await new_database()
    odd = replace(live(), ours=ODD, handlers={SignalAccepted: record})
    first, second = [await make_service("reader", url=url) for _ in range(2)]
    async with writer.running():
        first.bus.add(odd)
        async with first.running():
            await writer.send(("a", 2), ("b", 4))
            await eventually(lambda: _stands_at_the_end(first, 2))
            async with first.database.connection() as connection:
                assert await connection.fetchval("SELECT count(*) FROM live_positions") == 0
            await writer.send(("a", 5))
            await eventually(lambda: _has(first, [5]))
            await writer.send(("a", 6))
        second.bus.add(odd)
        async with second.running():
            await writer.send(("a", 7))
            await eventually(lambda: _has(second, [5, 7]))


async def test_what_is_kept_of_a_partition_keeps_the_places_of_those_that_were_passed(
    make_service: Any, new_database: Any
) -> None:
    """evens in one partition, then an odd number in the other -> a restart reads neither again"""
    writer, url = await make_service("writer"), await new_database()
    one, other = (next(key for key in "abcdef" if partition(key, NUMBERS.partitions) == n) for n in range(2))
    reader = await make_service("reader", url=url)
    reader.bus.add(replace(live(), ours=ODD))
    async with writer.running(), reader.running():
        await writer.send((one, 2), (one, 4))
        await eventually(lambda: _stands_at_the_end(reader, 2))
        await writer.send((other, 5))
        await eventually(lambda: _has(reader, [5]))
        async with reader.database.connection() as connection:
            rows = await connection.fetch("SELECT partition, next_offset FROM live_positions ORDER BY partition")
    assert [tuple(row) for row in rows] == [(0, 2), (1, 1)]


async def _stands_at_the_end(service: Service, records: int) -> bool:
    part = await service.bus.rest()
    return sum(part.positions.get("reader.live", {}).get(NUMBERS.name, {}).values()) == records


async def _has(service: Service, numbers: list[int]) -> bool:
    return [n for n in await service.effects() if n % 2] == numbers


@pytest.mark.long
async def test_a_table_is_whole_on_a_compacted_log(make_service: Any, states: Topic) -> None:
    """Compaction leaves holes, at the end of a segment too; places go over them, or nobody would be ready or at rest."""
    writer, reader = await make_service("writer"), await make_service("reader")
    view = reader.bus.table(states, SignalAccepted)
    async with writer.running():
        for n in range(300):
            await writer.send((f"k{n % 5}", n), topic=states)
        await eventually(lambda: _is_sent(writer))

        async def is_compacted() -> bool:
            await writer.send(("tick", 1), topic=states)  # a segment is closed by the next record only
            return await _records_left(writer, states) < 150

        await eventually(is_compacted, timeout_s=60)
        async with reader.running():
            await eventually(lambda: reader.bus.ready() is None)
            part = await reader.bus.rest()
        assert len(view) == 6
        assert {message.signal_id.int for message in view.values()} == {1, *range(295, 300)}
        assert part.positions["tables"]["states"] == await _ends(writer, states)


async def test_a_watch_begins_at_the_end_and_misses_nothing_once_ready(make_service: Any) -> None:
    writer = await make_service("writer")
    async with writer.running():
        await writer.send(("a", 0), ("a", 1))
        await eventually(lambda: _is_sent(writer))
        for start in (10, 20, 30):
            await _hears_from(await make_service("watcher"), writer, start)


async def test_a_watch_hears_once_what_is_said_again(make_service: Any) -> None:
    watcher = await make_service("watcher")
    heard: list[int] = []
    watcher.bus.add(Watch("eyes", (NUMBERS,), lambda received: heard.append(_number(received))))
    async with watcher.running(), producing(watcher) as produce:
        await eventually(lambda: watcher.bus.ready() is None)
        await produce(("a", 1, 1, 1), ("a", 2, 1, 2), ("a", 1, 1, 1), ("a", 5, 1, 5), ("a", 6, 2, 1), ("a", 5, 1, 5))
        await produce(("a", 9, 2, 9))
        await eventually(lambda: 9 in heard)
    assert heard == [1, 2, 5, 6, 9]


async def test_while_a_watch_has_much_to_tell_others_have_their_turn(make_service: Any) -> None:
    """A gateway tells a record to thousands of sockets: a backlog at one go would stop all else for seconds."""
    watcher = await make_service("watcher")
    turns, heard, at_one_go = 0, 0, dict[int, int]()

    def hear(_received: Received[SignalAccepted]) -> None:
        nonlocal heard
        heard += 1
        at_one_go[turns] = at_one_go.get(turns, 0) + 1

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def send() -> None:
        async with producing(watcher) as produce:
            await produce(*(("a", n, 1, n) for n in range(1, 1_001)))

    watcher.bus.add(Watch("eyes", (NUMBERS,), hear))
    async with watcher.running():
        await eventually(lambda: watcher.bus.ready() is None)
        # From another thread, while this one stands still.
        sending = threading.Thread(target=lambda: asyncio.run(send()))
        sending.start()
        sending.join()
        others = asyncio.create_task(take_turns())
        await eventually(lambda: heard == 1_000)
        others.cancel()
    assert max(at_one_go.values()) < 50


async def test_live_with_effects_goes_on_where_its_database_says(make_service: Any, new_database: Any) -> None:
    """Without a row it begins at the beginning; its place moves with the effect, whatever Kafka thinks."""
    url = await new_database()
    writer = await make_service("writer")
    async with writer.running():
        await writer.send(*(("a", n) for n in range(10)))
        for stop_at in (10, 20, 30):
            service = await make_service("strategy", url=url)
            service.bus.add(live())
            async with service.running():
                await eventually(lambda service=service, n=stop_at: _count(service, n))  # type: ignore[misc]
            await writer.send(*(("a", n) for n in range(stop_at, stop_at + 10)))
        assert await service.effects("a") == list(range(30))
    async with service.database.connection() as connection:
        kept = await connection.fetchval("SELECT sum(next_offset) FROM live_positions")
    assert kept == 30


async def test_live_passes_over_what_is_bad_and_waits_for_what_is_not_there(make_service: Any) -> None:
    service = await make_service("strategy")
    tries: list[int] = []

    async def moody(uow: Effects, received: Received[SignalAccepted]) -> None:
        tries.append(_number(received))
        if tries[-1] == 1:
            raise ValueError("one")
        if tries[-1] == 2 and tries.count(2) < 3:
            raise NotYet("two")
        await record(uow, received)

    service.bus.add(replace(live(), handlers={SignalAccepted: moody}))
    async with service.running(), producing(service) as produce:
        await produce(("a", 1, 1, 1), ("a", 2, 1, 2), ("a", 3, 1, 3))
        await eventually(lambda: _count(service, 2))
    assert await service.effects("a") == [2, 3]
    assert not await service.bus.parked()


async def test_a_watch_hears_only_of_what_is_its_own(make_service: Any) -> None:
    watcher = await make_service("watcher")
    heard: list[int] = []
    watcher.bus.add(Watch("eyes", (NUMBERS,), lambda received: heard.append(_number(received)), ODD))
    async with watcher.running(), producing(watcher) as produce:
        await eventually(lambda: watcher.bus.ready() is None)
        await produce(*(("a", n, 1, n) for n in range(1, 6)))
        await eventually(lambda: 5 in heard)
    assert heard == [1, 3, 5]


@pytest.mark.parametrize(
    ("payload", "concerns"),
    [(encode(number(1)), True), (encode(number(2)), False), (b"{}", True), (b"", True), (None, False)],
)
def test_what_cannot_be_read_at_a_glance_concerns_whoever_decodes_all_of_it(
    payload: bytes | None, concerns: bool
) -> None:
    now = datetime.now(UTC)
    record = Record("numbers", 0, 0, "a", "writer", "SignalAccepted", uuid4(), 1, 1, now, None, None, payload)
    assert ODD.concerns(record) is concerns


async def _hears_from(watcher: Service, writer: Service, start: int) -> None:
    heard: list[int] = []
    watcher.bus.add(Watch("eyes", (NUMBERS,), lambda received: heard.append(_number(received))))
    async with watcher.running():
        await eventually(lambda: watcher.bus.ready() is None)
        await writer.send(("a", start), ("b", start + 1))
        await eventually(lambda: len(heard) == 2)
    assert sorted(heard) == [start, start + 1]


def _number(received: Received[SignalAccepted]) -> int:
    return received.message.signal_id.int


def _shown(view: Any) -> dict[str, int]:
    return {key: view.get(key).signal_id.int for key in ("a", "b", "end") if view.get(key)}


async def _count(service: Service, wanted: int) -> bool:
    return len(await service.effects()) >= wanted


async def _is_sent(service: Service) -> bool:
    async with service.database.connection() as connection:
        return not await connection.fetchval("SELECT count(*) FROM outbox")


async def _records_left(service: Service, topic: Topic) -> int:
    """How many records the log still has."""
    client = consumer(service.settings.kafka_url, "count")
    client.assign(partitions_of([topic], service.settings.topic_prefix))
    async with started(client):
        await client.seek_to_beginning()
        ends = await client.end_offsets(client.assignment())
        count = 0
        while any([await client.position(place) < end for place, end in ends.items()]):
            count += sum(len(found) for found in (await client.getmany(timeout_ms=200)).values())
        return count


async def _ends(service: Service, topic: Topic) -> dict[int, int]:
    async with started(consumer(service.settings.kafka_url, "ends")) as client:
        ends = await client.end_offsets(partitions_of([topic], service.settings.topic_prefix))
        return {place.partition: end for place, end in ends.items()}
