"""The three parts under a fleet, brought up side by side; each may be given by URL instead.

`python -m fleet_launcher.stack --state-dir D up` starts a stack of its own (for tests) and prints its URLs as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Protocol

from fleet_launcher.failure import LaunchFailure
from fleet_launcher.jars import ensure_jars
from fleet_launcher.kafka import Kafka
from fleet_launcher.leftovers import PARTS, stop_all
from fleet_launcher.places import JARS, RESTORE_SECRETS, SECRETS, StateDir
from fleet_launcher.ports import kept_ports
from fleet_launcher.postgres import Postgres, own_run_as
from fleet_launcher.processes import records, running
from fleet_launcher.services import SERVICES
from fleet_launcher.valkey import Valkey

_NAMES = ("KAFKA", "POSTGRES", "REDIS")
"""Of the parts, in the settings by which one is given: FLEET_KAFKA_URL, …"""


class Part(Protocol):
    """One server of the stack."""

    name: str

    @property
    def pid(self) -> int | None: ...

    def start(self) -> None:
        """Return when it is ready to work; at once if it runs already."""

    def stop(self) -> None: ...


@dataclass(frozen=True)
class Endpoints:
    """Where the parts are, as URLs of the users who may do everything there: make roles, databases, users, topics."""

    kafka_url: str
    postgres_url: str
    redis_url: str


class Stack:
    """Kafka, PostgreSQL and Valkey of one state folder; `start` is idempotent and `stop` ends only what is ours."""

    def __init__(
        self,
        state_dir: Path,
        *,
        durable: bool = True,
        jars: Path = JARS,
        tell: Callable[[str], None] = lambda line: None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.state = StateDir(state_dir.resolve())
        self._durable = durable
        self._jars = jars
        self._tell = tell
        self._given = {
            name: environment[f"FLEET_{name}_URL"] for name in _NAMES if environment.get(f"FLEET_{name}_URL")
        }
        self.parts: list[Part] = []

    def start(self) -> Endpoints:
        """All parts in parallel; the first failure stops what had started."""
        self.state.prepare()
        endpoints = self.plan()
        with ThreadPoolExecutor(max(1, len(self.parts))) as pool:
            tasks = [pool.submit(self._start, part) for part in self.parts]
        failures = [error for task in tasks if (error := task.exception()) is not None]
        if failures:
            self.stop()
            raise failures[0]
        return endpoints

    def stop(self) -> None:
        with ThreadPoolExecutor(max(1, len(self.parts))) as pool:
            list(pool.map(lambda part: part.stop(), self.parts))

    def delete_data(self) -> None:
        """Stop what runs here and delete what it kept, with the passwords to it; a part given by URL is left alone."""
        own = [part for part, name in zip(PARTS, _NAMES, strict=True) if name not in self._given]
        stop_all(self.state, own)
        for part in own:
            shutil.rmtree(self.state.path / part, ignore_errors=True)
        if "postgres" in own:
            shutil.rmtree(own_run_as(self.state).data, ignore_errors=True)  # where it lies elsewhere
        (self.state.path / SECRETS).unlink(missing_ok=True)

    def _start(self, part: Part) -> None:
        began = time.monotonic()
        part.start()
        self._tell(f"{part.name} ready in {time.monotonic() - began:.1f} s")

    def plan(self) -> Endpoints:
        """Decide the parts, their ports and passwords; one thread, since they share files of the state folder."""
        self.state.path.mkdir(parents=True, exist_ok=True)
        self.parts = []
        if (kafka := self._given.get("KAFKA")) is None:
            port, controller = self._ports("kafka", "kafka-controller")
            jars = ensure_jars(self._jars, tell=self._tell)
            broker = Kafka(self.state, jars, port, controller, self.state.secret("kafka"))
            kafka = broker.url
            self.parts.append(broker)
        if (postgres := self._given.get("POSTGRES")) is None:
            run_as = own_run_as(self.state)
            if (run_as.data / "PG_VERSION").exists() and "postgres" not in self.state.kept(SECRETS):
                raise LaunchFailure(
                    f"{self.state.path / SECRETS} has no password of the user postgres, which opens the data that is there",
                    RESTORE_SECRETS,
                )
            port, password = self._ports("postgres")[0], self.state.secret("postgres")
            server = Postgres(self.state, port, password, durable=self._durable, run_as=run_as)
            postgres = server.url
            self.parts.append(server)
        if (redis := self._given.get("REDIS")) is None:
            users = {s.name: self.state.secret(f"valkey {s.name}") for s in SERVICES if s.uses_redis}
            cache = Valkey(self.state, self._ports("valkey")[0], self.state.secret("valkey"), users)
            redis = cache.url
            self.parts.append(cache)
        return Endpoints(kafka, postgres, redis)

    def _ports(self, part: str, *more: str) -> list[int]:
        """The ports of a part: as they are while it runs, otherwise free ones."""
        names = [part, *more]
        kept = self.state.kept("ports.json")
        if running(self.state, part) is not None:
            return [port for name in names if isinstance(port := kept[name], int)]
        return list(kept_ports(self.state, names).values())


# A test stack is its own, unless the caller says that what his environment names may be used for tests.
_NOTHING_GIVEN: Mapping[str, str] = {}


def up(
    state_dir: Path,
    *,
    tell: Callable[[str], None] = lambda line: None,
    environment: Mapping[str, str] = _NOTHING_GIVEN,
) -> Endpoints:
    """The test stack of that folder, started if it does not run; safe to be called by many processes at once."""
    stack = Stack(state_dir, durable=False, tell=tell, environment=environment)
    with stack.state.locked("stack.lock", timeout_s=180.0) as held:
        if not held:
            raise LaunchFailure(f"Another process holds {state_dir}/stack.lock", "Look at what it does, or end it")
        if not any(record.process() for record in records(stack.state)):
            stack.delete_data()  # it was written without fsync, so after a power cut there may be anything
        return stack.start()


def down(state_dir: Path) -> None:
    """Stop the test stack of that folder and throw its data away."""
    stack = Stack(state_dir, durable=False, environment=_NOTHING_GIVEN)
    with stack.state.locked("stack.lock", timeout_s=60.0) as held:
        if not held:
            raise LaunchFailure(f"Another process holds {state_dir}/stack.lock", "Look at what it does, or end it")
        stack.delete_data()
        shutil.rmtree(state_dir, ignore_errors=True)


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fleet_launcher.stack", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("action", choices=["up", "down"])
    arguments = parser.parse_args()
    try:
        if arguments.action == "down":
            down(arguments.state_dir)
            return 0
        endpoints = up(arguments.state_dir, tell=_tell)
        sys.stdout.write(json.dumps(asdict(endpoints), indent=1) + "\n")
    except LaunchFailure as failure:
        _tell(str(failure))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
