"""Commands that are on their way to the paper venue's books for as long as its latency says."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
from fleet_contracts import venue
from fleet_contracts.vocabulary import VenueOrderStand
from fleet_simulator import LogNormalLatency
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually

ACCEPTED, FILLED, CANCELED = venue.VenueOrderAccepted, venue.VenueOrderFilled, venue.VenueOrderCanceled
REPLACED, STATE = venue.VenueOrderReplaced, venue.VenueOrderState


async def waiting(found: Any, count: int) -> None:
    async def is_so() -> bool:
        rows = await found.fetch("SELECT count(*) AS n FROM waiting_commands")
        return bool(rows[0]["n"] == count)

    await eventually(is_so, 20, what=f"{count} on their way")


async def test_an_order_is_on_its_way_through_a_restart_and_fills_when_it_arrives(open_venue: Any) -> None:
    """placed → asked for: working, nothing told → told again: one order → the process ends and another goes on → 200 ms after it
    was sent it is accepted and filled, then"""
    clock = FakeClock()
    async with open_venue(clock=clock, exchange_connector_latency="constant:200") as found:
        order = found.place()
        again = msgspec.structs.replace(order, command_sequence=order.command_sequence + 100)
        async with found.running():
            sent_at = clock.now()
            await found.command(order)
            await waiting(found, 1)
            await found.command(found.query_of(order), again)
            for state in await found.told(order.venue_order_ref, STATE, STATE):
                assert (state.stand, state.fills) == (VenueOrderStand.WORKING, ())
            await waiting(found, 1)
        clock.set(sent_at + timedelta(milliseconds=200))
        async with found.running():
            *_, accepted, filled = await found.told(order.venue_order_ref, STATE, STATE, ACCEPTED, FILLED)
            assert accepted.market_at == filled.market_at == sent_at + timedelta(milliseconds=200)
            await waiting(found, 0)


async def test_what_an_account_sends_does_not_overtake(open_venue: Any) -> None:
    """ten orders, each replaced and cancelled at once, with delays that are drawn → of each order: accepted, replaced,
    canceled, in the order in which they were sent"""
    clock = FakeClock()
    async with open_venue(clock=clock, exchange_connector_latency="log_normal:20,1,2") as found, found.running():
        first = found.place(limit_price=Decimal(1))
        orders = [first, *(found.place(limit_price=Decimal(1), account_id=first.account_id) for _ in range(9))]
        commands: list[Any] = []
        for order in orders:
            cancel = found.cancel_of(order)
            fields = {name: getattr(cancel, name) for name in cancel.__struct_fields__}
            change = {"quantity": None, "limit_price": Decimal(2), "command_sequence": cancel.command_sequence + 1_000}
            commands += [order, venue.ReplaceVenueOrder(**fields | change), cancel]
        latency = LogNormalLatency(found.settings.exchange_connector_seed, 1_000_000, 20_000_000, 2.0)
        drawn = [latency.delay_ns(str(each.venue_order_ref), each.command_sequence) for each in commands]
        assert drawn != sorted(drawn), "some would overtake"
        longest_s = max(drawn) / 1e9
        await found.command(*commands)
        await waiting(found, 30)

        async def over() -> bool:
            clock.advance(seconds=longest_s / 50)
            return [type(each) for each in found.reports(orders[-1].venue_order_ref)] == [ACCEPTED, REPLACED, CANCELED]

        await eventually(over, 20)
        for order in orders:
            assert [type(each) for each in found.reports(order.venue_order_ref)] == [ACCEPTED, REPLACED, CANCELED]
        told = [r.venue_order_ref for r in found.reports() if isinstance(r, ACCEPTED)]
        assert told == [order.venue_order_ref for order in orders]


async def test_what_is_told_again_after_a_start_without_the_latency_is_done_once(open_venue: Any) -> None:
    clock = FakeClock()
    async with open_venue(clock=clock, exchange_connector_latency="constant:5000") as found:
        order = found.place()
        again = msgspec.structs.replace(order, command_sequence=order.command_sequence + 100)
        async with found.running():
            await found.command(order)
            await waiting(found, 1)
        async with found.running(exchange_connector_latency="none"):
            await found.command(again)
            await found.told(order.venue_order_ref, ACCEPTED, FILLED)
            clock.advance(seconds=5)
            await waiting(found, 0)
            await found.command(found.query_of(order))
            *_, state = await found.told(order.venue_order_ref, ACCEPTED, FILLED, STATE)
            assert (state.stand, len(state.fills)) == (VenueOrderStand.FILLED, 1)
