"""Transactions about orders that hang together, in many interleavings: none of them is ended for a deadlock."""

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest
from fleet_bus import Bus
from fleet_chassis.database import Database
from fleet_execution.domain import OrderKey, Terms, VenueOrder, groups, submit
from fleet_execution.domain.twap import Twap
from fleet_execution.store.families import Families
from fleet_execution.store.unit import PostgresUnitOfWork
from fleet_testkit.peers import Process

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
TERMS = Terms("buy", "limit", D(10), D(100), None, "gtc", None)


def key(named: UUID | None = None, order_id: UUID | None = None) -> OrderKey:
    return OrderKey(order_id or uuid4(), uuid4(), uuid4(), "AAPL/USD", "paper", named)


def child_of(parent: VenueOrder, number: int) -> VenueOrder:
    order_id = parent.key.order_id
    child, _ = submit(
        key(uuid5(order_id, str(number)), order_id), TERMS, command_sequence=1, market_at=AT, now=AT, refusal=None
    )
    return replace(child, parent_ref=parent.key.ref, group_ref=parent.group_ref)


def some_orders() -> list[VenueOrder]:
    """By themselves, brackets with two children a leg, one in parts."""
    found = [submit(key(), TERMS, command_sequence=1, market_at=AT, now=AT, refusal=None)[0] for _ in range(3)]
    for _ in range(2):
        legs = groups.Legs(((key(), TERMS), (key(), TERMS)), are_oco=False, are_held=True)
        begun = groups.begin(key(), TERMS, legs, command_sequence=1, market_at=AT, now=AT, refusal=None)
        found += begun.changed
        found += [child_of(leg, n) for leg in begun.changed if leg.leg is not None for n in range(2)]
    worked = replace(found[0], key=key(), algo=Twap(AT, 60, 6, D(1)))
    return [*found, worked, *(child_of(worked, n) for n in range(4))]


@pytest.mark.parametrize("is_remembered", [True, False])
async def test_no_two_wait_for_each_other(kafka: Any, make_database: Any, is_remembered: bool) -> None:
    """Reports, commands, prices and time, each for some of the orders; what is not remembered is read at the start."""
    rng, orders = random.Random(5), some_orders()
    refs = [str(order.key.ref) for order in orders]
    worked = next(order for order in orders if order.algo is not None)
    async with Database(await make_database("execution"), application_name="test", max_size=8) as database:
        bus = Bus(Process("execution", kafka.url, kafka.unique("t") + "."), database)
        families = Families()
        async with bus.transaction() as tx:
            uow = PostgresUnitOfWork(tx, families)
            for order in orders:
                uow.save(order)
            await uow.flush()
        if not is_remembered:
            families = Families()
            async with database.connection() as connection:
                await families.load(connection)

        async def hold(ids: list[str]) -> None:
            async with bus.transaction() as tx:
                uow = PostgresUnitOfWork(tx, families)
                await uow.lock(sorted(ids))
                assert {UUID(ref) for ref in ids} <= {UUID(ref) for ref in refs if uow.find(UUID(ref)) is not None}
                if uow.find(worked.key.ref) is not None:
                    await uow.children(worked)

        for _ in range(40):
            await asyncio.gather(*(hold(rng.sample(refs, rng.randint(1, 6))) for _ in range(8)))
