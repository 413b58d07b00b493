"""Where the compiled book is kept. `python -m fleet_simulator.book.machine_code` (part of `make setup`) compiles it."""

import hashlib
import importlib.metadata
import os
import platform
import shutil
import sys
import time
from pathlib import Path
from typing import Final

_COMPLETE: Final = "complete"

# Code for any processor of this kind: an image is built on one machine and runs on others. numba reads it when imported.
os.environ.setdefault("NUMBA_CPU_NAME", "generic")


def folder() -> Path:
    """In `NUMBA_CACHE_DIR`, else in the environment that Python runs in.

    Its name is the content of all that the code is made from: numba itself looks only at the file of the function that
    is called, and would go on with old code when one that it calls in another file has changed.
    """
    content = hashlib.sha256(f"{sys.version} {platform.machine()} {os.environ['NUMBA_CPU_NAME']}".encode())
    for package in ("numba", "llvmlite", "numpy"):
        content.update(importlib.metadata.version(package).encode() + b"\0")
    for source in sorted(Path(__file__).parent.glob("*.py")):
        content.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return _root() / f"book-{content.hexdigest()[:16]}"


def _root() -> Path:
    return Path(os.environ.get("NUMBA_CACHE_DIR") or Path(sys.prefix) / "var" / "numba")


def compile_all() -> None:
    kept = folder()
    if (kept / _COMPLETE).exists():
        return
    began = time.monotonic()
    _say("compiling the order book (half a minute, once)")
    import fleet_simulator.book.fast  # noqa: F401  importing it is compiling it

    (kept / _COMPLETE).touch()
    _say(f"order book compiled in {time.monotonic() - began:.0f} s, {_kilobytes(kept)} kB")
    if "NUMBA_CACHE_DIR" not in os.environ:  # there may be other checkouts' code in that
        for old in _root().glob("book-*"):
            if old != kept:
                shutil.rmtree(old)


def _kilobytes(kept: Path) -> int:
    return sum(file.stat().st_size for file in kept.rglob("*") if file.is_file()) >> 10


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    compile_all()
