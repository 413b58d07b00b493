"""A fleet's life as its user has it: by the command alone, from nothing to nothing."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from fleet_cli.first_steps import curl_lines
from fleet_launcher.control import reset
from fleet_launcher.environment import own_parts
from fleet_launcher.places import SHARED, StateDir
from fleet_launcher.services import SERVICES
from fleet_sdk.client import FleetClient

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

OFFSET = 696
URL = f"http://127.0.0.1:{8000 + OFFSET}"
PARTS = ["kafka", "postgres", "valkey", "topics", "access", "databases", "migrations"]


@pytest.fixture
def state() -> Iterator[StateDir]:
    found = StateDir(SHARED / f"whole-{OFFSET}")
    with own_parts():
        reset(found)
        yield found
        reset(found)


def command(state: StateDir, *words: str) -> subprocess.CompletedProcess[str]:
    """`fleet …`, to which nobody answers."""
    return subprocess.run(
        [sys.executable, "-m", "fleet_cli.main", *words, "--state-dir", str(state.path)],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_a_fleet_is_looked_at_started_used_and_stopped(state: StateDir, tmp_path: Path) -> None:
    """doctor → up → the lines it prints, pasted → a market order → logs → new keys → doctor of a second one → down"""
    offset = ("--port-offset", str(OFFSET))
    asked = command(state, "doctor", *offset)
    assert asked.returncode == 0 and f"ok   port         {8000 + OFFSET} is free" in asked.stdout, asked

    up = command(state, "up", *offset)
    assert up.returncode == 0, up
    took = dict(re.findall(r"^  (\S+) +(\d+\.\d) s$", up.stdout, re.MULTILINE))
    assert set(took) == {*PARTS, *(f"{service.name}-0" for service in SERVICES)}
    assert re.search(r"^ready in \d+\.\d s$", up.stdout, re.MULTILINE)
    assert f"{URL}   API: {URL}/docs" in up.stdout
    docs = subprocess.run(["curl", "-sSf", f"{URL}/docs"], capture_output=True, text=True, check=True)
    assert "swagger" in docs.stdout.lower()
    email, password = re.findall(r'"email":"([^"]+)","password":"([^"]+)"', up.stdout)[0]
    lines = curl_lines(URL, email, password)
    assert "\n".join(lines) in up.stdout
    pasted = subprocess.run(
        ["bash", "-c", "\necho\n".join(lines)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert json.loads(pasted[-1])["status"] in {"pending_cancel", "canceled"}, pasted

    market = command(state, "order", "buy", "AAPL/USD", "1", "--email", email, "--password", password)
    assert market.returncode == 0 and "buy AAPL/USD: filled, filled 1 of 1 at" in market.stdout, market
    waits = asyncio.run(seconds_to_fill(email, password))
    assert len(waits) == 1 and 0 < waits[0] < 1, waits

    one = command(state, "logs", "supervisor", "-n", "1")
    assert one.returncode == 0 and json.loads(one.stdout)["event"] == "fleet_ready", one
    everything = command(state, "logs", "-n", "1")
    logged = {Path(name).stem for name in re.findall(r"^==> (.*) <==$", everything.stdout, re.MULTILINE)}
    assert {"kafka", "postgres", "valkey", "supervisor", "migrations", "trading-0", "gateway-0"} <= logged

    rotated = command(state, "auth", "rotate-keys")
    assert rotated.returncode == 0 and set(json.loads(rotated.stdout)) == {"kid"}, rotated
    sealed = command(state, "auth", "rotate-field-keys")
    assert sealed.returncode == 0 and json.loads(sealed.stdout)["lost"] == [], sealed
    again = command(state, "order", "sell", "AAPL/USD", "1")
    assert again.returncode == 0 and "sell AAPL/USD: filled" in again.stdout, again

    assert f"a fleet runs already, at {URL}" in command(state, "doctor", *offset).stdout
    second = command(StateDir(tmp_path), "doctor", *offset)
    assert second.returncode == 1 and f"fail port         Port {8000 + OFFSET} is in use by" in second.stdout, second

    down = command(state, "down")
    assert down.returncode == 0 and re.fullmatch(r"stopped in \d+\.\d s\n", down.stdout), down
    assert command(state, "down").stdout == "no fleet was running\n"
    assert command(state, "status").returncode == 1
    assert [file.name for file in state.run.glob("*.json")] == []


@pytest.mark.long
def test_an_attached_fleet_ends_with_ctrl_c(state: StateDir) -> None:
    """up --attach → ready, with the lines to try → Ctrl-C, which all of the terminal's processes hear → nothing is left"""
    words = ("up", "--attach", "--port-offset", str(OFFSET), "--state-dir", str(state.path))
    with subprocess.Popen(
        [sys.executable, "-u", "-m", "fleet_cli.main", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as attached:
        assert attached.stdout is not None
        told: list[str] = []
        for line in attached.stdout:
            told.append(line)
            if "Stop with" in line:
                break
        assert f"{URL}   API: {URL}/docs\n" in told, told
        assert command(state, "status").returncode == 0
        os.killpg(attached.pid, signal.SIGINT)
        rest = attached.stdout.read()
        assert attached.wait(60) == 0, rest
    assert "Traceback" not in rest
    assert command(state, "status").returncode == 1 and [file.name for file in state.run.glob("*.json")] == []


async def seconds_to_fill(email: str, password: str) -> list[float]:
    """From an order's acceptance to its fill, by what the fleet wrote down of both."""
    async with FleetClient(URL) as client:
        await client.login(email, password)
        accepted = {order["order_id"]: order["created_at"] async for order in client.orders(status="all")}
        return [
            (
                datetime.fromisoformat(trade["executed_at"]) - datetime.fromisoformat(accepted[trade["order_id"]])
            ).total_seconds()
            async for trade in client.trades()
        ]
