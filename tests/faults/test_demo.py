"""The demo on real data, with its own check of the books against an in-process run, while things go wrong."""

import asyncio
import os
import shutil
import signal
from collections.abc import Iterator

import pytest
from fleet_launcher.control import reset
from fleet_launcher.environment import own_parts
from fleet_launcher.options import FleetOptions
from fleet_launcher.places import SHARED, StateDir
from running_demo import run_demo
from whole_fleet import WholeFleet, noise, until_priced

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
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
PORT_OFFSETS = (620, 621)


@pytest.fixture
def states() -> Iterator[list[StateDir]]:
    found = [StateDir(SHARED / f"whole-{offset}") for offset in PORT_OFFSETS]
    yield found
    for state in found:
        with own_parts():
            reset(state)
        shutil.rmtree(state.path, ignore_errors=True)


@pytest.mark.parametrize("names", [SERVICES, PARTS], ids=["services", "parts"])
async def test_the_demo_checks_out_though_each_is_killed_in_turn(
    states: list[StateDir], names: tuple[str, ...]
) -> None:
    """demo → kill -9 of each in turn while the replay runs → the self-check still passes."""
    fleet = WholeFleet(states[0], FleetOptions(state_dir=states[0].path))
    waiting = list(names)

    def kill_the_next() -> None:
        if waiting:
            os.kill(fleet.pid(waiting.pop(0)), signal.SIGKILL)

    await run_demo(states[0], PORT_OFFSETS[0], at_progress=kill_the_next)
    assert not waiting, f"the replay was over before {waiting} were killed"


async def test_the_demo_checks_out_though_all_is_killed_at_once(states: list[StateDir]) -> None:
    """another fleet is left in its place, and has told of a market → demo → kill -9 of every service, later of every
    service and all they stand on → the self-check still passes."""
    fleet = WholeFleet(states[0], FleetOptions(state_dir=states[0].path, port_offset=PORT_OFFSETS[0]))
    await asyncio.to_thread(fleet.up)
    async with fleet.user() as user:
        await until_priced(user.client, "AAPL/USD")
    progress = 0

    def kill_everything() -> None:
        nonlocal progress
        progress += 1
        if progress in (3, 6):
            for name in SERVICES + (PARTS if progress == 6 else ()):
                os.kill(fleet.pid(name), signal.SIGKILL)

    told = await run_demo(states[0], PORT_OFFSETS[0], at_progress=kill_everything)
    assert "stopped the fleet that an earlier demo left running" in told
    assert progress >= 6


async def test_two_demos_at_once_give_the_same_fills_and_log_nothing_unusual(states: list[StateDir]) -> None:
    """Side by side, so each on a loaded machine; both equal the in-process run, so each other."""
    await asyncio.gather(*(run_demo(state, offset) for state, offset in zip(states, PORT_OFFSETS, strict=True)))
    assert [line for state in states for line in noise(state)] == []
