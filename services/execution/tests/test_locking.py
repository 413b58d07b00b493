"""Transactions about orders that hang together, and about venues, in many interleavings: none is ended for a deadlock."""

import asyncio
import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import Any
from uuid import UUID, uuid4, uuid5

from fleet_bus import Bus, Due, Received, Transaction
from fleet_chassis.database import Database
from fleet_contracts.exchange_connector import LISTS_OPEN_ORDERS, VenueStatus
from fleet_contracts.venue import VenueOrderAccepted, VenueReports
from fleet_contracts.vocabulary import VenueStateWord
from fleet_execution import consumers
from fleet_execution.domain import OrderKey, Stand, Terms, VenueOrder, groups, submit
from fleet_execution.domain.twap import Twap
from fleet_execution.ports import VenueState
from fleet_execution.service import reconciling
from fleet_execution.store.comparing import ROUND, VENUES, ComparingPostgresUnitOfWork
from fleet_execution.store.unit import PostgresUnitOfWork
from fleet_testkit.peers import Process
from msgspec.structs import replace

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
TERMS = Terms("buy", "limit", D(10), D(100), None, "gtc", None)


def key(order_id: UUID | None = None) -> OrderKey:
    return OrderKey.of(order_id or uuid4(), uuid4(), uuid4(), "AAPL/USD", "paper")


def child_of(parent: VenueOrder, number: int) -> VenueOrder:
    order_id = parent.key.order_id
    named = replace(key(order_id), ref=uuid5(order_id, str(number)))
    child, _ = submit(named, TERMS, command_sequence=1, market_at=AT, now=AT, refusal=None)
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


async def test_no_two_wait_for_each_other(kafka: Any, make_database: Any) -> None:
    """Reports, commands, prices and time, each for some of the orders, of which another replica has made the others."""
    rng, orders = random.Random(5), some_orders()
    refs = [str(order.key.ref) for order in orders]
    worked = next(order for order in orders if order.algo is not None)
    async with Database(await make_database("execution"), application_name="test", max_size=8) as database:
        bus = Bus(Process("execution", kafka.url, kafka.unique("t") + "."), database)
        async with bus.transaction() as tx:
            uow = PostgresUnitOfWork(tx)
            for order in orders:
                uow.save(order)
            await uow.flush()

        async def hold(ids: list[str]) -> None:
            async with bus.transaction() as tx:
                uow = PostgresUnitOfWork(tx)
                await uow.lock(sorted(ids))
                assert {UUID(ref) for ref in ids} <= {UUID(ref) for ref in refs if uow.find(UUID(ref)) is not None}
                if uow.find(worked.key.ref) is not None:
                    await uow.children(worked)

        for _ in range(40):
            await asyncio.gather(*(hold(rng.sample(refs, rng.randint(1, 6))) for _ in range(8)))


async def test_no_two_who_compare_wait_for_each_other(kafka: Any, make_database: Any) -> None:
    """What several venues say of themselves in one batch, and the rounds that are due, each in any order."""
    rng, minute = random.Random(5), timedelta(minutes=1)
    venues = ["east", "north", "south", "west"]
    async with Database(await make_database("execution"), application_name="test", max_size=8) as database:
        bus = Bus(Process("execution", kafka.url, kafka.unique("t") + "."), database)

        def unit(tx: Transaction) -> ComparingPostgresUnitOfWork:
            return ComparingPostgresUnitOfWork(tx)

        heard = consumers.statuses(unit)
        times = {"every": minute, "within": minute, "silent_after": minute}
        due = consumers.rounds(unit, lambda _: (), **times, listening_since=datetime.now(UTC))

        async def tell(some: list[str]) -> None:
            word = VenueStateWord.CONNECTED
            said = [VenueStatus(venue=v, state=word, feed="simulated", heartbeat_at=AT, capabilities=()) for v in some]
            async with bus.transaction() as tx:
                uow = unit(tx)
                await uow.lock(sorted({found for status in said for found in heard.touches(status)}))
                for venue in some:
                    state = VenueState(rng.random() < 0.9, True, frozenset({str(rng.random())}), AT)
                    await reconciling.learn_status(uow, venue, state)
                await uow.flush()

        async def look(some: list[str]) -> None:
            async with bus.transaction() as tx:
                uow = unit(tx)
                await uow.lock(sorted({found for venue in some for found in due.touches(venue)}))
                await tx.connection.execute("DELETE FROM due WHERE kind = $1 AND aggregate_id = ANY($2)", ROUND, some)
                for venue in some:
                    await reconciling.look_round(uow, venue, (), is_start=False, every=minute, within=minute)
                await uow.flush()

        await tell(venues)
        for _ in range(40):
            await asyncio.gather(
                *(act(rng.sample(venues, rng.randint(2, 4))) for act in (tell, look) for _ in range(4))
            )


async def test_a_report_of_an_order_not_known_here_and_who_compares_do_not_wait_for_each_other(
    kafka: Any, make_database: Any
) -> None:
    """a listing's fill of the order that the same report is about → both go through, and the doubt comes of its own"""
    known, strange = some_orders()[0], uuid4()
    state = VenueState(True, True, frozenset({LISTS_OPEN_ORDERS}), AT)
    async with Database(await make_database("execution"), application_name="test", max_size=8) as database:
        bus = Bus(Process("execution", kafka.url, kafka.unique("t") + "."), database)

        def unit(tx: Transaction) -> ComparingPostgresUnitOfWork:
            return ComparingPostgresUnitOfWork(tx)

        async with bus.transaction() as tx:
            uow = unit(tx)
            uow.save(known)
            uow.keep_venue_state("paper", state)
            await uow.flush()
        work, unknowns = consumers.reports(unit, ["paper"]), consumers.unknowns(unit)
        both_hold = asyncio.Barrier(2)
        said = VenueReports(
            venue="paper",
            symbol="AAPL/USD",
            reports=tuple(
                VenueOrderAccepted(venue_order_ref=ref, account_id=known.key.account_id, market_at=AT)
                for ref in (known.key.ref, strange)
            ),
        )

        async def hear() -> None:
            async with bus.transaction() as tx:
                uow = unit(tx)
                await uow.lock(sorted(work.touches(said)))
                await both_hold.wait()
                received = Received(said, "", "", 0, 0, "", 0, 1, uuid4(), AT, AT, None)
                await work.handlers[VenueReports](uow, received)
                await uow.flush()

        async def compare() -> None:
            async with bus.transaction() as tx:
                uow = unit(tx)
                await uow.lock([VENUES])
                await both_hold.wait()
                await uow.lock([str(known.key.ref)])

        await asyncio.gather(hear(), compare())
        async with bus.transaction() as tx:
            uow = unit(tx)
            due = await tx.connection.fetchval("SELECT aggregate_id FROM due WHERE kind = $1", unknowns.kind)
            await uow.lock(sorted(unknowns.touches(due)))
            await unknowns.handle(uow, Due(unknowns.kind, due, 0, AT))
            await uow.flush()
        async with bus.transaction() as tx:
            uow = unit(tx)
            await uow.lock([str(known.key.ref)])
            heard = uow.find(known.key.ref)
            assert heard is not None
            assert (heard.stand, list(await uow.doubts("paper"))) == (Stand.WORKING, ["AAPL/USD"])
            assert await tx.connection.fetchval("SELECT count(*) FROM due WHERE kind = $1", ROUND) == 1
