"""What processes have used, read from the system: CPU by process, memory by process."""

import contextlib
from collections.abc import Mapping
from typing import Any

import psutil


class Cpu:
    """CPU seconds by process, children included, from here on. `pids`: the name of each and where it is found."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._pids = pids
        self._before = self._read()

    def _read(self) -> dict[str, float]:
        found = {}
        for name, pid in self._pids.items():
            seconds = 0.0
            process = psutil.Process(pid)
            for one in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    times = one.cpu_times()
                    seconds += times.user + times.system + times.children_user + times.children_system
            found[name] = seconds
        return found

    def used(self) -> dict[str, float]:
        """Seconds since this was made."""
        now = self._read()
        return {name: now[name] - before for name, before in self._before.items()}


def us_each(used: Mapping[str, float], count: int) -> dict[str, int]:
    """Microseconds of each process for one of so many."""
    return {name: round(seconds / max(count, 1) * 1e6) for name, seconds in sorted(used.items())}


def memory_mb(pids: Mapping[str, int]) -> dict[str, float]:
    """Proportional set size by process: shared pages counted once."""
    found = {}
    for name, pid in pids.items():
        total = 0
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += one.memory_full_info().pss
        found[name] = round(total / 1e6, 1)
    return found


def stores_of(description: Mapping[str, Any]) -> dict[str, int]:
    """Kafka, PostgreSQL and Valkey of a fleet."""
    return {name: part["pid"] for name, part in description.items() if name in ("kafka", "postgres", "redis")}


def processes_of(description: Mapping[str, Any]) -> dict[str, int]:
    """The same, and every instance of every service."""
    return stores_of(description) | {
        f"{name}-{instance['ordinal']}": instance["pid"]
        for name, service in description["services"].items()
        for instance in service["instances"]
    }
