"""The internal venue as a last gate: a deadline has a place in the journal."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from cancel_after import set_deadline
from fleet_contracts.topics import TRADING_CANCEL_AFTER
from fleet_contracts.trading import CancelAfterSet
from fleet_contracts.venue import QueryVenueOrders, VenueOrderAccepted, VenueOrderCanceled, VenueOrderRejected
from fleet_contracts.venue import VenueOrderState as State

A, C, R = VenueOrderAccepted, VenueOrderCanceled, VenueOrderRejected


async def test_it_is_heard_by_kafka_and_holds_over_a_restart(open_engine: Any) -> None:
    """orders in two books rest -> the deadline is heard -> down, its time comes, up: they are out, another's stays, and so
    does a new one"""
    async with open_engine() as engine:
        mine = uuid4()
        orders = [engine.order(price="94", symbol=s, account_id=mine) for s in ("AAPL/USD", "IBM/USD")]
        others = engine.order(price="94")
        async with engine.running():
            await engine.lists(engine.instrument(), engine.instrument("IBM/USD"))
            await engine.command(*orders, others)
            for order in (*orders, others):
                await engine.told(order.venue_order_ref, A)
            now = datetime.now(UTC)
            told = CancelAfterSet(
                account_id=mine, user_id=mine, set_at=now, cancel_at=now + timedelta(seconds=1), passed_at=None
            )
            await engine.peers.say((TRADING_CANCEL_AFTER, str(mine), told))
        again = engine.order(price="94", account_id=mine)
        async with engine.running():
            for order in orders:
                _, canceled = await engine.told(order.venue_order_ref, A, C)
                assert canceled.code == "cancel_after"
            await engine.command(again)
            await engine.told(again.venue_order_ref, A)
            for order in (again, others):
                await engine.command(engine.of(order, QueryVenueOrders))
                _, state = await engine.told(order.venue_order_ref, A, State)
                assert state.stand.value == "working"


async def test_what_was_said_before_and_comes_after_is_refused(engine: Any) -> None:
    late = engine.order(price="94")
    at = datetime.now(UTC) + timedelta(minutes=1)
    await set_deadline(engine, "matching-engine", late.account_id, passed_at=at)
    await engine.command(late)
    assert (await engine.told(late.venue_order_ref, R))[0].code == "cancel_after"
