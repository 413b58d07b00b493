"""The paper venue as a last gate: an account's deadline has come."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from cancel_after import set_deadline
from fleet_contracts import venue

ACCEPTED, CANCELED, REJECTED = venue.VenueOrderAccepted, venue.VenueOrderCanceled, venue.VenueOrderRejected
SERVICE = "exchange-connector"


async def test_all_of_the_account_is_out_when_it_has_come_and_what_comes_then_is_taken(simulated: Any) -> None:
    """orders in two books and another account's -> a heartbeat, and another -> the last one's time: two are out -> a new one
    rests -> told again, as after a restart, nothing happens to it"""
    mine = uuid4()
    resting = [simulated.place(symbol, limit_price=Decimal(1), account_id=mine) for symbol in ("GOOG/USD", "BTC/USD")]
    others = simulated.place("GOOG/USD", limit_price=Decimal(1))
    await simulated.command(*resting, others)
    for order in (*resting, others):
        await simulated.told(order.venue_order_ref, ACCEPTED)
    await set_deadline(simulated, SERVICE, mine, cancel_at=datetime.now(UTC) + timedelta(hours=1))
    at = datetime.now(UTC) + timedelta(seconds=1)
    await set_deadline(simulated, SERVICE, mine, cancel_at=at)
    for order in resting:
        _, canceled = await simulated.told(order.venue_order_ref, ACCEPTED, CANCELED)
        assert canceled.code == "cancel_after"
        assert at <= canceled.market_at
    again = simulated.place("GOOG/USD", limit_price=Decimal(1), account_id=mine)
    await simulated.command(again)
    await simulated.told(again.venue_order_ref, ACCEPTED)
    await set_deadline(simulated, SERVICE, mine, passed_at=at)
    await set_deadline(simulated, SERVICE, others.account_id, passed_at=datetime.now(UTC))
    await simulated.told(others.venue_order_ref, ACCEPTED, CANCELED)
    assert [type(report) for report in simulated.reports(again.venue_order_ref)] == [ACCEPTED]


async def test_what_was_said_before_and_comes_after_is_refused(simulated: Any) -> None:
    late = simulated.place("GOOG/USD", limit_price=Decimal(1))
    await set_deadline(simulated, SERVICE, late.account_id, passed_at=datetime.now(UTC) + timedelta(minutes=1))
    await simulated.command(late)
    (rejected,) = await simulated.told(late.venue_order_ref, REJECTED)
    assert rejected.code == "cancel_after"
