"""Kafka's jars: fetched once through jgo into a folder that all fleets share, each checked against the committed list.

`python -m fleet_launcher.jars` makes sure that they are there.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path

from tenacity import RetryCallState, Retrying, stop_after_attempt, wait_exponential

from fleet_launcher.failure import LaunchFailure
from fleet_launcher.places import JARS

_DOWNLOADS_AT_ONCE = 6
_TIMEOUT_S = 60
_ATTEMPTS = 3
_FIRST_PAUSE_S = 2.0


@dataclass(frozen=True)
class Jar:
    """One line of kafka-jars.txt: group:artifact:version, bytes, SHA-256."""

    coordinate: str
    size: int
    sha256: str

    @cached_property
    def filename(self) -> str:
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"

    def is_intact(self, file: Path) -> bool:
        if not file.is_file() or file.stat().st_size != self.size:
            return False
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest() == self.sha256


def kafka_jars() -> list[Jar]:
    text = resources.files("fleet_launcher").joinpath("kafka-jars.txt").read_text()
    rows = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return [Jar(coordinate, int(size), sha256) for coordinate, size, sha256 in rows]


def download(jar: Jar, folder: Path) -> Path:
    """Fetch one jar from Maven Central into `folder`; jgo knows where that is."""
    from jgo.maven import MavenContext

    group, artifact, version = jar.coordinate.split(":")
    context = MavenContext(repo_cache=folder, timeout=_TIMEOUT_S)
    return Path(context.project(group, artifact).at_version(version).artifact().resolve())


def ensure_jars(
    folder: Path,
    *,
    jars: list[Jar] | None = None,
    fetch: Callable[[Jar, Path], Path] = download,
    tell: Callable[[str], None] = lambda line: None,
    first_pause_s: float = _FIRST_PAUSE_S,
) -> list[Path]:
    """The class path: every jar of the list, intact. Fetches what is missing or spoilt; offline when all is there.

    A fetch that fails is tried twice more, after a pause and one twice as long: of some fifty, one meets a name server
    or a proxy that has no answer for a moment.
    """
    wanted = kafka_jars() if jars is None else jars
    missing = [jar for jar in wanted if not jar.is_intact(folder / jar.filename)]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=folder) as temporary:
            retrying = Retrying(
                stop=stop_after_attempt(_ATTEMPTS),
                wait=wait_exponential(first_pause_s),
                before_sleep=lambda state: tell(f"Kafka: {_failed(state)}"),
                reraise=True,
            )

            def fetch_one(jar: Jar) -> Path:
                # A folder each time: jgo begins no file that is there.
                return retrying(lambda: fetch(jar, Path(tempfile.mkdtemp(dir=temporary))))

            _fetch_all(missing, folder, fetch_one, tell)
    return [folder / jar.filename for jar in wanted]


def _fetch_all(missing: list[Jar], folder: Path, fetch: Callable[[Jar], Path], tell: Callable[[str], None]) -> None:
    total = sum(jar.size for jar in missing)
    tell(f"Kafka: {len(missing)} jars to fetch, {total / 1e6:.1f} MB, into {folder}")

    def fetch_one(jar: Jar) -> Jar:
        try:
            file = fetch(jar)
        except (
            Exception
        ) as error:  # whatever the network, the proxy or the registry throws: it is one thing to the reader
            raise LaunchFailure(
                f"{jar.coordinate} could not be fetched from Maven Central: {_reason(error)}",
                "Check the network or proxy (https_proxy) and run `make setup` again; what was fetched is kept",
            ) from error
        if not jar.is_intact(file):
            raise LaunchFailure(
                f"{jar.coordinate} is not the file that was pinned: its SHA-256 differs",
                "Something between here and Maven Central changed it; do not use it, and look at the proxy",
            )
        shutil.move(file, folder / jar.filename)
        return jar

    done, told = 0, 0
    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        for count, jar in enumerate(pool.map(fetch_one, missing), start=1):
            done += jar.size
            if done - told > total / 10 or count == len(missing):
                told = done
                tell(f"Kafka: {done / 1e6:.0f} of {total / 1e6:.0f} MB, {count} of {len(missing)} jars")


def _failed(state: RetryCallState) -> str:
    assert state.outcome is not None and state.next_action is not None, "it is told between two attempts"
    error = state.outcome.exception()
    assert error is not None
    return f"a jar did not come ({_reason(error)}); it is asked for again in {state.next_action.sleep:g} s"


def _reason(error: BaseException) -> str:
    """The innermost cause: requests wraps what happened three deep."""
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return f"{type(error).__name__}: {error}"


def main() -> int:
    # Kafka is made of these jars, so what runs it cannot be known above.
    from fleet_launcher.class_archive import ensure_archive

    def tell(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    try:
        ensure_archive(ensure_jars(JARS, tell=tell), tell=tell)
    except LaunchFailure as failure:
        sys.stderr.write(f"error: {failure}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
