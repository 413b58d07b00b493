"""Two processes with the same records, as when one is fenced off late: one of them wins, and nothing is done twice."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from counting_service import NUMBERS, Effects, Service, number, record, work
from fleet_bus import Received
from fleet_bus.applying import Applier
from fleet_bus.failures import Conflict, is_down
from fleet_bus.received import Record
from fleet_contracts import encode
from fleet_contracts.core_engine import SignalAccepted


def records(count: int) -> list[Record]:
    return [
        Record(
            topic=NUMBERS.name,
            partition=0,
            offset=n,
            key="a",
            writer="writer",
            type=SignalAccepted.type_name(),
            event_id=uuid4(),
            epoch=1,
            sequence=n + 1,
            occurred_at=datetime(2026, 1, 2, tzinfo=UTC),
            market_at=None,
            traceparent=None,
            payload=encode(number(n)),
        )
        for n in range(count)
    ]


def applier(service: Service, handler: Any = record) -> Applier:
    return Applier(service.bus.settings, work(handler), service.bus._open, lambda tx, received: None)


@pytest.mark.parametrize("is_new", [True, False])
async def test_a_slow_process_with_more_records_does_not_repeat_those_of_a_fast_one(
    make_service: Any, new_database: Any, is_new: bool
) -> None:
    """The slow one has judged 8 records by what it saw before the fast one committed the first 5 of them."""
    url = await new_database()
    slow, fast = [await make_service("reader", url=url, ordinal=n) for n in range(2)]
    first = 0 if is_new else 1
    await applier(fast).apply(records(first))
    has_judged, may_go_on = asyncio.Event(), asyncio.Event()

    async def dawdle(uow: Effects, received: Received[SignalAccepted]) -> None:
        has_judged.set()
        await may_go_on.wait()
        await record(uow, received)

    applying = asyncio.create_task(applier(slow, dawdle).apply(records(8)))
    await has_judged.wait()
    beside = asyncio.create_task(applier(fast).apply(records(5)))
    if is_new:
        await beside
        may_go_on.set()
        with pytest.raises(Conflict):
            await applying
        await applier(slow).apply(records(8))
    else:
        may_go_on.set()  # a key that is known is locked: the fast one has to wait
        await asyncio.gather(applying, beside)
    assert await slow.effects("a") == list(range(8))


async def test_an_argument_that_fits_no_column_is_bad_and_not_down(make_service: Any) -> None:
    """asyncpg refuses it with the class it also uses for lost connections; waiting would not help."""
    service = await make_service("reader")
    with pytest.raises(Exception, match="invalid input") as raised:
        async with service.bus.transaction() as tx:
            await tx.connection.execute("INSERT INTO effects (number) VALUES ($1)", 2**80)
    assert not is_down(raised.value)

    async def overflow(uow: Effects, received: Received[SignalAccepted]) -> None:
        await uow.tx.connection.execute("INSERT INTO effects (number) VALUES ($1)", 2**80)

    await applier(service, overflow).apply(records(1))
    assert [key.is_not_yet for key in await service.bus.parked()] == [False]


async def test_a_position_that_is_only_believed_applies_nothing_twice_and_sets_nothing_aside(
    make_service: Any, new_database: Any
) -> None:
    """A process that knows where it was, and has been fenced off since: another went on with its records."""
    url = await new_database()
    paused, owner = [await make_service("reader", url=url, ordinal=n) for n in range(2)]
    judged: list[int] = []

    async def strict(uow: Effects, received: Received[SignalAccepted]) -> None:
        judged.append(received.sequence)
        if received.sequence <= 5 and await owner.effects("a") == list(range(5)):
            raise ValueError("this was done before")
        await record(uow, received)

    known = applier(paused, strict)
    await known.apply(records(2))
    await applier(owner).apply(records(5))
    judged.clear()
    await known.apply(records(8))
    assert judged[0] == 3, "it began where it believed to be"
    assert await paused.effects("a") == list(range(8))
    assert await paused.bus.parked() == ()

    forgetful = applier(paused)
    await forgetful.apply(records(8))
    await applier(owner).apply(records(9))
    with pytest.raises(Conflict):
        await forgetful.apply(records(10)[8:])
    await forgetful.apply(records(10)[8:])
    assert await paused.effects("a") == list(range(10))


async def test_a_position_once_read_is_not_asked_for_again(make_service: Any) -> None:
    service = await make_service("reader")
    reader = applier(service)
    asked: list[str] = []

    await reader.apply(records(1))
    async with service.database.connection() as connection:
        connection.add_query_logger(lambda query: asked.append(query.query))
        # The pool hands out the connection that was given back last.
    await applier(service).apply(records(1))
    assert any("FOR UPDATE OF p" in query for query in asked)
    asked.clear()
    await reader.apply(records(3)[1:])
    assert asked and not any("FOR UPDATE OF p" in query for query in asked)
    assert await service.effects("a") == list(range(3))
