"""Stopping does not depend on what is being stopped."""

import asyncio
import time

import pytest
from fleet_sdk.client import FleetClient
from fleet_sdk.problems import ApiError
from fleet_testkit.eventually import eventually
from orders_under_way import ENDED, market_order
from whole_fleet import until_priced, until_status, whole_fleet

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
SYMBOL = "AAPL/USD"
SWITCH = "/risk/kill-switch"
HALT = {"scope": "system", "action": "halt", "reason": "test"}
RESUME = {**HALT, "action": "resume"}


async def test_a_halt_holds_without_kafka_and_over_a_restart_until_it_is_released() -> None:
    """Kafka stopped → halt holds within 1 s → what rests is out → down and up → still halted → another resumes → trades."""
    with whole_fleet("simulated", port_offset=640, trading=2) as fleet:
        async with fleet.admin() as admin, fleet.admin() as other, fleet.user() as user, fleet.user() as other_user:
            for client in (user.client, other_user.client):
                await until_priced(client, SYMBOL)
                filled = await client.place_order(market_order())
                await until_status(client, filled["order_id"], "filled")
            resting = await user.client.place_order(market_order(type="limit", limit_price="100"))
            await until_status(user.client, resting["order_id"], "new")
            with fleet.stopped("kafka"):
                started = time.monotonic()
                answer = await admin.request("POST", SWITCH, HALT)
                for client in (user.client, other_user.client):
                    await assert_halted(client)
                assert time.monotonic() - started < 1
                told = {one["instance"]: one["result"] for one in answer["instances"]}
                assert told == dict.fromkeys(
                    ("trading-0", "trading-1", "execution-0", "exchange-connector-0", "matching-engine-0"), "ok"
                )
            # The last gate has taken it out by itself.
            await until_status(user.client, resting["order_id"], "canceled", timeout_s=60)
            await asyncio.to_thread(fleet.down)
            await asyncio.to_thread(fleet.up)
            async with FleetClient(fleet.url, timeout_s=30) as client:
                await client.login(user.email, user.password)
                await until_priced(client, SYMBOL)
                await assert_halted(client)
                with pytest.raises(ApiError) as refused:
                    await admin.request("POST", SWITCH, RESUME)
                assert refused.value.code == "second_person_required"
                await other.request("POST", SWITCH, RESUME)
                placed = await client.place_order(market_order())
                await until_status(client, placed["order_id"], "filled")
        fleet.verify_books()


async def test_a_symbols_halt_is_of_that_symbol_and_the_last_gate_holds_what_was_on_its_way() -> None:
    """The connector stands still with an order before it → halt of its symbol → the order is refused there, others fill."""
    with whole_fleet("simulated", port_offset=641) as fleet:
        async with fleet.admin() as admin, fleet.user() as user:
            await until_priced(user.client, SYMBOL)
            await until_priced(user.client, "IBM/USD")
            with fleet.stopped("exchange-connector"):
                under_way = await user.client.place_order(market_order())
                await admin.request("POST", SWITCH, {**HALT, "scope": "symbol", "target": SYMBOL})
            ended = await until_status(user.client, under_way["order_id"], *ENDED, timeout_s=30)
            assert (ended["status"], ended["reason"]["code"]) == ("rejected", "market_halted"), ended
            await assert_halted(user.client)

            async def other_symbol_fills() -> bool:
                placed = await user.client.place_order(market_order("IBM/USD"))
                return bool((await until_status(user.client, placed["order_id"], *ENDED))["status"] == "filled")

            await eventually(other_symbol_fills, timeout_s=30)


async def assert_halted(client: FleetClient) -> None:
    with pytest.raises(ApiError) as refused:
        await client.place_order(market_order())
    assert refused.value.code == "market_halted"
