"""Natural batching: whoever goes away, is too many, or loses the database, spoils it for nobody else."""

import asyncio
import gc
import weakref
from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
import pytest
from counting_service import NUMBERS, PASSED_ON, Effects, Service, number
from fleet_bus import GroupCommitter, Overloaded, Transaction
from fleet_chassis.database import CommitOutcomeUnknown, DatabaseUnavailable
from fleet_chassis.requests import current_request_id, take_request_id
from fleet_testkit.eventually import eventually
from opentelemetry import trace


class Door:
    """A decision that waits until it is let through."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.groups: list[list[int]] = []
        self.error: Exception | None = None

    async def decide(self, uow: Effects, commands: Sequence[int]) -> list[int]:
        self.groups.append(list(commands))
        await self.open.wait()
        if self.error is not None:
            raise self.error
        uow.rows.extend(("a", command, 0) for command in commands)
        return [command * 2 for command in commands if command != 13]


def committing(service: Service, door: Door) -> GroupCommitter[int, int]:
    return service.bus.group_committer(unit_of_work=Effects, touches=lambda command: ["a"], decide=door.decide)


async def test_a_caller_who_goes_away_takes_nobody_along(make_service: Any) -> None:
    service, door = await make_service("trading"), Door()
    committer = committing(service, door)
    door.open.clear()
    first = asyncio.create_task(committer.submit(1))
    await eventually(lambda: door.groups)
    waiting = [asyncio.create_task(committer.submit(n)) for n in range(2, 7)]
    await asyncio.sleep(0)
    first.cancel()
    waiting[2].cancel()
    door.open.set()
    results = await asyncio.gather(first, *waiting, return_exceptions=True)
    assert [r for r in results if not isinstance(r, BaseException)] == [4, 6, 10, 12]
    assert door.groups == [[1], [2, 3, 4, 5, 6]]
    assert await service.effects() == [1, 2, 3, 4, 5, 6]  # what was asked is done; the caller only does not hear of it


async def test_too_many_are_refused_and_nothing_of_them_kept(make_service: Any) -> None:
    service, door = await make_service("trading"), Door()
    committer = committing(service, door)
    door.open.clear()
    first = asyncio.create_task(committer.submit(0))
    await eventually(lambda: door.groups)
    many = asyncio.create_task(committer.submit_all(range(100, 10_100)))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await committer.submit(1)
    door.open.set()
    assert await first == 0
    assert await many == [n * 2 for n in range(100, 10_100)]
    assert max(len(group) for group in door.groups) == 256


@pytest.mark.parametrize("error", [DatabaseUnavailable("gone"), CommitOutcomeUnknown("lost"), TimeoutError("silent")])
async def test_without_a_database_a_group_fails_at_once_and_not_one_by_one(make_service: Any, error: Exception) -> None:
    service, door = await make_service("trading"), Door()
    committer = committing(service, door)
    door.error = error
    results = await asyncio.gather(*(committer.submit(n) for n in range(5)), return_exceptions=True)
    assert results == [error] * 5
    assert len(door.groups) == 1
    door.error = None
    assert await committer.submit(6) == 12


@pytest.mark.parametrize(("error", "tries"), [(asyncpg.UniqueViolationError("taken"), 2), (ValueError("bad"), 1)])
async def test_who_met_what_another_process_wrote_meanwhile_is_decided_once_more(
    make_service: Any, error: Exception, tries: int
) -> None:
    service, door = await make_service("trading"), Door()
    door.error = error
    with pytest.raises(type(error)):
        await committing(service, door).submit(1)
    assert door.groups == [[1]] * tries


async def test_a_decision_that_forgets_a_command_is_rolled_back_and_told(make_service: Any) -> None:
    service, door = await make_service("trading"), Door()
    committer = committing(service, door)
    results = await asyncio.gather(*(committer.submit(n) for n in (12, 13, 14)), return_exceptions=True)
    assert results[0] == 24
    assert isinstance(results[1], ValueError)
    assert results[2] == 28
    assert await service.effects() == [12, 14]


class Telling(Effects):
    """Says once more of all that it wrote, at the end."""

    async def flush(self) -> None:
        self.tx.publish(PASSED_ON, "a", number(len(self.rows)))
        await super().flush()


async def test_each_command_is_decided_under_the_trace_and_the_request_of_who_asked_for_it(make_service: Any) -> None:
    service, door = await make_service("trading"), Door()
    requests: list[tuple[int, str | None]] = []

    async def decide(uow: Effects, commands: Sequence[int]) -> Iterable[int]:
        await door.decide(uow, commands)

        def one(command: int) -> int:
            requests.append((command, current_request_id()))
            uow.tx.publish(NUMBERS, "a", number(command))
            return command

        return map(one, commands)

    committer: GroupCommitter[int, int] = service.bus.group_committer(
        unit_of_work=Telling, touches=lambda command: ["a"], decide=decide
    )

    async def ask(span_id: int, *commands: int) -> None:
        take_request_id({"type": "http", "headers": [(b"x-request-id", b"request-%d" % span_id)]})
        span = trace.SpanContext(trace_id=7, span_id=span_id, is_remote=False, trace_flags=trace.TraceFlags(1))
        with trace.use_span(trace.NonRecordingSpan(span)):
            await committer.submit_all(commands)

    door.open.clear()
    waiting = [asyncio.create_task(ask(1, 1))]
    await eventually(lambda: door.groups)
    waiting += [asyncio.create_task(ask(2, 2, 3)), asyncio.create_task(ask(4, 4))]
    await asyncio.sleep(0)
    door.open.set()
    await asyncio.gather(*waiting)
    await asyncio.create_task(committer.submit(5))
    assert door.groups == [[1], [2, 3, 4], [5]]
    assert requests == [(1, "request-1"), (2, "request-2"), (3, "request-2"), (4, "request-4"), (5, None)]
    async with service.database.connection() as connection:
        rows = await connection.fetch("SELECT topic, traceparent FROM outbox ORDER BY id")
    parents = [(row["topic"], row["traceparent"] and int(row["traceparent"].split("-")[2], 16)) for row in rows]
    assert [parent for topic, parent in parents if topic == NUMBERS.name] == [1, 2, 2, 4, None]
    # What is told of a whole group belongs to who asked for all of it, and otherwise to nobody.
    assert [parent for topic, parent in parents if topic == PASSED_ON.name] == [1, None, None]


async def test_a_stop_lets_the_groups_that_wait_be_decided(make_service: Any) -> None:
    service, door = await make_service("trading"), Door()
    committer = committing(service, door)
    async with service.running():
        door.open.clear()
        waiting = [asyncio.create_task(committer.submit(n)) for n in range(3)]
        await eventually(lambda: door.groups)
        asyncio.get_running_loop().call_later(0.2, door.open.set)
    assert await asyncio.gather(*waiting) == [0, 2, 4]


async def test_what_is_done_in_part_is_not_told_as_nothing_done(make_service: Any) -> None:
    service = await make_service("trading")

    async def decide(uow: Effects, commands: Sequence[int]) -> list[int]:
        if 299 in commands:
            raise DatabaseUnavailable("gone")
        uow.rows.extend(("a", command, 0) for command in commands)
        return list(commands)

    committer: GroupCommitter[int, int] = service.bus.group_committer(
        unit_of_work=Effects, touches=lambda command: ["a"], decide=decide
    )
    with pytest.raises(CommitOutcomeUnknown):
        await committer.submit_all(range(300))
    assert await service.effects() == list(range(256))
    with pytest.raises(DatabaseUnavailable):
        await committer.submit_all([299])


class Unit:
    """Holds its transaction, and the transaction what the unit still has to do."""

    def __init__(self, tx: Transaction) -> None:
        self.tx = tx
        tx.after_commit(self.put_back)

    def put_back(self) -> None:
        pass


async def test_what_a_transaction_touched_is_freed_with_it(make_service: Any) -> None:
    service = await make_service("trading")
    gc.disable()
    try:
        async with service.bus.transaction() as tx:
            unit = Unit(tx)
        touched = weakref.ref(unit)
        del unit, tx
        assert touched() is None
    finally:
        gc.enable()
