"""Administrative commands of a service, `python -m fleet_<x>.admin`, with that service's own settings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from fleet_launcher.control import description
from fleet_launcher.environment import service_environment
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.places import StateDir
from fleet_launcher.services import service
from fleet_launcher.stack import Endpoints


def run_admin(
    state: StateDir, name: str, arguments: Sequence[str], *, capture: bool = True, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it against the fleet of that folder; without `capture` it talks to the terminal. LaunchFailure: no fleet runs."""
    known, endpoints = service(name), described_endpoints(state)
    return subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", f"{known.package}.admin", *arguments],
        env=service_environment(state, endpoints, known, feed=described_feed(state)),
        capture_output=capture,
        input=stdin,
        text=True,
        check=False,
    )


def verdict_of(state: StateDir, name: str, command: str, *, what: str) -> dict[str, Any]:
    """What a service's own check says of `what`, as JSON. LaunchFailure: it could not be read, or no fleet runs."""
    done = run_admin(state, name, [command])
    if not done.stdout.startswith("{"):
        raise LaunchFailure(f"{what} could not be read", "".join(done.stderr.strip().splitlines()[-1:]))
    verdict: dict[str, Any] = json.loads(done.stdout)
    return verdict


def described_endpoints(state: StateDir) -> Endpoints:
    """The parts of the fleet that runs in that folder."""
    described = description(state)
    return Endpoints(described["kafka"]["url"], described["postgres"]["url"], described["redis"]["url"])


def described_feed(state: StateDir) -> str:
    """The feed that the fleet was started with."""
    return str(state.kept("options.json")["feed"])
