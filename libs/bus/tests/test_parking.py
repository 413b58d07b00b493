"""Keys set aside: what an operator can do with them, also while messages of the key keep coming."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from random import Random
from typing import Any

import asyncpg
import pytest
from counting_service import NUMBERS, Effects, Service, producing, record, work
from fleet_bus import NothingParked, NotYet, Received
from fleet_bus.parking import LIST, NOT_YET, parked_keys
from fleet_chassis.database import Database
from fleet_contracts.core_engine import SignalAccepted
from fleet_testkit.eventually import eventually

PLACE = ("reader.numbers", "numbers", "a")


class Moods:
    """A handler that fails on some numbers, as long as it is told to."""

    def __init__(self) -> None:
        self.bad: set[int] = set()
        self.not_yet: set[int] = set()
        self.tried: list[int] = []

    async def __call__(self, uow: Effects, received: Received[SignalAccepted]) -> None:
        number = received.message.signal_id.int
        self.tried.append(number)
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


async def test_what_is_waited_for_has_its_time_from_when_it_can_come(make_service: Any, new_database: Any) -> None:
    """not yet → the reader stands still for an hour → it may come with what was not read meanwhile, and is no fault yet"""
    url = await new_database()
    reader, again = [await make_service("reader", url=url) for _ in range(2)]
    moods = Moods()
    moods.not_yet = {1}
    reader.bus.add(work(moods))
    async with reader.running(), producing(reader) as produce:
        await produce(("a", 1, 1, 1), ("a", 2, 1, 2))
        await eventually(lambda: _parked(reader, 2))
    async with reader.database.connection() as connection:
        await connection.execute("UPDATE parked SET parked_at = parked_at - interval '1 hour'")
    again.bus.add(work(moods))
    moods.tried.clear()
    async with again.running():
        await eventually(lambda: len(moods.tried) >= 2)
        assert [key.is_not_yet for key in await again.bus.parked()] == [True]
        moods.not_yet.clear()
        await eventually(lambda: _effects_are(again, [1, 2]))


async def test_only_what_has_waited_too_long_is_given_up_and_not_what_waited_behind_it(make_service: Any) -> None:
    reader, moods = await make_service("reader"), Moods()
    # Tried again by hand alone: each time is the last.
    reader.bus.settings = replace(reader.bus.settings, not_yet_retry_s=3_600.0)
    moods.not_yet = {1, 2}
    reader.bus.add(work(moods))
    async with reader.running(), producing(reader) as produce:
        await produce(("a", 1, 1, 1), ("a", 2, 1, 2))
        await eventually(lambda: _parked(reader, 2))
        parking, place = reader.bus._parkings[PLACE[0]], ("writer", *PLACE[1:])
        moods.not_yet.remove(1)
        assert not await parking.release(place, gives_up=True)
        assert await reader.effects("a") == [1]
        assert not await _is_given_up(reader)
        assert not await parking.release(place, gives_up=True)
        assert await _is_given_up(reader)


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


PARK = """
INSERT INTO parked (subscription, writer, topic, key, epoch, sequence, partition, record_offset, type, event_id,
                    occurred_at, payload, is_not_yet, reason, parked_at)
SELECT $1, $2, $3, $4, $5, n, 0, n, 'SignalAccepted', gen_random_uuid(), now(), '', $8, format('%s %s', $5::bigint, n), now()
FROM generate_series($6::bigint, $7::bigint) AS n
"""
NAIVE = """
SELECT DISTINCT ON (subscription, writer, topic, key) subscription, writer, topic, key, is_not_yet, reason, parked_at,
       count(*) OVER (PARTITION BY subscription, writer, topic, key) AS messages
FROM parked ORDER BY subscription, writer, topic, key, epoch, sequence
"""


async def test_the_first_of_each_key_is_what_a_look_at_every_row_finds(new_database: Any) -> None:
    random = Random(7)
    places = list(product(("a.x", "a.y", "b"), ("w", "w-2"), ("t", "t.u"), ("", " ", "a", "ab", "Z", "é")))
    async with Database(await new_database(), application_name="test") as database, database.connection() as connection:
        for _ in range(40):
            await connection.execute("DELETE FROM parked WHERE id % $1 = 0", random.randint(1, 3))
            for place in random.sample(places, random.randint(0, 20)):
                first, epoch = random.randint(1, 10**6), random.randint(1, 3)
                until = first + random.choice((0, 0, 1, 7, 120))
                await connection.execute(PARK, *place, epoch, first, until, random.random() < 0.5)
            naive = await connection.fetch(NAIVE)
            for most in (None, 1, 100):
                assert [
                    (key.subscription, key.topic, key.key, key.is_not_yet, key.reason, key.messages)
                    for key in await parked_keys(connection, counted_to=most)
                ] == [
                    (*(row[name] for name in ("subscription", "topic", "key", "is_not_yet", "reason")),
                     min(row["messages"], most or row["messages"]))
                    for row in naive
                ]  # fmt: skip
            for subscription in ("a", "a.x", "a.y", "b", "c"):
                assert {tuple(row) for row in await connection.fetch(NOT_YET, subscription)} == {
                    (row["writer"], row["topic"], row["key"], row["parked_at"])
                    for row in naive
                    if row["subscription"] == subscription and row["is_not_yet"]
                }


async def test_what_waits_behind_a_key_is_not_read(new_database: Any) -> None:
    async with (
        Database(await new_database(), application_name="test", plans_once=True) as database,
        database.connection() as connection,
    ):
        for key in ("a", "b", "c"):
            await connection.execute(PARK, "reader.numbers", "writer", "numbers", key, 1, 1, 200, True)
        before = [await _rows_read(connection, NOT_YET, "reader.numbers"), await _rows_read(connection, LIST, 100)]
        await connection.execute(PARK, "reader.numbers", "writer", "numbers", "b", 1, 201, 5_000, False)
        after = [await _rows_read(connection, NOT_YET, "reader.numbers"), await _rows_read(connection, LIST, 100)]
    assert before == after == [3, 3 + 3 * 100]


async def test_rest_counts_some_of_what_waits_behind_a_key_and_the_list_all(make_service: Any) -> None:
    reader = await make_service("reader")
    async with reader.database.connection() as connection:
        await connection.execute(PARK, "reader.numbers", "writer", "numbers", "a", 1, 1, 250, True)
    assert [key.messages for key in (await reader.bus.rest(0, -1)).parked] == [100]
    assert [key.messages for key in await reader.bus.parked()] == [250]


async def _rows_read(connection: asyncpg.Connection, query: str, value: object) -> int:
    """Rows of `parked` that the statement's scans come upon."""

    def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield plan
        for part in plan.get("Plans", ()):
            yield from nodes(part)

    told = await connection.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {query}", value)
    [explained] = json.loads(told) if isinstance(told, str) else told
    return sum(
        round((node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"])
        for node in nodes(explained["Plan"])
        if node.get("Relation Name") == "parked"
    )


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
