"""The fleet with parts of it killed, stopped or told to halt."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fleet_launcher.admin import run_admin
from fleet_launcher.places import StateDir
from fleet_sdk.client import FleetClient
from fleet_sdk.problems import ApiError, OutcomeUnknown
from fleet_testkit.eventually import eventually
from whole_fleet import WholeFleet, until_priced, until_status, whole_fleet

pytestmark = pytest.mark.long
SYMBOL = "AAPL/USD"
SERVICES = ("auth", "data", "core-engine", "strategy", "trading", "execution", "exchange-connector", "gateway")
BUY = {"symbol": SYMBOL, "side": "buy", "type": "market", "quantity": "1", "time_in_force": "gtc"}


@pytest.mark.timeout(600)
async def test_the_demo_checks_out_though_every_service_is_killed_in_turn(tmp_path: Path) -> None:
    """demo → kill -9 of each service in turn while the replay runs → the self-check still passes."""
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fleet_cli.main", "demo", "--state-dir", str(tmp_path), "--port-offset", "620"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert demo.stdout is not None
    output: list[str] = []
    fleet = WholeFleet(StateDir(tmp_path), None)  # type: ignore[arg-type]
    waiting = list(SERVICES)
    async for line in demo.stdout:
        output.append(line.decode())
        if "step" in output[-1] and waiting:
            fleet.kill(waiting.pop(0))
    assert await demo.wait() == 0, "".join(output[-40:])
    assert not waiting, f"the replay was over before {waiting} were killed"


@pytest.mark.timeout(300)
async def test_no_order_fills_at_a_price_of_another_time() -> None:
    """Kafka stopped for 30 s with market orders queued: too_late, or 503 before that; funds released; no late fill."""
    with whole_fleet("simulated", port_offset=630) as fleet:
        async with fleet.user() as user:
            await until_priced(user.client, SYMBOL)
            accepted: list[dict[str, Any]] = []
            refused: list[str] = []
            with fleet.stopped("kafka"):
                until = time.monotonic() + 30
                while time.monotonic() < until:
                    try:
                        accepted.append(await user.client.place_order(BUY))
                    except ApiError as error:
                        refused.append(error.code)
                    await asyncio.sleep(0.5)
            assert "order_path_slow" in refused
            assert set(refused) <= {"order_path_slow", "stale_reference"}
            assert accepted
            for order in accepted:
                ended = await until_status(user.client, order["order_id"], "rejected", "filled", timeout_s=60)
                assert ended["status"] == "rejected"
                assert ended["reason"]["code"] in ("too_late", "never_sent")
            portfolio = await user.client.portfolio()
            assert Decimal(portfolio["buying_power"]) == Decimal(portfolio["cash"]) == 100_000
        assert run_admin(fleet.state, "trading", ["verify"]).returncode == 0


@pytest.mark.timeout(300)
async def test_a_halt_with_kafka_stopped_holds_within_a_second() -> None:
    with whole_fleet("simulated", port_offset=640) as fleet:
        password = "correct horse battery staple"
        made = run_admin(
            fleet.state,
            "auth",
            ["create-user", "--email", "root@example.com", "--role", "admin"],
            stdin=password + "\n",
        )
        assert made.returncode == 0, made.stderr
        async with FleetClient(fleet.url, timeout_s=30) as admin, fleet.user() as user:
            await admin.login("root@example.com", password)
            await until_priced(user.client, SYMBOL)
            filled = await user.client.place_order(BUY)
            await until_status(user.client, filled["order_id"], "filled")
            with fleet.stopped("kafka"):
                started = time.monotonic()
                answer = await admin.request(
                    "POST", "/risk/kill-switch", {"scope": "system", "action": "halt", "reason": "test"}
                )
                with pytest.raises(ApiError) as refused:
                    await user.client.place_order(BUY)
                assert time.monotonic() - started < 1
                assert refused.value.code == "market_halted"
                assert answer
            await admin.request("POST", "/risk/kill-switch", {"scope": "system", "action": "resume", "reason": "test"})

            async def trades_again() -> bool:
                try:
                    placed = await user.client.place_order(BUY)
                except (ApiError, OutcomeUnknown):
                    return False
                ended = await until_status(user.client, placed["order_id"], "filled", "rejected")
                return bool(ended["status"] == "filled")

            await eventually(trades_again, timeout_s=60)


@pytest.mark.timeout(300)
async def test_accounts_and_orders_survive_down_and_up() -> None:
    with whole_fleet("simulated", port_offset=650) as fleet:
        async with fleet.user() as user:
            await until_priced(user.client, SYMBOL)
            placed = await user.client.place_order(BUY)
            await until_status(user.client, placed["order_id"], "filled")
            before = await user.client.portfolio()
            await asyncio.to_thread(fleet.down)
            await asyncio.to_thread(fleet.up)
            async with FleetClient(fleet.url, timeout_s=30) as client:
                await client.login(user.email, user.password)
                assert (await client.order(placed["order_id"]))["status"] == "filled"
                assert (await client.portfolio())["cash"] == before["cash"]
                await until_priced(client, SYMBOL)
                again = await client.place_order(BUY)
                await until_status(client, again["order_id"], "filled")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("service", ["trading", "execution", "exchange-connector", "data", "core-engine"])
async def test_orders_under_way_survive_the_kill_of_a_service(killable: WholeFleet, service: str) -> None:
    """50 orders while one service is killed: every accepted order ends once, and the books balance."""
    async with killable.user() as user:
        await until_priced(user.client, SYMBOL, timeout_s=60)
        accepted: list[str] = []
        for n in range(50):
            if n == 20:
                killable.kill(service)
            try:
                placed = await user.client.place_order({**BUY, "client_order_id": f"o-{n}"})
                accepted.append(placed["order_id"])
            except (ApiError, OutcomeUnknown, aiohttp.ClientError):
                await asyncio.sleep(0.05)
        assert accepted
        for order_id in accepted:
            await until_status(user.client, order_id, "filled", "rejected", "canceled", timeout_s=90)
        traded = {trade["order_id"]: trade async for trade in user.client.trades()}
        orders = [order async for order in user.client.orders(status="all")]
        assert {order["order_id"] for order in orders if order["status"] == "filled"} == set(traded)
        assert len({order["client_order_id"] for order in orders}) == len(orders)
    assert run_admin(killable.state, "trading", ["verify"]).returncode == 0


@pytest.fixture(scope="module")
def killable() -> Any:
    with whole_fleet("simulated", port_offset=660) as fleet:
        yield fleet


def test_the_supervisor_recovers_from_kill_9(tmp_path: Path) -> None:
    """kill -9 of the supervisor leaves processes behind; the next start takes their place."""
    with whole_fleet("simulated", port_offset=670) as fleet:
        supervisor = fleet.state.run / "supervisor.json"
        before = fleet.pid("trading")
        pid = next(iter(_supervisor_pids(supervisor)))
        os.kill(pid, signal.SIGKILL)
        fleet.up()
        assert fleet.pid("trading") != before


def _supervisor_pids(path: Path) -> list[int]:
    import json

    content = json.loads(path.read_text())
    return [content["pid"]]
