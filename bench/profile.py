"""Where the CPU of our processes goes: py-spy looks at each of them a hundred times a second while a load runs."""

import asyncio
import re
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_PER_SECOND = 100
_SHOWN = 10
_LEAST = 0.02
"""Of a process' samples; what has less is not shown."""
_WAITING = ("threading.py", "concurrent/futures/thread.py")
"""A thread whose innermost frame is here waits for work, also where the system calls it runnable."""
_FRAME = re.compile(r"^(?P<function>.+) \((?P<file>.*?)(:\d+)?\)$")

Stack = tuple[tuple[str, str], ...]
"""Function and file of each frame, the innermost last."""
Stacks = Counter[Stack]


async def sample(pids: Mapping[str, int], seconds: float) -> dict[str, Stacks]:
    """The stacks that these processes were seen in while they worked. Raises OSError where the system forbids to look."""
    with TemporaryDirectory() as folder:
        found = await asyncio.gather(
            *(_sample(pid, seconds, Path(folder) / name) for name, pid in sorted(pids.items()))
        )
    return dict(zip(sorted(pids), found, strict=True))


async def _sample(pid: int, seconds: float, output: Path) -> Stacks:
    program = Path(sys.executable).with_name("py-spy")
    words = ["record", "--pid", pid, "--duration", round(seconds), "--rate", _PER_SECOND, "--full-filenames"]
    looking = await asyncio.create_subprocess_exec(
        program,
        *map(str, [*words, "--format", "raw", "--output", output]),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await looking.communicate()
    finally:
        if looking.returncode is None:
            looking.kill()
    if looking.returncode:
        raise OSError(f"py-spy could not look at process {pid}: {said.decode().strip()}")
    return parse(await asyncio.to_thread(output.read_text))


def parse(text: str) -> Stacks:
    """py-spy's raw form: frames from the outside in, separated by semicolons, and how often they were seen."""
    stacks: Stacks = Counter()
    for line in text.splitlines():
        frames, _, count = line.rpartition(" ")
        stack = tuple(_frame(frame) for frame in frames.split(";"))
        if not stack[-1][1].endswith(_WAITING):
            stacks[stack] += int(count)
    return stacks


def _frame(text: str) -> tuple[str, str]:
    found = _FRAME.match(text)
    return (found["function"], found["file"]) if found else (text, "")


def table(stacks: Stacks, us_each: int) -> dict[str, Any]:
    """Of a process that used so many microseconds an order: how many by package, in which functions, and, of our own
    functions, with all that they call."""
    own: Counter[str] = Counter()
    packages: Counter[str] = Counter()
    below: Counter[str] = Counter()
    for stack, count in stacks.items():
        function, file = stack[-1]
        own[f"{_package(file)}: {function}"] += count
        packages[_package(file)] += count
        for name in {f"{_package(file)}: {function}" for function, file in stack if _is_ours(file)}:
            below[name] += count
    total = stacks.total()
    return {
        "samples": total,
        "us_each": us_each,
        "by_package": _shares(packages, total, us_each),
        "own": _shares(own, total, us_each),
        "with_all_they_call": _shares(below, total, us_each),
    }


def _shares(counts: Counter[str], total: int, us_each: int) -> dict[str, int]:
    return {
        name: round(us_each * count / total) for name, count in counts.most_common(_SHOWN) if count >= total * _LEAST
    }


def _package(file: str) -> str:
    """`fleet_bus/outbox.py` of ours, `asyncpg` of others', `asyncio` of Python's own."""
    parts = Path(file).parts
    ours = next((place for place, part in enumerate(parts) if part.startswith("fleet_")), None)
    if ours is not None:
        return "/".join(parts[ours:])
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    return next((part for part in parts if part in ("asyncio", "json", "http")), "Python")


def _is_ours(file: str) -> bool:
    return any(part.startswith("fleet_") for part in Path(file).parts)


def lines(found: Mapping[str, Any]) -> list[str]:
    """The table of one load to be read, the dearest process first."""
    shown = []
    for name, process in sorted(found.items(), key=lambda item: -item[1]["us_each"]):
        shown.append(f"{name}: {process['us_each']} us an order")
        for title in ("by_package", "own", "with_all_they_call"):
            shown.append(f"  {title.replace('_', ' ')}")
            shown += [f"    {us:>6}  {what}" for what, us in process[title].items()]
    return shown
