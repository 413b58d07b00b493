"""Any process is killed at any moment: nothing that was acknowledged is lost or done twice."""

import asyncio
from collections.abc import Iterator
from decimal import Decimal
from functools import partial

import aiohttp
import pytest
from fleet_sdk.client import FleetClient
from fleet_testkit.eventually import eventually
from orders_under_way import Sending, market_order
from whole_fleet import WholeFleet, until_priced, until_status, whole_fleet

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
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
PARTS = ("kafka", "postgres", "valkey")


@pytest.fixture(scope="module")
def killable() -> Iterator[WholeFleet]:
    with whole_fleet("simulated", port_offset=660) as fleet:
        yield fleet


@pytest.mark.parametrize("name", [*SERVICES, *PARTS])
async def test_orders_under_way_survive_a_kill(killable: WholeFleet, name: str) -> None:
    """60 orders, the same one sent again where its outcome is unknown, while one process dies."""
    async with killable.user() as user:
        await until_priced(user.client, SYMBOL, timeout_s=60)
        before = killable.pid(name)
        sending = Sending(user.client)
        await sending.send(60, after=(15, partial(killable.kill, name)))
        await sending.until_ended()
        await sending.check()
        await until_back(killable, name, before)
        filled = await place_until_filled(user.client)
        assert filled["status"] == "filled"
    killable.verify_books()


async def test_orders_under_way_survive_the_kill_of_each_replica_of_trading() -> None:
    """Two replicas of trading on one database, four users; one replica is killed, then the other."""
    with whole_fleet("simulated", port_offset=661, trading=2) as fleet:
        async with fleet.user() as a, fleet.user() as b, fleet.user() as c, fleet.user() as d:
            users = (a, b, c, d)
            await until_priced(a.client, SYMBOL)
            sendings = [Sending(user.client) for user in users]
            for ordinal in range(2):
                before = fleet.pid("trading", ordinal)
                kill = (sendings[0].sent + 5, partial(fleet.kill, "trading", ordinal))
                await asyncio.gather(
                    sendings[0].send(30, at_once=2, after=kill),
                    *(sending.send(30, at_once=2) for sending in sendings[1:]),
                )
                await until_back(fleet, "trading", before, ordinal)
            for sending in sendings:
                await sending.until_ended()
                await sending.check()
        fleet.verify_books()


async def test_accounts_and_orders_survive_down_and_up_and_nothing_unusual_is_logged() -> None:
    with whole_fleet("simulated", port_offset=650) as fleet:
        async with fleet.user() as user:
            await until_priced(user.client, SYMBOL)
            placed = await user.client.place_order(market_order())
            await until_status(user.client, placed["order_id"], "filled")
            resting = await user.client.place_order(market_order(type="limit", limit_price="100"))
            await until_status(user.client, resting["order_id"], "new")
            before = await user.client.portfolio()
        async with aiohttp.ClientSession() as stranger:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await stranger.ws_connect(f"{fleet.url}/ws")
        await asyncio.to_thread(fleet.down)
        await asyncio.to_thread(fleet.up)
        async with FleetClient(fleet.url, timeout_s=30) as client:
            await client.login(user.email, user.password)
            assert (await client.order(placed["order_id"]))["status"] == "filled"
            assert (await client.order(resting["order_id"]))["status"] == "new"
            after = await client.portfolio()
            assert (after["cash"], after["buying_power"]) == (before["cash"], before["buying_power"])
            await client.cancel_order(resting["order_id"])
            await until_status(client, resting["order_id"], "canceled")
            await place_until_filled(client)
        fleet.verify_books()
        await asyncio.to_thread(fleet.down)
        assert fleet.noise() == []


async def test_a_fleet_whose_supervisor_was_killed_goes_on_and_is_taken_over_by_the_next() -> None:
    """kill -9 of the supervisor → orders still fill → `up` ends what was left and starts again → nothing is lost."""
    with whole_fleet("simulated", port_offset=670) as fleet:
        async with fleet.user() as user:
            await until_priced(user.client, SYMBOL)
            before = fleet.pid("trading")
            fleet.kill("supervisor")
            sending = Sending(user.client)
            await sending.send(10)
            await sending.until_ended()
            await asyncio.to_thread(fleet.up)
            assert fleet.pid("trading") != before
            async with FleetClient(fleet.url, timeout_s=30) as client:
                await client.login(user.email, user.password)
                again = Sending(client, prefix="again")
                await until_priced(client, SYMBOL)
                await again.send(10)
                await again.until_ended()
                again.answered |= sending.answered
                await again.check()
        fleet.verify_books()


async def until_back(fleet: WholeFleet, name: str, before: int, ordinal: int = 0) -> None:
    """Until the supervisor has started it again and every process is ready."""

    def runs_anew() -> bool:
        return fleet.pid(name, ordinal) != before

    await eventually(runs_anew, timeout_s=60)
    await fleet.until_ready()


async def place_until_filled(client: FleetClient) -> dict[str, object]:
    """A fleet that was hurt may refuse for a moment; then an order fills."""
    await until_priced(client, SYMBOL, timeout_s=60)
    sending = Sending(client, prefix="then")

    async def fills() -> dict[str, object] | None:
        await sending.send(1)
        await sending.until_ended()
        found = [order async for order in client.orders(status="closed", limit=1)]
        return found[0] if found[0]["status"] == "filled" else None

    order = await eventually(fills, timeout_s=60)
    assert order is not None
    return order


async def test_an_order_worked_in_parts_survives_kills_of_execution_and_of_the_venue(killable: WholeFleet) -> None:
    """twap → execution dies → the venue dies → filled to the last unit, and never more; every comparison ends clean"""
    async with killable.user() as user, killable.admin() as admin:
        await until_priced(user.client, SYMBOL, timeout_s=60)
        algo = {"type": "twap", "duration_s": 30, "slices": 10}
        placed = await user.client.place_order(market_order(quantity="30", algo=algo))
        order_id = placed["order_id"]

        async def parts(number: int) -> bool:
            order = await user.client.order(order_id)
            return float(order["filled_quantity"]) >= number

        for filled, name in ((3, "execution"), (12, "exchange-connector")):
            await eventually(partial(parts, filled), 60)
            before = killable.pid(name)
            killable.kill(name)
            await until_back(killable, name, before)
        await until_status(user.client, order_id, "filled", "canceled", timeout_s=60)
        order = await user.client.order(order_id)
        trades = [trade async for trade in user.client.trades(order_id=order_id)]
        assert sum(Decimal(trade["quantity"]) for trade in trades) == Decimal(order["filled_quantity"]) == 30

        async def compared() -> bool:
            found = [r async for r in admin.pages("/executions/reconciliations", venue="paper")]
            latest = {r["symbol"]: r["outcome"] for r in reversed(found)}
            return bool(latest) and set(latest.values()) <= {"clean", "mended"}

        await eventually(compared, 90)
    killable.verify_books()
