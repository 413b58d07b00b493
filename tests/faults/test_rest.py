"""A fleet whose market stands still comes to rest, and says so."""

import asyncio

import pytest
from fleet_sdk.problems import ApiError
from orders_under_way import market_order
from whole_fleet import WholeFleet, until_priced, until_status, whole_fleet

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
SYMBOL = "AAPL/USD"
FEED = "/exchanges/paper/feed"


async def test_a_paused_market_rests_and_goes_on() -> None:
    """trade → pause → rest --wait → step → rest → resume → trade"""
    with whole_fleet("simulated", port_offset=680) as fleet:
        async with fleet.admin() as admin, fleet.user() as user:
            await until_priced(user.client, SYMBOL)
            placed = await user.client.place_order(market_order())
            with pytest.raises(ApiError) as refused:
                await user.client.request("POST", FEED, {"action": "pause"})
            assert refused.value.status == 403
            assert (await admin.request("POST", FEED, {"action": "pause"}))["state"] == "paused"
            await until_at_rest(fleet)
            # It came before the pause and filled, or it waits for the next price.
            assert (await user.client.order(placed["order_id"]))["status"] in ("filled", "new")
            await admin.request("POST", FEED, {"action": "step"})
            await until_at_rest(fleet)
            assert (await user.client.order(placed["order_id"]))["status"] == "filled"
            await admin.request("POST", FEED, {"action": "resume"})
            await until_priced(user.client, SYMBOL)
            again = await user.client.place_order(market_order())
            await until_status(user.client, again["order_id"], "filled")
        fleet.verify_books()


async def until_at_rest(fleet: WholeFleet) -> None:
    rest = await asyncio.to_thread(fleet.command, "rest", "--wait", "--timeout-s", "90")
    assert rest.returncode == 0, rest.stdout + rest.stderr
    assert "at rest" in rest.stdout
