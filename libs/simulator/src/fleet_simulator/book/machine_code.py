"""Where the compiled book is kept."""

import hashlib
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

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
    return root() / f"book-{content.hexdigest()[:16]}"


def root() -> Path:
    """Where the code of all versions lies."""
    return Path(os.environ.get("NUMBA_CACHE_DIR") or Path(sys.prefix) / "var" / "numba")
