"""An account's deadline has come: what no venue sees ends here."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import Any
from uuid import uuid4

import msgspec
from cancel_after import set_deadline
from fleet_bus import Bus
from fleet_chassis.database import Database
from fleet_contracts import trading, venue
from fleet_contracts.trading import CancelAfterSet, SubmitOrder
from fleet_contracts.vocabulary import OrderType, TimeInForce
from fleet_execution.consumers import cut_off
from fleet_execution.domain import OrderKey, Stand, Terms
from fleet_execution.domain.twap import Twap
from fleet_execution.service.working import begin
from fleet_execution.store.unit import NEW, PostgresUnitOfWork, venue_orders_of
from fleet_gate import Cutoffs
from fleet_testkit.databases import waiting_for_locks
from fleet_testkit.eventually import eventually
from fleet_testkit.peers import Process


async def test_what_waits_is_worked_or_held_here_ends_and_another_accounts_does_not(
    execution_service: Any, an_order: SubmitOrder, a_bracket: SubmitOrder
) -> None:
    """a stop waits here, a part of a TWAP and a bracket's profit are at the venue -> the deadline, while execution is down ->
    up: the stop has ended, the venue is asked for both others -> it confirms -> all has ended for that reason"""
    service = execution_service
    await service.can("gtd")
    await service.lists()
    a_stop = msgspec.structs.replace(
        an_order, order_type=OrderType.STOP, stop_price=D(101), time_in_force=TimeInForce.GTC
    )
    accounts = {name: uuid4() for name in ("stop", "twap", "bracket")}
    others = msgspec.structs.replace(a_stop, order_id=uuid4(), account_id=uuid4())
    stop = msgspec.structs.replace(a_stop, order_id=uuid4(), account_id=accounts["stop"])
    twap = msgspec.structs.replace(
        a_stop,
        order_id=uuid4(),
        account_id=accounts["twap"],
        order_type=OrderType.LIMIT,
        limit_price=D(99),
        stop_price=None,
        algo=trading.Twap(duration_s=1_000, slices=2),
    )
    bracket = msgspec.structs.replace(a_bracket, account_id=accounts["bracket"])
    await service.command(stop, others, twap, bracket)
    (part,) = await service.some(lambda: service.sent(venue.PlaceVenueOrder, twap.account_id), 1)
    (entry,) = await service.placed_with_legs(bracket, 1)
    await service.report(service.filled(entry, 10, 10))
    _, profit = await service.placed_with_legs(bracket, 2)
    await service.names(stop, 1)
    await service.names(others, 1)
    at = service.clock.now() + timedelta(seconds=60)
    for account_id in accounts.values():
        await set_deadline(service, "execution", account_id, cancel_at=at)
    await service.running.aclose()
    service.clock.advance(seconds=60)
    await service.start()
    assert (await service.names(stop, 2))[1:] == [("order", "OrderCanceled", "cancel_after")]
    for place in (part, profit):
        (cancel,) = await service.some(lambda of=place: service.sent(venue.CancelVenueOrder, of.account_id), 1)
        assert cancel.venue_order_ref == place.venue_order_ref
        await service.report(service.canceled(place, "cancel_after"))
    assert (await service.names(twap, 2))[1:] == [("order", "OrderCanceled", "cancel_after")]
    ends = [told for told in await service.names(bracket, 7) if told[1] == "OrderCanceled"]
    assert sorted(ends) == [(name, "OrderCanceled", "cancel_after") for name in ("stop-loss", "take-profit")]
    assert len(service.told(others.account_id)) == 1


async def test_what_was_said_before_and_comes_after_is_refused(execution_service: Any, an_order: SubmitOrder) -> None:
    service = execution_service
    at = datetime.now(UTC)
    await set_deadline(service, "execution", an_order.account_id, passed_at=at)
    await service.placed(an_order)
    late = msgspec.structs.replace(an_order, order_id=uuid4(), account_id=uuid4())
    await set_deadline(service, "execution", late.account_id, passed_at=at + timedelta(minutes=1))
    await service.command(late)
    (told,) = await eventually(lambda: service.told(late.account_id))
    assert told.code == "cancel_after"


async def test_an_order_that_was_taken_just_before_and_is_not_committed_yet_is_waited_for(
    kafka: Any, make_database: Any
) -> None:
    key = OrderKey.of(uuid4(), uuid4(), uuid4(), "AAPL/USD", "paper")
    terms = Terms("buy", "limit", D(10), D(100), None, "gtc", None)
    async with Database(await make_database("execution"), application_name="test") as database:
        bus = Bus(Process("execution", kafka.url, kafka.unique("t") + "."), database)
        unit, passed = PostgresUnitOfWork, Cutoffs()

        async def is_waiting() -> bool:
            async with database.connection() as connection:
                return bool(await waiting_for_locks(connection))

        async with bus.transaction() as tx:
            uow = unit(tx)
            await uow.lock([f"{NEW}{key.ref}"])
            begin(uow, key, terms, Twap(tx.now, 60, 6, D(1)), command_sequence=1, market_at=tx.now, refusal=None)
            told = CancelAfterSet(
                account_id=key.account_id, user_id=key.user_id, set_at=tx.now, cancel_at=None, passed_at=tx.now
            )
            passed.obey(told)
            cutting = asyncio.create_task(cut_off(unit, bus, passed))

            async def has_looked() -> bool:
                return cutting.done() or await is_waiting()

            await eventually(has_looked)
            await uow.flush()
        await cutting
        async with database.connection() as connection:
            (order,) = await venue_orders_of(connection, key.order_id)
    assert (order.stand, order.code) == (Stand.CANCELED, "cancel_after")
