"""The demo as its user runs it, in a state folder of its own."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable

from fleet_launcher.places import StateDir


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
