"""Orders at a venue that has only market and limit, over the real Kafka: what triggers them, once, whatever is stopped."""

import asyncio
from datetime import timedelta
from decimal import Decimal as D
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest
import pytest_asyncio
from fleet_contracts import venue
from fleet_contracts.trading import CancelOrder, QueryOrder, ReplaceOrder, SubmitOrder
from fleet_contracts.vocabulary import OrderType, StateScope, TimeInForce, TradingStateWord
from fleet_execution.domain import venue_order_ref
from fleet_testkit.databases import waiting_for_locks
from fleet_testkit.eventually import eventually


@pytest_asyncio.fixture(loop_scope="session")
async def service(execution_service: Any) -> Any:
    """What stood before is stale by now."""
    await execution_service.can("gtd")
    await execution_service.lists()
    execution_service.clock.advance(seconds=10)
    return execution_service


@pytest.fixture
def a_stop(an_order: SubmitOrder) -> SubmitOrder:
    """Buys 10 at the market once it costs 101."""
    return msgspec.structs.replace(
        an_order, order_type=OrderType.STOP, stop_price=D(101), time_in_force=TimeInForce.GTC
    )


@pytest.fixture
def a_trailing_stop(a_stop: SubmitOrder) -> SubmitOrder:
    """Sells 10 at the market once the price has fallen by 1 from its best."""
    sell = {"side": "sell", "order_type": OrderType.TRAILING_STOP, "stop_price": None, "trail_amount": D(1)}
    return msgspec.structs.replace(a_stop, **sell, protection_price=None)


def named(order: SubmitOrder) -> dict[str, Any]:
    return {name: getattr(order, name) for name in ("order_id", "account_id", "user_id", "symbol", "venue")}


async def row(service: Any, order: SubmitOrder) -> Any:
    connection = await asyncpg.connect(service.settings.database_url.get_secret_value())
    try:
        return await connection.fetchrow(
            "SELECT *, trigger->>'mark' AS mark FROM venue_orders WHERE venue_order_ref = $1",
            venue_order_ref(order.order_id),
        )
    finally:
        await connection.close()


async def under_watch(service: Any, order: SubmitOrder) -> None:
    await service.command(order)
    assert await service.names(order, 1) == [("order", "OrderAccepted", None)]


async def test_a_stop_waits_here_for_its_price(service: Any, a_stop: SubmitOrder) -> None:
    """accepted, not sent -> 100.99 -> still here -> 101 -> at the venue as a market order -> accepted, filled"""
    await under_watch(service, a_stop)
    await service.quote("100.98", "100.99")
    await service.quote("101.00", "101.02")
    (place,) = await service.placed_with_legs(a_stop, 1)
    assert (place.order_type, place.quantity, place.stop_price) == ("market", 10, None)
    assert (place.protection_price, place.time_in_force) == (D("105.5"), "gtc")
    assert place.venue_order_ref == venue_order_ref(a_stop.order_id)
    await service.report(*[service.filled(place, 4, 4), service.filled(place, 6, 10)])
    assert await service.names(a_stop, 4) == [
        ("order", "OrderAccepted", None),
        ("order", "OrderTriggered", None),
        ("order", "OrderFilled", None),
        ("order", "OrderFilled", None),
    ]
    assert service.told(a_stop.account_id)[1].trigger_price == D("101.02")


async def test_a_price_that_stands_as_it_comes_counts(service: Any, a_stop: SubmitOrder) -> None:
    await service.quote("101.00", "101.01")
    await service.command(a_stop)
    await service.placed_with_legs(a_stop, 1)


async def test_stopped_between_quote_and_placement_it_is_placed_once(service: Any, a_stop: SubmitOrder) -> None:
    """its row is locked -> the price comes, and execution waits for the row -> it dies -> alive again, the price comes
    again, twice -> triggered and placed once"""
    await under_watch(service, a_stop)
    connection = await asyncpg.connect(service.settings.database_url.get_secret_value())
    async with connection.transaction():
        await connection.execute(
            "SELECT FROM venue_orders WHERE venue_order_ref = $1 FOR UPDATE", venue_order_ref(a_stop.order_id)
        )
        await service.quote("101.00", "101.01")
        [pid] = await eventually(lambda: waiting_for_locks(connection), what="execution waits for the row")
        ending = asyncio.create_task(service.running.aclose())
        await connection.execute("SELECT pg_terminate_backend($1)", pid)
        await ending
    await connection.close()
    assert (await row(service, a_stop))["triggered_at"] is None
    assert service.sent(venue.PlaceVenueOrder, a_stop.account_id) == []
    await service.start()
    for _ in range(2):
        await service.quote("101.00", "101.01")
        await service.placed_with_legs(a_stop, 1)
    query = QueryOrder(**named(a_stop), attempt=1)
    await service.command(query)
    await eventually(lambda: service.sent(venue.QueryVenueOrders, a_stop.account_id))
    assert len(service.sent(venue.PlaceVenueOrder, a_stop.account_id)) == 1
    assert await service.names(a_stop, 2) == [("order", "OrderAccepted", None), ("order", "OrderTriggered", None)]


async def test_a_connection_lost_in_between_does_not_lose_the_price(service: Any, a_stop: SubmitOrder) -> None:
    await under_watch(service, a_stop)
    connection = await asyncpg.connect(service.settings.database_url.get_secret_value())
    async with connection.transaction():
        await connection.execute("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE")
        await service.quote("101.00", "101.01")
        [pid] = await eventually(lambda: waiting_for_locks(connection), what="execution waits for the table")
        await connection.execute("SELECT pg_terminate_backend($1)", pid)
    await connection.close()
    await service.placed_with_legs(a_stop, 1)


async def test_a_trailing_stop_keeps_its_best_price_through_a_restart(
    service: Any, a_trailing_stop: SubmitOrder
) -> None:
    await under_watch(service, a_trailing_stop)
    await service.quote("104.00", "104.01")

    async def is_kept() -> bool:
        # A price that comes late, by this clock, is old: so it is shown again as time goes on.
        await service.quote("105.00", "105.01")
        service.clock.advance(seconds=0.2)
        return bool((await row(service, a_trailing_stop))["mark"] == "105.00")

    await eventually(is_kept)
    await service.running.aclose()
    await service.start()
    await service.quote("104.01", "104.02")
    await service.quote("104.00", "104.01")
    (place,) = await service.placed_with_legs(a_trailing_stop, 1)
    assert (place.order_type, place.trail_amount, place.protection_price) == ("market", None, None)
    await service.names(a_trailing_stop, 2)
    assert service.told(a_trailing_stop.account_id)[1].trigger_price == D(104)


async def test_what_is_old_or_of_a_halted_venue_triggers_nothing(service: Any, a_stop: SubmitOrder) -> None:
    """a quote of 6 s ago, one that is crossed -> nothing; in a halt -> held; over -> by the next price"""
    await under_watch(service, a_stop)
    await service.quote("101.00", "101.01", age_s=6)
    await service.quote("101.02", "101.01")
    await service.tell_state(StateScope.ACCOUNT, str(a_stop.account_id), TradingStateWord.HALTED, 1)
    other = msgspec.structs.replace(a_stop, order_id=uuid4(), account_id=uuid4())
    await service.command(other)
    await service.quote("101.00", "101.01")
    await service.placed_with_legs(other, 1)
    await service.quote("100.00", "100.01")
    await service.tell_state(StateScope.ACCOUNT, str(a_stop.account_id), TradingStateWord.ACTIVE, 2)
    assert service.sent(venue.PlaceVenueOrder, a_stop.account_id) == []
    service.clock.advance(seconds=2)
    await service.quote("101.00", "101.01")
    await service.placed_with_legs(a_stop, 1)


async def test_one_that_waits_is_replaced_asked_about_and_cancelled_here(service: Any, a_stop: SubmitOrder) -> None:
    await under_watch(service, a_stop)
    fields = named(a_stop)
    replaced = ReplaceOrder(**fields, quantity=D(7), limit_price=None, stop_price=D(102))
    await service.command(replaced, QueryOrder(**fields, attempt=1))
    await service.names(a_stop, 3)
    await service.quote("101.00", "101.01")
    await service.command(CancelOrder(**fields), CancelOrder(**fields))
    assert await service.names(a_stop, 5) == [
        ("order", "OrderAccepted", None),
        ("order", "OrderReplaced", "requested"),
        ("order", "OrderState", None),
        ("order", "OrderCanceled", "requested"),
        ("order", "OrderCancelRejected", "too_late_to_cancel"),
    ]
    changed, state = service.told(a_stop.account_id)[1:3]
    assert (changed.quantity, changed.stop_price, state.stand) == (D(7), D(102), "working")
    await service.quote("103.00", "103.01")
    assert service.sent(venue.PlaceVenueOrder, a_stop.account_id) == []


async def test_its_time_ends_here(service: Any, a_stop: SubmitOrder) -> None:
    expires_at = service.clock.now() + timedelta(minutes=1)
    a_gtd = msgspec.structs.replace(a_stop, time_in_force=TimeInForce.GTD, expires_at=expires_at)
    await under_watch(service, a_gtd)
    service.clock.advance(seconds=61)
    assert (await service.names(a_gtd, 2))[1] == ("order", "OrderExpired", None)


async def test_a_stop_leg_waits_here_and_the_other_one_is_gone_before_it_is_placed(
    service: Any, a_bracket: SubmitOrder
) -> None:
    """entry fills -> the profit is at the venue, the stop is not -> its price comes -> the profit is cancelled -> and
    confirmed, with 2 sold -> the rest is sold at the market"""
    await service.command(a_bracket)
    (entry,) = await service.placed_with_legs(a_bracket, 1)
    await service.report(service.filled(entry, 10, 10))
    _, profit = await service.placed_with_legs(a_bracket, 2)
    assert profit.limit_price == 110
    await service.quote("90.01", "90.02")
    assert service.sent(venue.CancelVenueOrder, a_bracket.account_id) == []
    await service.quote("90.00", "90.01")
    (cancel,) = await eventually(lambda: service.sent(venue.CancelVenueOrder, a_bracket.account_id))
    assert cancel.venue_order_ref == profit.venue_order_ref
    assert len(service.sent(venue.PlaceVenueOrder, a_bracket.account_id)) == 2
    await service.report(service.filled(profit, 2, 2), service.canceled(profit, upto=2))
    *_, stop = await service.placed_with_legs(a_bracket, 3)
    assert (stop.order_type, stop.quantity, stop.protection_price) == ("market", D(8), D("85.5"))
    await service.report(service.filled(stop, 8, 8))
    assert (await service.names(a_bracket, 11))[5:] == [
        ("stop-loss", "OrderTriggered", None),
        ("take-profit", "OrderFilled", None),
        ("stop-loss", "OrderReplaced", "oco"),
        ("take-profit", "OrderCanceled", "oco"),
        ("stop-loss", "OrderFilled", None),
        ("stop-loss", "OrderCanceled", "oco"),
    ]


async def test_an_order_that_waits_here_takes_its_legs_along(service: Any, a_bracket: SubmitOrder) -> None:
    """a bracket whose entry is a stop -> all of it waits -> cancelled -> all of it is gone; another one -> its price comes
    -> it fills -> its legs are at work"""
    entry = {"order_type": OrderType.STOP, "limit_price": None, "stop_price": D(101), "protection_price": D("105.5")}
    bracket = msgspec.structs.replace(a_bracket, **entry)
    await service.command(bracket, CancelOrder(**named(bracket)))
    assert set((await service.names(bracket, 6))[3:]) == {
        ("order", "OrderCanceled", "requested"),
        ("take-profit", "OrderCanceled", "parent_ended"),
        ("stop-loss", "OrderCanceled", "parent_ended"),
    }
    legs = tuple(msgspec.structs.replace(leg, order_id=uuid4()) for leg in bracket.legs)
    other = msgspec.structs.replace(bracket, order_id=uuid4(), account_id=uuid4(), legs=legs)
    await service.command(other)
    await service.names(other, 3)
    await service.quote("101.00", "101.01")
    (place,) = await service.placed_with_legs(other, 1)
    assert (place.order_type, place.side) == ("market", "buy")
    await service.report(service.filled(place, 10, 10))
    _, profit = await service.placed_with_legs(other, 2)
    assert profit.limit_price == 110
