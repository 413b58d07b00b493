"""`make setup`: everything that a checkout needs, from package registries alone, with nothing but a bare Python.

.venv with the locked packages (each checked by its hash), our own members in editable form, Kafka's jars, and the order
book compiled. A second run finds its stamp, the jars and the compiled book, and needs neither network nor more than a
second or two.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "setup.stamp"
LOCK = ROOT / "requirements.lock"
NEEDED = (3, 11)
SYSTEM_PYTHON = Path("/usr/bin/python3")
FASTER = 0.85
"""What the system's Python may take of the time of the one found first, to be preferred: less than noise could make it."""
NEEDED_BYTES = 3 << 30  # the packages take about 1 GB, and their downloads as much again while they are unpacked


class SetUpFailure(Exception):
    """One line: what is missing and what to do."""


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def members() -> list[Path]:
    return sorted(path.parent for kind in ("libs", "services") for path in ROOT.glob(f"{kind}/*/pyproject.toml"))


def fingerprint() -> str:
    """Changes when anything that was installed would."""
    content = hashlib.sha256(LOCK.read_bytes())
    for member in members():
        content.update((member / "pyproject.toml").read_bytes())
    return content.hexdigest()


def require_python(version: tuple[int, int] = sys.version_info[:2]) -> None:
    if version < NEEDED:
        raise SetUpFailure(
            f"Python {version[0]}.{version[1]} is too old. Install Python 3.11 or newer and run: make setup PYTHON=python3.11"
        )


def require_disk(needed: int = NEEDED_BYTES) -> None:
    free = shutil.disk_usage(ROOT).free
    if free < needed:
        raise SetUpFailure(f"{free >> 20} MB are free on this disk, set-up needs {needed >> 20} MB. Free some space.")


def version_of(python: Path) -> tuple[int, int] | None:
    """None where it does not run."""
    try:
        told = subprocess.run(  # noqa: S603
            [str(python), "-I", "-S", "-c", "import sys; print(*sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    major, minor = told.stdout.split()
    return int(major), int(minor)


def is_usable(folder: Path, version: tuple[int, int] | None = None) -> bool:
    """Whether it was made here (its commands name their folder), has a way to install, and a Python that is new enough,
    of that version where one is given. An interpreter that was upgraded leaves the packages of another version."""
    found, made = version_of(folder / "bin" / "python"), folder / "pyvenv.cfg"
    if found is None or found < NEEDED or version not in (None, found):
        return False
    if not made.exists() or not made.read_text().rstrip().endswith(f" {folder}"):
        return False
    has_tool = any((folder / "bin" / tool).exists() for tool in ("uv", "pip"))
    return has_tool and (folder / "lib" / f"python{found[0]}.{found[1]}").is_dir()


_WORK = """
import sys, time, venv
class Order:
    __slots__ = ("number", "text")
    def __init__(self, number): self.number, self.text = number, str(number)
    def next(self): return self.number + 1
def once():
    began, known = time.process_time(), {}
    for number in range(40_000):
        known[number % 1000] = Order(number)
        known.get(number - 5, known[0]).next()
    return time.process_time() - began
print(*sys.version_info[:2], min(once() for _ in range(7)))
"""


def speed_of(python: str) -> tuple[tuple[int, int], float] | None:
    """Version and seconds for some work like that of the services; None where it does not run."""
    done = subprocess.run([python, "-I", "-S", "-c", _WORK], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        return None
    major, minor, seconds = done.stdout.split()
    return (int(major), int(minor)), float(seconds)


def faster_python(system: Path = SYSTEM_PYTHON) -> str | None:
    """The system's own Python, where it is of this version and clearly faster than the one that was found first.

    Distributions build with profile-guided optimisation, version managers by default without: a third more CPU for all
    that the fleet does."""
    ours, other = Path(sys.executable).resolve(), system.resolve()
    if not other.exists() or other == ours:
        return None
    first, second = speed_of(str(ours)), speed_of(str(other))
    if first is None or second is None or first[0] != second[0] or second[1] > first[1] * FASTER:
        return None
    say(
        f"{other} does the same work in {second[1] / first[1]:.0%} of the time of {ours}: it is taken "
        "(make setup PYTHON=… takes the one that you name)"
    )
    return str(other)


def make_venv(python: str = sys.executable, folder: Path = VENV, *, with_pip: bool = True) -> None:
    say("making .venv")
    command = [python, "-m", "venv", "--clear", *([] if with_pip else ["--without-pip"]), str(folder)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if made.returncode != 0:
        shutil.rmtree(folder, ignore_errors=True)
        if "ensurepip" in made.stdout + made.stderr or "No module named venv" in made.stderr:
            major, minor = sys.version_info[:2]
            raise SetUpFailure(
                "This Python has no venv. Install it (Debian, Ubuntu: apt install python3-venv, or "
                f"python{major}.{minor}-venv; others: the full python3 package) and run make setup again."
            )
        raise SetUpFailure(f".venv could not be made: {(made.stderr or made.stdout).strip().splitlines()[-1]}")


def locked(name: str) -> str:
    """The lines of one package in the lock file, with its hashes."""
    lines = LOCK.read_text().splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"{name}=="))
    end = next(number for number in range(start, len(lines)) if not lines[number].endswith("\\"))
    return "\n".join(lines[start : end + 1]) + "\n"


def has_pip() -> bool:
    """Whether this Python could install into another's environment: what the system's own cannot where it is bare."""
    return importlib.util.find_spec("pip") is not None


def install() -> None:
    uv = VENV / "bin" / "uv"
    python = VENV / "bin" / "python"
    if not uv.exists():
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
            wanted.write(locked("uv"))
            wanted.flush()
            own_pip = (VENV / "bin" / "pip").exists()
            pip = (python, "-m", "pip") if own_pip else (sys.executable, "-m", "pip", "--python", python)
            run(*pip, "install", "--quiet", "--no-deps", "--require-hashes", "-r", wanted.name)
    say("installing the locked packages (about 155; 360 MB to fetch the first time)")
    # Bytecode now, so that the first start of eight services is not spent on it.
    run(uv, "pip", "install", "--python", python, "--require-hashes", "--compile-bytecode", "-r", LOCK)
    say("installing our own members")
    own = [word for member in members() for word in ("-e", str(member))]
    run(uv, "pip", "install", "--quiet", "--python", python, "--no-deps", "--no-build-isolation", *own)


def trusted(paths: ssl.DefaultVerifyPaths | None = None) -> dict[str, str]:
    """Makes uv and requests trust whom this machine trusts, a company's proxy among them, instead of their own lists.

    Nothing where the machine has no list: theirs are better than none."""
    paths = paths or ssl.get_default_verify_paths()
    folder = paths.capath if paths.capath and any(Path(paths.capath).glob("*.0")) else None
    found = paths.cafile or folder
    return {"UV_SYSTEM_CERTS": "1", "REQUESTS_CA_BUNDLE": found} if found else {}


def run(*command: str | Path) -> None:
    # uv looks for a virtual environment and a workspace by itself; it is told which one.
    environment = {**trusted(), **os.environ, "VIRTUAL_ENV": str(VENV), "UV_NO_CONFIG": "1"}
    done = subprocess.run([str(word) for word in command], env=environment, check=False)  # noqa: S603
    if done.returncode != 0:
        raise SetUpFailure(
            f"{Path(command[0]).name} {command[1]} {command[2]} failed, see above. If the registry cannot be reached: look at "
            "network and proxy (https_proxy, PIP_INDEX_URL) and run make setup again; what was fetched is kept."
        )


def megabytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink()) >> 20


def main(arguments: Sequence[str] = ()) -> int:
    began = time.monotonic()
    try:
        wanted, is_any = fingerprint(), "--any" in arguments
        # What was made with a Python that somebody named is kept by those who name none.
        usable = is_usable(VENV, None if is_any else sys.version_info[:2])
        fresh = not (usable and STAMP.exists() and STAMP.read_text() == wanted)
        if fresh:
            require_disk()
            if not usable:
                require_python()
                chosen = faster_python() if is_any and has_pip() else None
                make_venv(chosen or sys.executable, with_pip=chosen is None)
            install()
        run(VENV / "bin" / "python", "-m", "fleet_launcher.jars")
        run(VENV / "bin" / "python", "-m", "fleet_simulator.book")
        if fresh:
            STAMP.write_text(wanted)
            say(f".venv {megabytes(VENV)} MB, jars {megabytes(ROOT / '.fleet' / 'jars')} MB")
            say(f"set up in {time.monotonic() - began:.0f} s")
    except SetUpFailure as failure:
        sys.stderr.write(f"error: {failure}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
