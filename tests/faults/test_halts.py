"""Stopping does not depend on what is being stopped."""

import asyncio
import contextlib
import time
from decimal import Decimal
from typing import Any

import aiohttp
import asyncpg
import jwt
import pytest
from fleet_chassis.assertions import AssertionSigner
from fleet_contracts.partitioning import SLOTS, slot
from fleet_sdk.client import FleetClient
from fleet_sdk.problems import ApiError
from fleet_testkit.eventually import eventually
from orders_under_way import ENDED, market_order, place_until_answered
from whole_fleet import WholeFleet, until_priced, until_status, whole_fleet

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]
SYMBOL = "AAPL/USD"
SWITCH = "/risk/kill-switch"
HALT = {"scope": "system", "action": "halt", "reason": "test"}
RESUME = {**HALT, "action": "resume"}
NOT_THERE = ("ClientConnectorError", "ServerDisconnectedError", "ClientOSError", "unavailable")
"""How a process is away that has been killed, or has just been started."""


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


async def test_a_shell_halts_with_kafka_valkey_and_core_engine_down_and_a_replica_restarting() -> None:
    """500 orders rest on paper, 20 on internal → all down, a replica killed → fleet halt → on paper none rests in 5 s, no
    replica takes any → up → on internal none rests either → resumed by two."""
    symbols = ("AAPL/USD", "FB/USD", "GOOG/USD", "IBM/USD", "MSFT/USD")
    with whole_fleet("simulated", port_offset=642, trading=2) as fleet:
        async with contextlib.AsyncExitStack() as stack:
            admin = await stack.enter_async_context(fleet.admin())
            users = [await stack.enter_async_context(fleet.user()) for _ in range(4)]
            await asyncio.gather(*(until_priced(users[0].client, symbol) for symbol in symbols))
            orders: list[dict[str, Any]] = []
            for number in range(25):
                bodies = [
                    market_order(symbol, type="limit", limit_price="1", client_order_id=f"{symbol}-{number}")
                    for symbol in symbols
                ]
                placing = [place_until_answered(user.client, body) for user in users for body in bodies]
                for answer in await asyncio.gather(*placing):
                    assert isinstance(answer, dict), answer
                    orders.append(answer)
                await eventually(lambda: open_at_venue(fleet, len(orders)), timeout_s=30)
            internal = [await resting_internally(user.client, symbol) for user in users for symbol in symbols]
            claims = [await told_of(user.client) for user in users]
            with fleet.stopped("kafka"), fleet.stopped("valkey"), fleet.stopped("core-engine"):
                fleet.kill("trading", 1)
                started = time.monotonic()
                halted = await asyncio.to_thread(fleet.command, "halt", "--reason", "a test")
                answers = dict(line.split(None, 1) for line in halted.stdout.splitlines()[1:])
                assert {name for name, answer in answers.items() if answer.strip() == "ok"} >= {
                    "trading-0",
                    "execution-0",
                    "exchange-connector-0",
                    "matching-engine-0",
                }, halted.stdout
                told = time.monotonic()
                await eventually(lambda: open_at_venue(fleet, 0), timeout_s=5)
                assert time.monotonic() - started < 10, "the command's own start included"
                assert time.monotonic() - told < 5
                for user, claim in zip(users, claims, strict=True):
                    assert await asked_directly(fleet, 0, claim) == "market_halted"
                    # Killed, and without Kafka it knows no market: it takes nothing, and denies by the halt that was kept.
                    assert await asked_directly(fleet, 1, claim) in (*NOT_THERE, "market_halted")
                    code, is_of_killed = await refused_in_time(user.client), slot(claim["sub"]) * 2 // SLOTS == 1
                    assert code == "market_halted" or (is_of_killed and code == "unavailable"), code
                for user, placed in zip([user for user in users for _ in symbols], internal, strict=True):
                    assert (await user.client.order(placed["order_id"]))["status"] == "new", "the journal is Kafka's"
            # The replica has not been told: it finds the halt as it starts.
            assert await eventually(lambda: first_word(fleet, 1, claims[0]), timeout_s=90) == "market_halted"
            assert {await asked_directly(fleet, 1, claim) for claim in claims} == {"market_halted"}
            await fleet.until_ready(timeout_s=90)
            for number in range(0, len(orders), 20):  # each round's first is of the first user
                ended = await until_status(users[0].client, orders[number]["order_id"], "canceled", timeout_s=60)
                assert ended["reason"]["code"] == "market_halted", ended
            for user, placed in zip([user for user in users for _ in symbols], internal, strict=True):
                ended = await until_status(user.client, placed["order_id"], "canceled", timeout_s=60)
                assert ended["reason"]["code"] == "market_halted", ended
            for symbol in symbols:
                book = await admin.request("GET", f"/books/{symbol.replace('/', '-')}")
                assert book["orders"] == 0, book
            for user in users:
                await assert_halted(user.client)

            async def is_known() -> bool:
                status = await admin.request("GET", "/system/status")
                return bool(status["trading_state"] == "halted")

            await eventually(is_known, timeout_s=30)
            # Who halted by the shell is another person than any administrator.
            await admin.request("POST", SWITCH, RESUME)
            await until_priced(users[0].client, SYMBOL)
            placed = await users[0].client.place_order(market_order())
            await until_status(users[0].client, placed["order_id"], "filled")
        fleet.verify_books()


async def open_at_venue(fleet: WholeFleet, count: int) -> bool:
    connection = await asyncpg.connect(fleet.description["services"]["exchange-connector"]["database_url"])
    try:
        rests = await connection.fetchval("SELECT count(*) FROM venue_orders WHERE open IS NOT NULL")
    finally:
        await connection.close()
    return bool(rests == count)


async def resting_internally(client: FleetClient, symbol: str) -> dict[str, Any]:
    """A bid on the internal venue, within its band and below all others."""
    limit = (await until_priced(client, symbol) * Decimal("0.97")).quantize(Decimal("0.01"))
    placed = await client.place_order(market_order(symbol, venue="internal", type="limit", limit_price=str(limit)))
    rests: dict[str, Any] = await until_status(client, placed["order_id"], "new", timeout_s=30)
    return rests


async def told_of(client: FleetClient) -> dict[str, Any]:
    """What the gateway tells a service of this user."""
    (_, token) = (await client._authorization())["Authorization"].split()
    claims = jwt.decode(token, options={"verify_signature": False})
    return {name: claims[name] for name in ("sub", "sid", "roles", "scopes")}


async def asked_directly(fleet: WholeFleet, ordinal: int, claims: dict[str, Any], *, within_s: float = 1) -> str:
    """By which code this instance of trading refuses an order that the gateway brings, or how it is away; `taken`."""
    signer = AssertionSigner("gateway", fleet.state.private_key("gateway"))
    headers = {"Authorization": f"Bearer {signer.sign('trading', claims)}"}
    url = fleet.instance_url("trading", ordinal)
    try:
        async with (
            aiohttp.ClientSession(url, timeout=aiohttp.ClientTimeout(total=within_s)) as session,
            session.post("/api/v1/orders", json=market_order(), headers=headers) as response,
        ):
            answer = await response.json(content_type=None)
    except aiohttp.ClientConnectionError as away:
        return type(away).__name__
    return str(answer["code"]) if response.status >= 400 else "taken"


async def first_word(fleet: WholeFleet, ordinal: int, claims: dict[str, Any]) -> str | None:
    """What it says once it is there."""
    code = await asked_directly(fleet, ordinal, claims, within_s=30)
    return None if code in NOT_THERE else code


async def refused_in_time(client: FleetClient) -> str:
    """By which code, within a second."""
    async with asyncio.timeout(1):
        with pytest.raises(ApiError) as refused:
            await client.place_order(market_order())
    return refused.value.code


async def assert_halted(client: FleetClient) -> None:
    with pytest.raises(ApiError) as refused:
        await client.place_order(market_order())
    assert refused.value.code == "market_halted", refused.value
