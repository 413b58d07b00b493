"""Other order books on the same operations, each as its own users would run it. One that cannot be had is named as absent.

They are fetched from the package registries into .fleet/bench the first time.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fleet_launcher.places import SHARED
from fleet_simulator.book import events as e
from fleet_simulator.book.commands import Commands
from fleet_simulator.book.fast import FastBook

SOURCES = Path(__file__).parent / "peers"
_FOLDER = SHARED / "bench"
_FETCH_S, _RUN_S = 300, 300


class Absent(Exception):
    """Which command showed that the peer cannot be had here."""


@dataclass(frozen=True)
class Peer:
    name: str
    prepare: Callable[[], list[str]]
    """The command that replays a file, or `Absent`."""


def _lobster() -> list[str]:
    """Rust, crates.io."""
    target = _FOLDER / "lobster"
    shutil.copytree(SOURCES / "lobster", target, dirs_exist_ok=True)
    _shown("cargo", "build", "--quiet", "--release", "--manifest-path", str(target / "Cargo.toml"))
    return [str(target / "target" / "release" / "lobster-book")]


def _exchange_core() -> list[str]:
    """Java, Maven Central. Started from its source file, so a JDK is needed."""
    from jgo import build

    _shown("java", "--list-modules", must_say="jdk.compiler")
    try:
        jars = build("exchange.core2:exchange-core:0.5.3", cache_dir=_FOLDER / "exchange-core").all_jars
    except Exception as failure:  # jgo raises whatever its transport does
        raise Absent(f"jgo exchange.core2:exchange-core:0.5.3: {failure}") from failure
    classes = ":".join(str(jar) for jar in jars)
    return ["java", "-XX:+UseSerialGC", "-cp", classes, str(SOURCES / "ExchangeCore.java")]


def _nautilus() -> list[str]:
    """Python, PyPI, in an environment of its own: 700 MB."""
    return [own_python("nautilus", "nautilus_trader==1.221.0"), str(SOURCES / "nautilus.py")]


PEERS = (Peer("exchange-core", _exchange_core), Peer("lobster", _lobster), Peer("nautilus_trader", _nautilus))


def own_python(name: str, *packages: str) -> str:
    """An interpreter that has these packages, or `Absent`."""
    folder = _FOLDER / name
    python = folder / "bin" / "python"
    if not python.exists():
        _shown(sys.executable, "-m", "venv", "--without-pip", str(folder))
    uv = Path(sys.executable).with_name("uv")
    _shown(str(uv), "pip", "install", "--quiet", "--python", str(python), *packages)
    return str(python)


def run(command: list[str], *files: Path) -> dict[str, Any]:
    """The last line that it prints."""
    result: dict[str, Any] = json.loads(_shown(*command, *map(str, files), seconds=_RUN_S).splitlines()[-1])
    return result


def write_fills(file: Path, commands: Commands) -> Path:
    """For a book that does not match: how many orders each take meets, then the id and the rest of each."""
    events, cells = FastBook().apply(commands), []
    trades = events[events[:, e.KIND] == e.Kind.TRADED]
    for take in np.split(trades, np.flatnonzero(np.diff(trades[:, e.COMMAND])) + 1):
        cells += [len(take), *take[:, [e.MAKER_ID, e.MAKER_REMAINING]].ravel().tolist()]
    np.array(cells, dtype="<i8").tofile(file)
    return file


def _shown(*command: str, must_say: str = "", seconds: int = _FETCH_S) -> str:
    """What it prints. If it cannot: which command that was, and the last that it said."""
    line = " ".join(command)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as failure:
        raise Absent(f"{line}: {failure}") from failure
    if done.returncode != 0 or must_say not in done.stdout:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Absent(f"{line}: {said[-1] if said else f'ended with {done.returncode}'}")
    return done.stdout
