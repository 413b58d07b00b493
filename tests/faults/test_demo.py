"""The demo on real data, with its own check of the books against an in-process run, while things go wrong."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from fleet_launcher.control import reset
from fleet_launcher.options import FleetOptions
from fleet_launcher.places import SHARED, StateDir
from whole_fleet import WholeFleet, noise

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]
SERVICES = ("auth", "data", "core-engine", "strategy", "trading", "execution", "exchange-connector", "gateway")
PARTS = ("kafka", "postgres", "valkey")
PORT_OFFSETS = (620, 621)


@pytest.fixture
def states() -> Iterator[list[StateDir]]:
    found = [StateDir(SHARED / f"whole-{offset}") for offset in PORT_OFFSETS]
    yield found
    for state in found:
        reset(state)
        shutil.rmtree(state.path, ignore_errors=True)


async def run_demo(state: StateDir, port_offset: int, *, at_progress: Callable[[], None] = lambda: None) -> str:
    """The demo's output; `at_progress` is called at each of its ten lines of progress. It must end with success."""
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "fleet_cli.main", "demo"),
        *("--state-dir", str(state.path), "--port-offset", str(port_offset)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert demo.stdout is not None
    output: list[str] = []
    async for line in demo.stdout:
        output.append(line.decode())
        if re.search(r"step \d+/", output[-1]):
            at_progress()
    text = "".join(output)
    assert await demo.wait() == 0, text
    assert "70 fills equal those of the in-process run" in text
    return text


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


async def test_two_demos_at_once_give_the_same_fills_and_log_nothing_unusual(states: list[StateDir]) -> None:
    """Side by side, so each on a loaded machine; both equal the in-process run, so each other."""
    await asyncio.gather(*(run_demo(state, offset) for state, offset in zip(states, PORT_OFFSETS, strict=True)))
    assert [line for state in states for line in noise(state)] == []
