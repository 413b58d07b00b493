"""`make setup`: everything that a checkout needs, from package registries alone, with nothing but a bare Python.

.venv with the locked packages (each checked by its hash), our own members in editable form, Kafka's jars, and the order
book compiled. A second run finds its stamp, the jars and the compiled book, and needs neither network nor more than a
second or two.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "setup.stamp"
LOCK = ROOT / "requirements.lock"
NEEDED = (3, 11)
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
    content = hashlib.sha256(LOCK.read_bytes() + sys.version.encode())
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


def is_usable(folder: Path) -> bool:
    """Whether it has a Python of this version (an interpreter that was upgraded leaves a broken one) and a way to install."""
    tools = folder / "bin" / "uv", folder / "bin" / "pip"
    if not (folder / "bin" / "python").exists() or not any(tool.exists() for tool in tools):
        return False
    return (folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}").is_dir()


def make_venv(python: str = sys.executable, folder: Path = VENV) -> None:
    if is_usable(folder):
        return
    say("making .venv")
    command = [python, "-m", "venv", "--clear", str(folder)]
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


def install() -> None:
    uv = VENV / "bin" / "uv"
    python = VENV / "bin" / "python"
    if not uv.exists():
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as wanted:
            wanted.write(locked("uv"))
            wanted.flush()
            run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--require-hashes", "-r", wanted.name)
    say("installing the locked packages (about 140; 360 MB to fetch the first time)")
    # Bytecode now, so that the first start of eight services is not spent on it.
    run(uv, "pip", "install", "--python", python, "--require-hashes", "--compile-bytecode", "-r", LOCK)
    say("installing our own members")
    own = [word for member in members() for word in ("-e", str(member))]
    run(uv, "pip", "install", "--quiet", "--python", python, "--no-deps", "--no-build-isolation", *own)


def run(*command: str | Path) -> None:
    # uv looks for a virtual environment and a workspace by itself; it is told which one.
    environment = {**os.environ, "VIRTUAL_ENV": str(VENV), "UV_NO_CONFIG": "1"}
    done = subprocess.run([str(word) for word in command], env=environment, check=False)  # noqa: S603
    if done.returncode != 0:
        raise SetUpFailure(
            f"{Path(command[0]).name} {command[1]} {command[2]} failed, see above. If the registry cannot be reached: look at "
            "network and proxy (https_proxy, PIP_INDEX_URL) and run make setup again; what was fetched is kept."
        )


def megabytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and not file.is_symlink()) >> 20


def main() -> int:
    began = time.monotonic()
    try:
        require_python()
        wanted = fingerprint()
        fresh = not (STAMP.exists() and STAMP.read_text() == wanted)
        if fresh:
            require_disk()
            make_venv()
            install()
        run(VENV / "bin" / "python", "-m", "fleet_launcher.jars")
        run(VENV / "bin" / "python", "-m", "fleet_simulator.book.machine_code")
        if fresh:
            STAMP.write_text(wanted)
            say(f".venv {megabytes(VENV)} MB, jars {megabytes(ROOT / '.fleet' / 'jars')} MB")
            say(f"set up in {time.monotonic() - began:.0f} s")
    except SetUpFailure as failure:
        sys.stderr.write(f"error: {failure}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
