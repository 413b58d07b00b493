"""Start, find and stop a fleet from another process."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psutil

from fleet_launcher import processes
from fleet_launcher.environment import topic_prefix
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.keys import COMMAND_KEY
from fleet_launcher.leftovers import LOCK, SUPERVISOR, end_leftovers
from fleet_launcher.options import Event, FleetOptions
from fleet_launcher.places import MAIL, SECRETS, SESSIONS, StateDir
from fleet_launcher.services import SERVICES
from fleet_launcher.stack import Stack

# Longer than the drain of the gateway, of the services and of the parts together.
_STOP_TIMEOUT_S = 90.0
# What belongs to one fleet in its folder; beside it may lie the jars and the folders of other fleets.
_OWN = ("logs", "run", "keys")
_OWN_FILES = ("fleet.json", "instances.json", "options.json", "ports.json", SECRETS, SESSIONS, MAIL)


def is_up(state: StateDir) -> bool:
    """Whether a supervisor lives: the kernel knows, by its lock."""
    if not state.path.exists():
        return False
    with state.locked(LOCK, timeout_s=0.0, is_shared=True) as held:
        return not held


def launch(options: FleetOptions) -> Iterator[Event]:
    """Start the supervisor in the background and yield its events up to `ready`; LaunchFailure if it does not get there.

    When the caller is interrupted before that, the half-started fleet is taken down again.
    """
    state = StateDir(options.state_dir.resolve())
    state.prepare()
    read, write = os.pipe()
    log = state.log(SUPERVISOR)
    with log.open("ab") as output:
        supervisor = subprocess.Popen(  # noqa: S603 - our own words
            [sys.executable, "-m", "fleet_launcher.supervisor", options.to_json(), str(write)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(write,),
            cwd=state.path,
            start_new_session=True,
        )
    os.close(write)
    ready = False
    try:
        with os.fdopen(read) as lines:
            for line in lines:
                event: Event = json.loads(line)
                if event["event"] == "failed":
                    raise LaunchFailure(event["problem"], event["remedy"])
                ready = event["event"] == "ready"
                yield event
        if not ready and supervisor.wait(_STOP_TIMEOUT_S) == 0:
            raise LaunchFailure("The fleet was stopped while it started", "Start it again with `fleet up`")
        if not ready:
            raise LaunchFailure(f"The supervisor ended: {processes.last_lines(log, 1)}", f"See {log}")
    finally:
        if not ready:
            with suppress(ProcessLookupError):
                supervisor.send_signal(signal.SIGTERM)
            supervisor.wait(_STOP_TIMEOUT_S)


def stop_fleet(state: StateDir) -> bool:
    """Take the fleet of that folder down, also one whose supervisor was killed; whether anything ran."""
    if not state.path.exists():
        return False
    record = processes.record_of(state, SUPERVISOR)
    supervisor = record.process() if record else None
    if supervisor is not None:
        with suppress(psutil.NoSuchProcess):
            supervisor.send_signal(signal.SIGTERM)
    with state.locked(LOCK, timeout_s=_STOP_TIMEOUT_S) as held:
        if not held:
            raise LaunchFailure(
                f"The fleet in {state.path} did not stop within {_STOP_TIMEOUT_S:.0f} s",
                f"See {state.log(SUPERVISOR)}; as a last resort: kill -9 {record.pid if record else ''}",
            )
        left = end_leftovers(state)
        state.fleet_json.unlink(missing_ok=True)
        processes.forget(state, SUPERVISOR)
    return supervisor is not None or bool(left)


def reset_elsewhere() -> list[str]:
    """What `reset` deletes outside the state folder, where parts are given by URL: a phrase each, no password in it."""
    found = []
    if server := os.environ.get("FLEET_POSTGRES_URL"):
        names = ", ".join(service.name for service in SERVICES if service.has_database)
        found.append(f"the databases {names} on {_without_user(server)}")
    if kafka := os.environ.get("FLEET_KAFKA_URL"):
        which = f"that begin with {topic_prefix()}" if topic_prefix() else "of a fleet without FLEET_TOPIC_PREFIX"
        found.append(f"the topics, users and rights {which} on {_without_user(kafka)}")
    return found


def _without_user(url: str) -> str:
    return url.rpartition("@")[2].rpartition("://")[2].partition("?")[0]


def reset(state: StateDir) -> None:
    """Stop the fleet and delete its data, keys, secrets and logs, and `reset_elsewhere`; jars and other fleets stay."""
    stop_fleet(state)
    if not state.path.exists():
        return
    Stack(state.path).delete_data()
    if server := os.environ.get("FLEET_POSTGRES_URL"):
        from fleet_launcher.databases import drop_databases

        asyncio.run(drop_databases(server, [service.name for service in SERVICES if service.has_database]))
    if kafka := os.environ.get("FLEET_KAFKA_URL"):
        from fleet_bus.admin import delete_topics
        from fleet_contracts.topics import TOPICS

        from fleet_launcher.kafka_access import remove_access

        asyncio.run(delete_topics(kafka, TOPICS, prefix=topic_prefix()))
        names = [*(service.name for service in SERVICES), COMMAND_KEY]
        asyncio.run(remove_access(kafka, names, prefix=topic_prefix()))
    for name in _OWN:
        shutil.rmtree(state.path / name, ignore_errors=True)
    for name in _OWN_FILES:
        (state.path / name).unlink(missing_ok=True)


def description(state: StateDir) -> dict[str, Any]:
    """fleet.json; LaunchFailure when no fleet runs there. A fleet whose supervisor was killed runs on."""
    text: str | None = None
    with suppress(FileNotFoundError):
        text = state.fleet_json.read_text()
    is_supervised = is_up(state)
    if text is None and is_supervised:
        raise LaunchFailure(
            f"The fleet in {state.path} is starting or stopping", "See how far it is with `fleet logs supervisor`"
        )
    if text is None or not (is_supervised or any(record.process() for record in processes.records(state))):
        raise LaunchFailure(f"No fleet runs in {state.path}", "Start one with `fleet up`")
    try:
        content: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise LaunchFailure(
            f"{state.fleet_json} is torn", "`fleet down` stops what runs, and `fleet up` starts it anew with its data"
        ) from error
    return content
