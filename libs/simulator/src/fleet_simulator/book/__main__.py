"""`python -m fleet_simulator.book` (part of `make setup`) compiles the book."""

import os
import shutil
import sys
import time
from pathlib import Path
from typing import Final

from fleet_simulator.book.machine_code import folder, root

_COMPLETE: Final = "complete"


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
        for old in root().glob("book-*"):
            if old != kept:
                shutil.rmtree(old)


def _kilobytes(kept: Path) -> int:
    return sum(file.stat().st_size for file in kept.rglob("*") if file.is_file()) >> 10


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    compile_all()
