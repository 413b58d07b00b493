"""The replay of `fleet demo`: steps per second through the whole fleet, each of which waits for rest twice or more."""

import re
import subprocess
import sys
import tempfile
from typing import Any

STEPS = 504


def measure() -> dict[str, Any]:
    """Seconds from the start of the replay to its end, and the rates; the demo's own checks must hold."""
    with tempfile.TemporaryDirectory(prefix="bench-demo-") as folder:
        command = [sys.executable, "-m", "fleet_cli.main", "demo", "--state-dir", folder, "--port-offset", "910"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)  # noqa: S603
    if done.returncode != 0:
        raise RuntimeError(f"the demo failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    told = re.search(r"(\d+) bars in ([\d.]+) s:", done.stdout)
    ready = re.search(r"the fleet is up after ([\d.]+) s", done.stdout)
    assert told is not None and ready is not None
    seconds = float(told[2])
    return {
        "fleet_up_s": float(ready[1]),
        "seconds": seconds,
        "steps_per_s": round(STEPS / seconds, 1),
        "bars_per_s": round(int(told[1]) / seconds, 1),
    }
