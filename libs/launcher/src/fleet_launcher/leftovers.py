"""Processes of a fleet whose supervisor is gone: after a kill -9, or after the machine slept through its end."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from fleet_launcher import processes
from fleet_launcher.places import StateDir

PARTS = ("kafka", "postgres", "valkey")
SUPERVISOR = "supervisor"
LOCK = "supervisor.lock"


def end_leftovers(state: StateDir) -> list[str]:
    """Stop what a supervisor left running, services before the parts they need; the names of what still ran.

    A record whose process is gone, or whose pid is another program's now, is only thrown away.
    """
    names = [record.name for record in processes.records(state) if record.name != SUPERVISOR]
    alive = [name for name in names if processes.running(state, name) is not None]
    stop_all(state, [name for name in names if name not in PARTS])
    stop_all(state, [name for name in names if name in PARTS])
    return alive


def stop_all(state: StateDir, names: Sequence[str]) -> None:
    """Side by side, and kills what does not end."""

    def stop(name: str) -> None:
        # PostgreSQL's SIGTERM would wait for all of its sessions.
        processes.stop(state, name, ask=signal.SIGINT if name == "postgres" else signal.SIGTERM)

    if names:
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(stop, names))
