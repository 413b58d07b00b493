"""Administrative commands of a service, `python -m fleet_<x>.admin`, with that service's own settings."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from fleet_launcher.control import description
from fleet_launcher.environment import service_environment
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


def described_endpoints(state: StateDir) -> Endpoints:
    """The parts of the fleet that runs in that folder."""
    described = description(state)
    return Endpoints(described["kafka"]["url"], described["postgres"]["url"], described["redis"]["url"])


def described_feed(state: StateDir) -> str:
    """The feed that the fleet was started with."""
    return str(state.kept("options.json")["feed"])
