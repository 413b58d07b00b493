"""What is published is numbered and stored under the lock of its key, sent in order by one relay, cut where too long."""

import asyncio
import random
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from aiokafka.errors import KafkaConnectionError
from counting_service import NUMBERS, Service, number, work
from fleet_bus import Bus, Work
from fleet_bus.admin import create_topics
from fleet_bus.failures import is_down
from fleet_bus.transaction import MOST_BYTES
from fleet_chassis.health import Health
from fleet_contracts import MessageTooLong, encode
from fleet_contracts.execution import OrderReports, OrderUnknown
from fleet_contracts.partitioning import partition
from fleet_contracts.topics import EXECUTION_REPORTS
from fleet_testkit.databases import waiting_for_locks
from fleet_testkit.eventually import eventually


async def rows_of(service: Service) -> list[tuple[str, int, int]]:
    """(key, id, sequence) in the order in which the relay would send them."""
    async with service.database.connection() as connection:
        rows = await connection.fetch("SELECT key, id, sequence FROM outbox ORDER BY id")
    return [(row["key"], row["id"], row["sequence"]) for row in rows]


async def test_writers_of_many_keys_neither_deadlock_nor_invert_a_key(make_service: Any, new_database: Any) -> None:
    url = await new_database()
    writers = [await make_service("writer", url=url, ordinal=n) for n in range(4)]
    keys = [f"k{n}" for n in range(6)]

    async def write(writer: Service, chance: random.Random) -> None:
        for n in range(40):
            await writer.send(*((key, n) for key in chance.sample(keys, 4)))

    await asyncio.gather(*(write(writer, random.Random(n)) for n, writer in enumerate(writers * 2)))
    rows = await rows_of(writers[0])
    assert len(rows) == 8 * 40 * 4
    for key in keys:
        numbers = [sequence for of, _, sequence in rows if of == key]
        assert numbers == list(range(1, len(numbers) + 1))


async def test_an_id_is_taken_only_when_every_key_is_held(make_service: Any, new_database: Any) -> None:
    """A holds k; B wants a and k and waits; C commits meanwhile. B commits last, so its ids must be the highest."""
    url = await new_database()
    a, b, c = [await make_service("writer", url=url, ordinal=n) for n in range(3)]
    holds, may_commit = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        async with a.bus.transaction() as tx:
            tx.publish(NUMBERS, "k", number(1))
            await tx.finish()
            tx._published.clear()
            holds.set()
            await may_commit.wait()

    async def waits_for_a_lock() -> bool:
        async with c.database.connection() as connection:
            return bool(await waiting_for_locks(connection))

    holding = asyncio.create_task(hold())
    await holds.wait()
    waiting = asyncio.create_task(b.send(("z", 2), ("k", 2), ("a", 2)))
    await eventually(waits_for_a_lock)
    await c.send(("other", 3))
    may_commit.set()
    await asyncio.gather(holding, waiting)
    assert [key for key, _, _ in await rows_of(a)] == ["k", "other", "z", "k", "a"]


async def test_a_commit_beside_the_relay_is_sent_at_once(make_service: Any, new_database: Any) -> None:
    """The replica without the lock wakes the one with it; neither has to look by itself."""
    url = await new_database()
    replicas = [await make_service("writer", url=url, ordinal=n) for n in range(2)]
    for replica in replicas:
        replica.bus._relay._settings = replace(replica.bus.settings, relay_poll_s=30.0)
    reader = await make_service("reader")
    reader.bus.add(work())
    async with replicas[0].running():
        await eventually(lambda: replicas[0].bus._relay.holds_lock)
        async with replicas[1].running(), reader.running():
            for n in range(3):
                await replicas[1].send(("a", n))
                await eventually(lambda n=n: _arrived(reader, n + 1), timeout_s=10)  # type: ignore[misc]


async def test_what_kafka_refuses_for_good_is_set_aside_and_told(make_service: Any) -> None:
    writer, reader = await make_service("writer"), await make_service("reader")
    reader.bus.add(work())
    async with writer.bus.transaction() as tx:
        tx.publish(NUMBERS, "a", number(1))
    async with writer.database.connection() as connection:
        await connection.execute("UPDATE outbox SET key = repeat('x', 1100000)")
    await writer.send(("b", 2))
    async with writer.running(), reader.running():
        await eventually(lambda: _arrived(reader, 1))
        assert "1 outbox rows are refused by Kafka" in str(writer.bus.ready())
    async with writer.database.connection() as connection:
        assert "MessageSizeTooLarge" in await connection.fetchval("SELECT error FROM outbox_failed")


async def test_a_long_message_is_cut_into_valid_ones_in_order(kafka: Any, make_service: Any, prefix: str) -> None:
    await create_topics(kafka.url, [EXECUTION_REPORTS], prefix=prefix)
    writer, reader = await make_service("writer"), await make_service("reader")
    at = datetime(2026, 1, 2, tzinfo=UTC)
    heard: list[OrderReports] = []

    async def hear(uow: Any, received: Any) -> None:
        heard.append(received.message)

    proto: Work = work(topic=EXECUTION_REPORTS)
    reader.bus.add(replace(proto, handlers={OrderReports: hear}))
    reports = tuple(OrderUnknown(order_id=UUID(int=n), market_at=at, detail="x" * 300) for n in range(6000))
    message = OrderReports(account_id=UUID(int=1), user_id=UUID(int=2), reports=reports)
    assert len(encode(message)) > 2 * MOST_BYTES
    async with writer.running(), reader.running():
        async with writer.bus.transaction() as tx:
            tx.publish(EXECUTION_REPORTS, "a", message, market_at=at)
        await eventually(lambda: sum(len(m.reports) for m in heard) == 6000, timeout_s=20)
    assert len(heard) == 4
    assert tuple(report for m in heard for report in m.reports) == reports
    assert {(m.account_id, m.user_id) for m in heard} == {(UUID(int=1), UUID(int=2))}


async def test_what_cannot_be_cut_is_refused_where_it_is_published(make_service: Any) -> None:
    writer = await make_service("writer")
    report = OrderUnknown(order_id=UUID(int=1), market_at=datetime(2026, 1, 2, tzinfo=UTC), detail="x" * MOST_BYTES)
    with pytest.raises(MessageTooLong, match="OrderReports"):
        async with writer.bus.transaction() as tx:
            tx.publish(
                EXECUTION_REPORTS, "a", OrderReports(account_id=UUID(int=1), user_id=UUID(int=2), reports=(report,))
            )
    assert await rows_of(writer) == []


async def test_the_age_of_what_is_not_sent_is_told(make_service: Any) -> None:
    writer = await make_service("writer")
    assert await writer.bus.oldest_unsent_age_s(NUMBERS) == 0.0
    await writer.send(("a", 1))
    assert 0.0 <= await writer.bus.oldest_unsent_age_s(NUMBERS) < 60.0
    async with writer.database.connection() as connection:
        await connection.execute("UPDATE outbox SET occurred_at = occurred_at - interval '1 minute'")
    assert await writer.bus.oldest_unsent_age_s(NUMBERS) >= 60.0
    unreachable = Bus(replace(writer.settings, kafka_url="127.0.0.1:1"), writer.database)
    async with unreachable.running(Health()):
        await eventually(lambda: "the outbox has not been sent" in str(unreachable.ready()))


class Moody:
    """A client that fails for some sequences, is silent about others, and remembers what it was given."""

    def __init__(self, fails: set[int], *, silent: int | None = None) -> None:
        self.fails = fails
        self.silent = silent
        self.given: list[tuple[str, int]] = []

    async def send(self, topic: str, *, key: bytes, headers: list[tuple[str, bytes]], **_: Any) -> asyncio.Future[Any]:
        sequence = int(dict(headers)["sequence"])
        self.given.append((key.decode(), sequence))
        answer = asyncio.get_running_loop().create_future()
        if sequence in self.fails:
            answer.set_exception(KafkaConnectionError("cut off"))
        elif sequence != self.silent:
            answer.set_result(None)
        return answer


async def send_rows(writer: Service, client: Moody, *, read_s_ago: float = 0.0, loses_session: bool = False) -> None:
    relay = writer.bus._relay
    assert relay is not None
    async with writer.database.connection() as connection, writer.database.connection() as other:
        rows = await connection.fetch("SELECT * FROM outbox ORDER BY id")
        if loses_session:
            await other.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
        await relay._send(connection, client, rows, time.monotonic() - read_s_ago)


async def test_rows_are_deleted_up_to_the_first_of_a_partition_that_was_not_acknowledged(make_service: Any) -> None:
    writer = await make_service("writer")
    other = next(key for key in "bcdefgh" if partition(key, 2) != partition("a", 2))
    await writer.send(("a", 1), (other, 1), ("a", 2), (other, 2), ("a", 3))
    client = Moody({2})
    with pytest.raises(KafkaConnectionError):
        await send_rows(writer, client)
    assert client.given == [("a", 1), (other, 1), ("a", 2), (other, 2), ("a", 3)]
    assert [(key, sequence) for key, _, sequence in await rows_of(writer)] == [("a", 2), (other, 2), ("a", 3)]


async def test_what_was_acknowledged_before_the_deadline_is_not_sent_again(make_service: Any) -> None:
    writer = await make_service("writer")
    assert writer.bus._relay is not None
    writer.bus._relay._settings = replace(writer.bus.settings, send_deadline_s=0.1)
    for n in range(3):
        await writer.send(("a", n))
    with pytest.raises(TimeoutError):
        await send_rows(writer, Moody(set(), silent=2))
    assert [sequence for _, _, sequence in await rows_of(writer)] == [2, 3]


async def test_rows_that_were_held_long_are_sent_while_the_lock_is_held(make_service: Any) -> None:
    """The process may have stood still meanwhile, and another relay have sent them and more; or all is slow."""
    writer = await make_service("writer")
    await writer.send(("a", 1))
    client, held_s = Moody(set()), writer.bus.settings.relay_hold_s + 0.1
    with pytest.raises(Exception) as ended:
        await send_rows(writer, client, read_s_ago=held_s, loses_session=True)
    assert is_down(ended.value)
    assert client.given == []
    assert len(await rows_of(writer)) == 1
    await send_rows(writer, client, read_s_ago=held_s)
    assert client.given == [("a", 1)]


async def _arrived(service: Service, count: int) -> bool:
    return len(await service.effects()) >= count
