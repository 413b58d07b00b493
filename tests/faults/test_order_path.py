"""The way of an order is cut: nothing waits for ever, nothing fills at a price of another time."""

import asyncio
import time
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest
from fleet_sdk.client import FleetClient
from fleet_sdk.problems import ApiError, OutcomeUnknown, Unreachable
from fleet_testkit.eventually import eventually
from orders_under_way import (
    ENDED,
    OPENING_DEPOSIT,
    Sending,
    assert_filled_in_time,
    market_order,
    place_until_answered,
)
from whole_fleet import WholeFleet, until_priced, until_status, whole_fleet

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
SYMBOL = "AAPL/USD"


async def test_orders_queued_in_front_of_a_stopped_kafka_are_refused() -> None:
    """Kafka stopped for 30 s with market orders queued: too_late, or 503 before that; funds released; then all is well."""
    with whole_fleet("simulated", port_offset=630) as fleet:
        async with fleet.user() as user:
            await until_priced(user.client, SYMBOL)
            accepted: list[dict[str, Any]] = []
            refused: set[str] = set()
            with fleet.stopped("kafka"):
                until = time.monotonic() + 30
                while time.monotonic() < until:
                    try:
                        accepted.append(await user.client.place_order(market_order()))
                    except ApiError as error:
                        refused.add(error.code)
                    await asyncio.sleep(0.25)
            assert accepted
            assert "order_path_slow" in refused
            assert refused <= {"order_path_slow", "stale_reference", "market_reducing"}
            for order in accepted:
                ended = await until_status(user.client, order["order_id"], *ENDED, timeout_s=60)
                assert ended["status"] == "rejected"
                assert ended["reason"]["code"] in ("too_late", "never_sent")
            assert not [trade async for trade in user.client.trades()]
            portfolio = await user.client.portfolio()
            assert Decimal(portfolio["buying_power"]) == Decimal(portfolio["cash"]) == OPENING_DEPOSIT
            await until_it_trades(user.client)
        fleet.verify_books()


@pytest.mark.parametrize("service", ["execution", "exchange-connector"])
async def test_who_stood_still_sends_and_fills_nothing_late(still: WholeFleet, service: str) -> None:
    """Orders go on being accepted while the next service stands still for 8 s: the old ones are too late, the rest fill."""
    async with still.user() as user:
        await until_it_trades(user.client)
        placed: list[dict[str, Any]] = []
        with still.stopped(service):
            until = time.monotonic() + 8
            while time.monotonic() < until:
                placed.append(await user.client.place_order(market_order()))
                await asyncio.sleep(0.25)
        ended = [await until_status(user.client, order["order_id"], *ENDED, timeout_s=60) for order in placed]
        late = [order for order in ended if order["status"] == "rejected"]
        assert late and {order["reason"]["code"] for order in late} <= {"too_late", "never_sent"}
        assert {order["status"] for order in ended} <= {"rejected", "filled"}
        by_id = {order["order_id"]: order for order in ended}
        async for trade in user.client.trades():
            if trade["order_id"] in by_id:
                assert_filled_in_time(by_id[trade["order_id"]], trade)
        portfolio = await user.client.portfolio()
        assert portfolio["buying_power"] == portfolio["cash"]
    still.verify_books()


@pytest.mark.parametrize("part", ["kafka", "postgres", "valkey"])
async def test_orders_go_on_when_a_part_that_stood_still_goes_on(still: WholeFleet, part: str) -> None:
    """60 orders while the part stands still for 12 s, longer than an idle session lives: each has one end, once."""
    async with still.user() as user:
        await until_priced(user.client, SYMBOL, timeout_s=60)
        sending = Sending(user.client)
        under_way = asyncio.create_task(sending.send(60))
        with still.stopped(part):
            await asyncio.wait([under_way], timeout=12)
            # Limits are counted in Valkey; without it each gateway counts for itself, and nobody waits for it.
            assert part != "valkey" or under_way.done()
        await under_way
        await still.until_ready()
        await sending.until_ended()
        await sending.check()
        await until_it_trades(user.client)
    still.verify_books()


@pytest.mark.parametrize("killed", [("gateway",), ("gateway", "trading")], ids="+".join)
async def test_an_accepted_order_whose_answer_is_lost_is_neither_doubled_nor_forgotten(
    still: WholeFleet, killed: tuple[str, ...]
) -> None:
    """trading has the request and stands still → the gateway stands still and trading accepts → kill -9 before the client
    hears of it → the same order sent again is the first one, once, filled once"""
    name = f"lost-{'-'.join(killed)}"
    port = urlsplit(still.instance_url("trading")).port
    assert port is not None
    async with still.user() as user:
        await until_it_trades(user.client)
        body = market_order(client_order_id=name, quantity="3")
        await user.client.place_order(market_order(client_order_id="before"))
        trading, gateway = (psutil.Process(still.pid(service)) for service in ("trading", "gateway"))
        trading.suspend()
        try:
            asking = asyncio.create_task(user.client.place_order(body))
            await eventually(lambda: unread_bytes(port) > len(str(body)), what="the request at trading's door")
            gateway.suspend()
        finally:
            trading.resume()
        await eventually(partial(is_accepted, still, name), what="the order in trading's books")
        before = {service: still.pid(service) for service in killed}
        for service in killed:
            still.kill(service)
        with pytest.raises((OutcomeUnknown, Unreachable)):
            await asking
        for service in killed:
            await eventually(partial(runs_anew, still, service, before[service]), timeout_s=60)
        await still.until_ready()
        answers = [await place_until_answered(user.client, body) for _ in range(2)]
        assert not [answer for answer in answers if isinstance(answer, ApiError)]
        orders = [order async for order in user.client.orders(status="all", client_order_id=name)]
        (order,) = orders
        assert {answer["order_id"] for answer in answers if not isinstance(answer, ApiError)} == {order["order_id"]}
        await until_status(user.client, order["order_id"], "filled", timeout_s=30)
        trades = [trade async for trade in user.client.trades(order_id=order["order_id"])]
        assert sum(Decimal(trade["quantity"]) for trade in trades) == 3
    still.verify_books()


def unread_bytes(port: int) -> int:
    """The most that has come to a connection at this port and was not read by its process."""
    local = f":{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return max((int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(local)), default=0)


async def is_accepted(fleet: WholeFleet, client_order_id: str) -> bool:
    connection = await asyncpg.connect(fleet.description["services"]["trading"]["database_url"])
    try:
        found = await connection.fetchval("SELECT 1 FROM client_order_ids WHERE client_order_id = $1", client_order_id)
        return bool(found)
    finally:
        await connection.close()


def runs_anew(fleet: WholeFleet, name: str, before: int) -> bool:
    return fleet.pid(name) != before


@pytest.fixture(scope="module")
def still() -> Any:
    with whole_fleet("simulated", port_offset=631) as fleet:
        yield fleet


async def until_it_trades(client: FleetClient) -> None:
    await until_priced(client, SYMBOL, timeout_s=60)

    async def trades() -> bool:
        try:
            placed = await client.place_order(market_order())
        except ApiError:
            return False
        return bool((await until_status(client, placed["order_id"], *ENDED, timeout_s=30))["status"] == "filled")

    await eventually(trades, timeout_s=60)
