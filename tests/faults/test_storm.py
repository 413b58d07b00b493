"""Kill after kill at random while several users trade: what was acknowledged stays, once, and the books balance."""

import asyncio
import contextlib
import os
import random
from collections.abc import Callable
from contextlib import AsyncExitStack

import pytest
from fleet_sdk.client import FleetClient
from fleet_sdk.problems import ApiError, OutcomeUnknown, Unreachable
from orders_under_way import ENDED, Json, Sending
from whole_fleet import WholeFleet, until_priced, until_status, whole_fleet

pytestmark = [pytest.mark.long, pytest.mark.timeout(590)]
SYMBOL = "AAPL/USD"
SERVICES = (
    "auth",
    "data",
    "core-engine",
    "strategy",
    "trading",
    "execution",
    "exchange-connector",
    "matching-engine",
    "gateway",
)
# The same storm each time, another one on request.
SEED = int(os.environ.get("FLEET_STORM_SEED", "1"))


async def test_traders_in_a_storm() -> None:
    """Three users buy, sell, rest and cancel until twelve processes, one every other second, have been killed."""
    with whole_fleet("simulated", port_offset=663, trading=2) as fleet:
        async with AsyncExitStack() as stack:
            users = [await stack.enter_async_context(fleet.user()) for _ in range(3)]
            await until_priced(users[0].client, SYMBOL)
            sendings = [Sending(user.client) for user in users]
            over = asyncio.create_task(storm(fleet, (*SERVICES, "kafka", "postgres"), kills=12, every_s=2))
            await asyncio.gather(over, *(trade(sending, until=over.done) for sending in sendings))
            await fleet.until_ready(120)
            for sending in sendings:
                await cancel_what_rests(sending.client)
                await sending.until_ended(timeout_s=120)
                await sending.check()
        fleet.verify_books()
        parked = await asyncio.to_thread(fleet.command, "parked", "list")
        assert parked.returncode == 0 and "nothing" in parked.stdout, parked.stdout + parked.stderr


async def storm(fleet: WholeFleet, names: tuple[str, ...], *, kills: int, every_s: float) -> None:
    """Kills one after the other, in an order that the seed decides; what is down already is passed over."""
    order = random.Random(SEED)
    while kills:
        await asyncio.sleep(every_s)
        with contextlib.suppress(AssertionError, ProcessLookupError):
            fleet.kill(order.choice(names))
            kills -= 1


async def trade(sending: Sending, *, until: Callable[[], bool]) -> None:
    """Buys and sells at the market, rests a limit order and cancels it, and waits for the ends of most of it."""
    while not until():
        await sending.send(1, at_once=1)
        await sending.send(1, at_once=1, side="sell")
        (resting,) = await sending.send(1, at_once=1, type="limit", limit_price="100")
        if not isinstance(resting, ApiError):
            await cancel(sending.client, resting)
            with contextlib.suppress(AssertionError, ApiError, OutcomeUnknown, Unreachable):
                await until_status(sending.client, resting["order_id"], *ENDED, timeout_s=1)


async def cancel(client: FleetClient, order: Json) -> None:
    """A cancel may fail in the storm; what still rests afterwards is cancelled then."""
    try:
        await client.cancel_order(order["order_id"])
    except (ApiError, OutcomeUnknown, Unreachable):
        return


async def cancel_what_rests(client: FleetClient) -> None:
    async for order in client.orders(status="open"):
        await cancel(client, order)
