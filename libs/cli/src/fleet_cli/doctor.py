"""`fleet doctor`: can this machine run a fleet, and if not, what to do."""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated

import typer
from fleet_launcher.control import description
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.jars import ensure_jars, kafka_jars
from fleet_launcher.java import find_java, major_version
from fleet_launcher.places import JARS, StateDir
from fleet_launcher.ports import require_free
from fleet_launcher.postgres import choose_run_as, packaged_binaries, user_namespace_works
from fleet_launcher.services import service
from fleet_launcher.valkey import valkey_server

from fleet_cli.console import DEFAULT_STATE, StateOption, out, state_of

# Assertions live for 60 s, signed requests ±5 s: a clock that is further off makes clients fail.
_LARGEST_SKEW_S = 5.0
_NETWORK_TIMEOUT_S = 10.0


def doctor(
    port_offset: Annotated[int, typer.Option(help="As for `fleet up`.")] = 0, state_dir: StateOption = DEFAULT_STATE
) -> None:
    """Look at python, java, disk, ports, registry, user namespaces and clock; exit code 1 if a fleet cannot run."""
    state = state_of(state_dir)
    checks: list[tuple[str, Callable[[], str]]] = [
        ("python", python),
        ("java", java),
        ("postgresql", lambda: str(packaged_binaries())),
        ("valkey", lambda: str(valkey_server())),
        ("jars", jars),
        ("disk", lambda: disk(state)),
        ("port", lambda: port(state, port_offset)),
        ("user", lambda: identity(state)),
        ("registry", registry),
        ("clock", clock),
    ]
    failed = False
    for name, check in checks:
        try:
            said, mark = check(), "[green]ok[/]  "
        except Unknown as unknown:
            said, mark = str(unknown), "[yellow]?[/]   "
        except LaunchFailure as failure:
            said, mark, failed = f"{failure.problem}. {failure.remedy}", "[red]fail[/]", True
        out.print(f"{mark} {name:<12} {said}")
    if failed:
        raise typer.Exit(1)


class Unknown(Exception):
    """Could not be found out, and does not stop a fleet that is set up."""


def python(version: tuple[int, int] = sys.version_info[:2]) -> str:
    if version < (3, 11):
        raise LaunchFailure(f"Python is {version[0]}.{version[1]}", "Install Python 3.11 or newer and run `make setup`")
    return f"{platform.python_version()} at {sys.executable}"


def java() -> str:
    found = find_java()
    return f"{major_version(found)} at {found}"


def jars(folder: Path = JARS) -> str:
    def no_network(jar: object, into: Path) -> Path:
        raise FileNotFoundError(jar)

    try:
        ensure_jars(folder, fetch=no_network)
    except LaunchFailure as missing:
        raise LaunchFailure("Kafka's jars are not all there", "Run `make setup`") from missing
    return f"{len(kafka_jars())} intact in {folder}"


def disk(state: StateDir) -> str:
    return f"{state.require_room() / (1 << 30):.1f} GB free on the disk of {state.path}"


def port(state: StateDir, offset: int) -> str:
    number = (service("gateway").fixed_port or 0) + offset
    with suppress(LaunchFailure):
        return f"a fleet runs already, at {description(state)['gateway_url']}"
    require_free(number, "Stop what uses it, or start with another --port-offset (e.g. --port-offset 100)")
    return f"{number} is free"


def identity(state: StateDir) -> str:
    import os

    if os.geteuid() != 0:
        return f"user {os.geteuid()}: PostgreSQL runs as it"
    namespaces = user_namespace_works()
    choose_run_as(state, is_root=True, namespaces=namespaces)
    return f"root: PostgreSQL runs in {'a user namespace' if namespaces else 'setpriv, as nobody'}"


def registry() -> str:
    return f"answers in {_ask_registry()[1]:.1f} s (only needed by `make setup`)"


def clock() -> str:
    """Against the registry's own clock, since any other would need one more server."""
    skew = abs((_ask_registry()[0] - datetime.now(UTC)).total_seconds())
    if skew > _LARGEST_SKEW_S:
        raise LaunchFailure(f"The clock is {skew:.0f} s off", "Set it, e.g. with `timedatectl set-ntp true`")
    return f"within {_LARGEST_SKEW_S:.0f} s of the registry's"


def _ask_registry() -> tuple[datetime, float]:
    """Its time and how long it took; jgo knows where it is."""
    import requests
    from jgo.constants import MAVEN_CENTRAL_URL

    began = time.monotonic()
    try:
        answer = requests.head(MAVEN_CENTRAL_URL, timeout=_NETWORK_TIMEOUT_S, allow_redirects=True)
        return parsedate_to_datetime(answer.headers["Date"]), time.monotonic() - began
    except (requests.RequestException, KeyError, ValueError) as error:
        raise Unknown(
            f"Maven Central does not answer ({type(error).__name__}); what is set up runs without it"
        ) from error
