"""The paper venue as a last gate: halts of an account and of the venue, and no word of core-engine."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from fleet_contracts import venue
from fleet_contracts.core_engine import Heartbeat
from fleet_contracts.topics import CORE_ENGINE_STATE
from fleet_testkit.clock import ShiftedClock
from fleet_testkit.eventually import eventually

ACCEPTED, CANCELED, REJECTED = venue.VenueOrderAccepted, venue.VenueOrderCanceled, venue.VenueOrderRejected


@pytest.mark.parametrize("scope", ["account", "venue"])
async def test_a_halt_takes_out_what_is_open_in_its_scope_and_refuses_what_is_new(simulated: Any, scope: str) -> None:
    mine, others = (simulated.place("GOOG/USD", limit_price=Decimal(1)) for _ in range(2))
    await simulated.command(mine, others)
    for order in (mine, others):
        await simulated.told(order.venue_order_ref, ACCEPTED)
    target = str(mine.account_id) if scope == "account" else "paper"
    await simulated.set_state("halted", scope, target)
    assert (await simulated.told(mine.venue_order_ref, ACCEPTED, CANCELED))[1].code == "market_halted"
    late = simulated.place("IBM/USD", limit_price=Decimal(1), account_id=mine.account_id)
    await simulated.command(late)
    assert (await simulated.told(late.venue_order_ref, REJECTED))[0].code == "market_halted"
    if scope == "venue":
        assert (await simulated.told(others.venue_order_ref, ACCEPTED, CANCELED))[1].code == "market_halted"
    else:
        await simulated.command(simulated.cancel_of(others))
        assert (await simulated.told(others.venue_order_ref, ACCEPTED, CANCELED))[1].code == "requested"
    await simulated.set_state("active", scope, target)
    again = simulated.place("IBM/USD", limit_price=Decimal(1), account_id=mine.account_id)
    await simulated.command(again, simulated.cancel_of(again))
    await simulated.told(again.venue_order_ref, ACCEPTED, CANCELED)


async def test_without_core_engines_heartbeat_no_buy_is_taken(open_venue: Any) -> None:
    """a heartbeat is heard, and then none for longer than ten seconds -> buys are refused, what rests stays and can be
    canceled -> it beats again -> buys are taken"""
    ahead = ShiftedClock()
    async with open_venue(clock=ahead) as paper, paper.running():
        resting = paper.place("GOOG/USD", limit_price=Decimal(1))
        await paper.command(resting)
        await paper.told(resting.venue_order_ref, ACCEPTED)  # a heartbeat that never came is not missed
        await paper.peers.say((CORE_ENGINE_STATE, "heartbeat", Heartbeat(at=ahead.now())))

        async def answer() -> str | None:
            buy = paper.place("GOOG/USD", limit_price=Decimal(1))
            await paper.command(buy)
            await eventually(lambda: paper.reports(buy.venue_order_ref), 10)
            return getattr(paper.reports(buy.venue_order_ref)[0], "code", None)

        async def is_refused() -> bool:
            ahead.shift += timedelta(seconds=11)  # before the heartbeat is heard it counts from then
            return await answer() == "market_reducing"

        async def is_taken() -> bool:
            return await answer() is None

        await eventually(is_refused, 20)
        await paper.command(paper.cancel_of(resting))
        await paper.told(resting.venue_order_ref, ACCEPTED, CANCELED)
        await paper.peers.say((CORE_ENGINE_STATE, "heartbeat", Heartbeat(at=ahead.now())))
        await eventually(is_taken, 20)
