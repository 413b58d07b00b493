"""The JVM's class archive for Kafka: classes are mapped as they were parsed once, which halves the CPU of a start.

Made by `make setup`, by letting Kafka run once (JEP 350, dynamic class-data sharing archives). A JVM that finds the
archive missing, or made by another JVM or of other jars, starts without it.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from fleet_launcher.failure import LaunchFailure
from fleet_launcher.java import find_java
from fleet_launcher.kafka import CLASS_ARCHIVE, Kafka
from fleet_launcher.places import JARS, StateDir
from fleet_launcher.ports import kept_ports

_TIMEOUT_S = 60


def ensure_archive(jars: list[Path], *, folder: Path = JARS, tell: Callable[[str], None] = lambda line: None) -> None:
    """Makes the archive unless it is there; a failure is told and costs only speed."""
    archive, base = folder / CLASS_ARCHIVE, folder / "java.jsa"
    if archive.exists():
        return
    tell("Kafka: running it once, so that it starts in half the time from then on")
    try:
        java = find_java()
        subprocess.run(  # noqa: S603 - our own words
            [java, f"-XX:SharedArchiveFile={base}", "-Xshare:dump", "-Xlog:disable"],
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=True,
        )
        with tempfile.TemporaryDirectory(prefix="kafka-once-") as state:
            place = StateDir(Path(state))
            place.prepare()
            ports = kept_ports(place, ["kafka", "controller"])
            jvm = (f"-XX:SharedArchiveFile={base}", f"-XX:ArchiveClassesAtExit={archive}")
            kafka = Kafka(place, jars, ports["kafka"], ports["controller"], place.secret("kafka"), jvm=jvm)
            try:
                kafka.start()
            finally:
                kafka.stop()
    except (LaunchFailure, OSError, subprocess.SubprocessError) as failure:
        tell(f"Kafka: it will start slower, no class archive could be made: {failure}")
