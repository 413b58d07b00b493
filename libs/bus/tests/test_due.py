"""What time causes: aggregates first, then the row; a row that fails holds up no other."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from counting_service import NUMBERS, Effects, Service, number, work
from fleet_bus import Due, DueKind
from fleet_testkit.clock import FakeClock
from fleet_testkit.databases import waiting_for_locks
from fleet_testkit.eventually import eventually


class Locking(Effects):
    """Aggregates are rows of `locked`, taken in order as accounts are."""

    async def lock(self, ids: Sequence[str]) -> None:
        await super().lock(ids)
        await self.tx.connection.fetch("SELECT id FROM locked WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE", ids)


async def fire(uow: Effects, due: Due) -> None:
    uow.rows.append((due.kind, int(due.aggregate_id), due.sequence))


def bell(handle: Any = fire, *, clock: Any = "wall", unit_of_work: Any = Effects) -> DueKind:
    return DueKind("bell", clock, unit_of_work, lambda identity: [identity], handle)


async def test_a_row_taken_back_under_the_lock_of_its_aggregate_does_not_fire(make_service: Any) -> None:
    """The order is filled, and its time-out taken back, while the time-out waits for the order's row."""
    service = await make_service("trading")
    async with service.database.connection() as connection:
        await connection.execute("CREATE TABLE locked (id text PRIMARY KEY)")
        await connection.execute("INSERT INTO locked VALUES ('7')")
    service.bus.add(bell(unit_of_work=Locking))
    async with service.bus.transaction() as tx:
        tx.schedule("bell", "7", 1, "wall", tx.now)
        tx.schedule("bell", "8", 1, "wall", tx.now)
    async with service.bus.transaction() as tx:
        await Locking(tx).lock(["7"])
        async with service.running():
            await eventually(lambda: _waits_for_lock(service))
            tx.unschedule("bell", "7", 1)
            await tx.finish()
            tx._unscheduled.clear()
            await tx.connection.execute("COMMIT; BEGIN")
            await eventually(lambda: _no_rows(service))
    assert await service.effects() == [8]


async def test_a_row_that_fails_is_put_off_and_the_others_fire(make_service: Any) -> None:
    service = await make_service("trading")
    broken = {"3"}

    async def moody(uow: Effects, due: Due) -> None:
        if due.aggregate_id in broken:
            raise ValueError("no")
        await fire(uow, due)

    service.bus.add(bell(moody))
    async with service.running():
        async with service.bus.transaction() as tx:
            for n in range(6):
                tx.schedule("bell", str(n), 1, "wall", tx.now)
        await eventually(lambda: _count(service, 5))
        assert sorted(await service.effects()) == [0, 1, 2, 4, 5]
        broken.clear()
        await eventually(lambda: _count(service, 6))
    assert sorted(await service.effects()) == [0, 1, 2, 3, 4, 5]


async def test_a_market_row_that_fails_stays_due_and_is_not_rest(make_service: Any) -> None:
    service = await make_service("trading", feed="replay")
    opens = datetime(2011, 3, 1, tzinfo=UTC)
    service.bus.market_at = opens
    broken = True

    async def moody(uow: Effects, due: Due) -> None:
        if broken:
            raise ValueError("no")
        await fire(uow, due)

    async def has_failed() -> bool:
        async with service.database.connection() as connection:
            return bool(await connection.fetchval("SELECT attempts FROM due"))

    service.bus.add(bell(moody, clock="market"))
    async with service.bus.transaction() as tx:
        tx.schedule("bell", "1", 1, "market", opens)
        await tx.connection.execute("UPDATE bus_writer SET market_at = $1", opens)
    async with service.running():
        await eventually(has_failed)
        assert (await service.bus.rest()).due == 1
        broken = False
        await eventually(lambda: _count(service, 1))
        assert (await service.bus.rest()).due == 0


async def test_wall_rows_fire_by_the_clock_that_was_handed_in(make_service: Any) -> None:
    service = await make_service("trading")
    clock = FakeClock()
    service.bus.clock = clock
    service.bus.add(bell())
    async with service.running():
        async with service.bus.transaction() as tx:
            tx.schedule("bell", "1", 1, "wall", clock.now() + timedelta(hours=1))
            tx.schedule("bell", "2", 1, "wall", clock.now())
        await eventually(lambda: _count(service, 1))
        clock.advance(seconds=3600)
        await eventually(lambda: _count(service, 2))
    assert await service.effects() == [2, 1]


async def test_an_earlier_row_is_seen_though_a_later_one_is_waited_for(make_service: Any) -> None:
    service = await make_service("trading")
    service.bus.settings = replace(service.bus.settings, due_poll_s=30.0)
    service.bus.add(bell())
    async with service.running():
        async with service.bus.transaction() as tx:
            tx.schedule("bell", "9", 1, "wall", tx.now + timedelta(hours=1))
        await asyncio.sleep(0)
        async with service.bus.transaction() as tx:
            tx.schedule("bell", "1", 1, "wall", tx.now + timedelta(milliseconds=200))
        await eventually(lambda: _count(service, 1), timeout_s=10)
    assert await service.effects() == [1]


async def test_on_a_replay_only_the_end_of_a_step_moves_the_market(make_service: Any) -> None:
    writer, reader = await make_service("writer", feed="replay"), await make_service("reader", feed="replay")
    reader.bus.add(work())
    at = datetime(2011, 3, 1, tzinfo=UTC)
    async with writer.running(), reader.running():
        async with writer.bus.transaction() as tx:
            tx.publish(NUMBERS, "a", number(1), market_at=at)
        await eventually(lambda: _count(reader, 1))
        assert reader.bus.market_at is None


async def _waits_for_lock(service: Service) -> bool:
    async with service.database.connection() as connection:
        return bool(await waiting_for_locks(connection))


async def _no_rows(service: Service) -> bool:
    async with service.database.connection() as connection:
        return not await connection.fetchval("SELECT count(*) FROM due")


async def _count(service: Service, wanted: int) -> bool:
    return len(await service.effects()) >= wanted
