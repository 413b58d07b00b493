"""The demo's order of events. Exit status 0 only when every check holds."""

import asyncio
import secrets
import time
from pathlib import Path
from typing import Any

from fleet_launcher.admin import run_admin
from fleet_launcher.control import description, launch, reset, stop_fleet
from fleet_launcher.environment import own_parts
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.options import FleetOptions
from fleet_launcher.places import StateDir
from fleet_sdk.client import FleetClient
from fleet_sdk.problems import ApiError, OutcomeUnknown, SocketClosed, Unreachable
from rich.console import Console

from . import check, report
from .follow import ReplayFailed, Seen, follow, listening
from .history import packaged_bars
from .outcome import Outcome, expected, read_outcome
from .scenario import END, PARAMETERS, START, STRATEGY, SYMBOLS, TIMEFRAME, Deployed

_SETTLE_S = 15.0


def run(console: Console, *, state_dir: Path, port_offset: int, keep: bool) -> int:
    """Runs the demo in a fleet of its own, whose data is emptied first; `keep` leaves the fleet running."""
    with own_parts() as set_aside:
        if set_aside:
            console.print(f"the demo runs on servers of its own, without {', '.join(set_aside)}", highlight=False)
        return _run(console, StateDir(state_dir.resolve()), port_offset=port_offset, keep=keep)


def _run(console: Console, state: StateDir, *, port_offset: int, keep: bool) -> int:
    if stop_fleet(state):
        console.print("stopped the fleet that an earlier demo left running")
    reset(state)
    started = time.monotonic()
    try:
        for event in launch(FleetOptions(state_dir=state.path, feed="replay", port_offset=port_offset)):
            if event["event"] == "part":
                console.print(f"  {event['name']:<22} ready after {event['seconds']:4.1f} s", highlight=False)
        console.print(f"the fleet is up after {time.monotonic() - started:.1f} s")
        url = description(state)["gateway_url"]
        return asyncio.run(_play(console, state, url))
    except (ReplayFailed, ApiError, OutcomeUnknown, Unreachable, SocketClosed) as error:
        console.print(f"[red]the demo failed:[/] {error}", highlight=False)
        console.print(f"logs: {state.logs}", highlight=False)
        return 1
    finally:
        if not keep:
            stop_fleet(state)


async def _play(console: Console, state: StateDir, url: str) -> int:
    async with FleetClient(url, timeout_s=30) as client:
        deployed = await _set_up(client, console)
        seen = Seen()
        async with listening(client, seen):
            started = time.monotonic()
            replay = await client.start_replay(
                {"symbols": list(SYMBOLS), "timeframe": TIMEFRAME, "start": START, "end": END}
            )
            status = await follow(client, replay["replay_id"], seen, console)
            seconds = time.monotonic() - started
            fleet = await read_outcome(client)
            socket_differences = await _settled(fleet, seen)
        console.print(f"replay {status['status']}: {status['bars']} bars in {status['steps']} steps")
        report.show(console, fleet, seconds=seconds)
        packaged = packaged_bars()
        in_process = await asyncio.to_thread(expected, packaged, fleet.account_id, deployed)
        checks = check.all_of(
            fleet,
            packaged=packaged,
            in_process=in_process,
            verified=await _verify_ledger(state),
            told=socket_differences,
        )
    return check.say(console, checks)


async def _set_up(client: FleetClient, console: Console) -> list[Deployed]:
    """A new user with his own password, one strategy, one deployment a symbol."""
    email, password = f"demo-{secrets.token_hex(4)}@example.com", secrets.token_urlsafe(18)
    await client.register(email, password, "Demo")
    await client.login(email, password)
    portfolio = await client.portfolio()
    console.print(f"registered {email}; paper account with {report.money(portfolio['cash'])} USD")
    strategy = await client.create_strategy(STRATEGY)
    deployed: list[Deployed] = []
    for symbol in SYMBOLS:
        deployment = await client.create_deployment(
            {
                "strategy_id": strategy["strategy_id"],
                "symbols": [symbol],
                "timeframe": TIMEFRAME,
                "parameters": PARAMETERS,
                "mode": "paper",
            },
            idempotency_key=f"demo-{symbol}",
        )
        deployed.append(Deployed(deployment["deployment_id"], symbol))
    console.print(f"deployed {STRATEGY['name']} on {', '.join(SYMBOLS)}")
    return deployed


async def _settled(fleet: Outcome, seen: Seen) -> list[str]:
    """What the socket still has not told a moment after the end; the fleet is at rest, so it need not be waited long."""
    deadline = time.monotonic() + _SETTLE_S
    while (found := check.socket(fleet, seen)) and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return found


async def _verify_ledger(state: StateDir) -> list[str]:
    """trading's own check of its books, run as a command of that service."""
    try:
        result: Any = await asyncio.to_thread(run_admin, state, "trading", ["verify"])
    except LaunchFailure as failure:
        return [str(failure)]
    return [] if result.returncode == 0 else [line for line in (result.stdout + result.stderr).splitlines() if line]
