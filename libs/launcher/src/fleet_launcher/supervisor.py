"""Brings a fleet up, keeps it up, takes it down. One process per state folder; the folder's lock says that it lives.

`python -m fleet_launcher.supervisor OPTIONS FD`: options as JSON; events as JSON lines on the file descriptor until the
fleet is ready. SIGTERM takes the fleet down, and so does the end of its terminal; SIGHUP tries again what had died too often.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import aiohttp
import asyncpg
from fleet_bus.admin import create_topics
from fleet_chassis.logging import configure_logging, get_logger
from fleet_contracts.topics import TOPICS

from fleet_launcher import processes
from fleet_launcher.databases import ensure_databases
from fleet_launcher.description import write_description, write_instances
from fleet_launcher.environment import service_database_url, service_environment, topic_prefix
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.instance import Instance, RestartPolicy
from fleet_launcher.kafka_access import ensure_access
from fleet_launcher.keys import COMMAND_KEY, ensure_field_keys, ensure_keys
from fleet_launcher.leftovers import LOCK, SUPERVISOR, end_leftovers
from fleet_launcher.migrating import migrate
from fleet_launcher.options import Event, FleetOptions
from fleet_launcher.places import StateDir
from fleet_launcher.ports import kept_ports, require_free
from fleet_launcher.services import SERVICES, Service
from fleet_launcher.stack import Endpoints, Part, Stack

_LOOK_EVERY_S = 1.0
_LOCK_TIMEOUT_S = 0.5
"""Who asks whether a fleet is up (`fleet status`) has the lock for a moment."""
_LOG = get_logger(__name__)

Report = Callable[[Event], None]


class Supervisor:
    """One run of one fleet. `report` hears its `line`, `part` and `ready` events while it comes up."""

    def __init__(
        self,
        options: FleetOptions,
        report: Report,
        *,
        services: Sequence[Service] = SERVICES,
        policy: Callable[[], RestartPolicy] = RestartPolicy,
    ) -> None:
        self._options = options
        self._report = report
        self._services = services
        self._policy = policy
        self._state = StateDir(options.state_dir.resolve())
        self._stack = Stack(self._state.path, tell=lambda line: report({"event": "line", "text": line}))
        self._names = [service.name for service in services]
        self._endpoints: Endpoints
        self._database_urls: dict[str, str] = {}
        self._instances: list[Instance] = []
        self._running: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._has_terminal = sys.stdout.isatty()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT, or a failure that nothing can be done about; then everything is taken down."""
        with self._state.locked(LOCK, timeout_s=_LOCK_TIMEOUT_S) as held:
            if not held:
                raise LaunchFailure(
                    f"A fleet already runs in {self._state.path}",
                    "See it with `fleet status`, stop it with `fleet down`",
                )
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stop.set)
            loop.add_signal_handler(signal.SIGHUP, self._revive)
            self._state.prepare()
            self._state.fleet_json.unlink(missing_ok=True)  # of a run that was killed
            processes.record(self._state, SUPERVISOR, os.getpid())
            try:
                await self._until_stopped()
            finally:
                await self._down()
                processes.forget(self._state, SUPERVISOR)

    async def _until_stopped(self) -> None:
        work = asyncio.create_task(self._up_and_watch())
        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        work.cancel()
        try:
            await work
        except asyncio.CancelledError:
            pass
        except ExceptionGroup as group:
            raise _first(group) from group

    # -- up

    async def _up_and_watch(self) -> None:
        began = time.monotonic()
        if left := await asyncio.to_thread(end_leftovers, self._state):
            self._report({"event": "line", "text": f"stopped what an earlier run had left: {', '.join(left)}"})
        self._endpoints = await asyncio.to_thread(self._stack.plan)
        self._plan()
        self._state.keep("options.json", json.loads(self._options.to_json()))
        parts = {part.name: part for part in self._stack.parts}
        async with asyncio.TaskGroup() as group:
            group.create_task(self._kafka_and_topics(parts.get("kafka")))
            group.create_task(self._postgres_and_migrations(parts.get("postgres")))
            if valkey := parts.get("valkey"):
                group.create_task(self._start_part(valkey))
        self._describe()
        for instance in self._instances:
            self._supervise(instance)
        async with aiohttp.ClientSession() as client, asyncio.TaskGroup() as group:
            for instance in self._instances:
                group.create_task(self._timed(instance.name, instance.wait_ready(client)))
        self._report({"event": "ready", "seconds": round(time.monotonic() - began, 1)})
        _LOG.info("fleet_ready", seconds=round(time.monotonic() - began, 1))
        await self._watch()

    def _plan(self) -> None:
        """Decide ports, passwords, keys and environments; nothing of this changes while the fleet runs."""
        self._database_urls = {
            service.name: service_database_url(self._state, self._endpoints, service)
            for service in self._services
            if service.has_database
        }
        ensure_keys(self._state, self._names)
        ensure_field_keys(self._state)
        slots = [(s, ordinal) for s in self._services for ordinal in range(self._options.replicas.get(s.name, 1))]
        free = kept_ports(self._state, [f"{s.name}-{n}" for s, n in slots if s.fixed_port is None or n > 0])
        for service, ordinal in slots:
            port = free.get(f"{service.name}-{ordinal}")
            if port is None:
                assert service.fixed_port is not None
                port = service.fixed_port + self._options.port_offset
                require_free(port, "Stop what uses it, or start with another --port-offset (e.g. --port-offset 100)")
            environment = service_environment(
                self._state, self._endpoints, service, feed=self._options.feed, ordinal=ordinal, port=port
            )
            self._instances.append(
                Instance(
                    service,
                    ordinal,
                    port,
                    state=self._state,
                    environment=environment,
                    changed=self._describe,
                    policy=self._policy(),
                )
            )
        write_instances(self._state, self._instances)

    async def _kafka_and_topics(self, kafka: Part | None) -> None:
        if kafka is not None:
            await self._start_part(kafka)
        url, prefix = self._endpoints.kafka_url, topic_prefix()
        passwords = {name: self._state.secret(f"kafka {name}") for name in (*self._names, COMMAND_KEY)}
        async with asyncio.TaskGroup() as group:
            group.create_task(self._timed("topics", _at("kafka", create_topics(url, TOPICS, prefix=prefix))))
            group.create_task(self._timed("access", _at("kafka", ensure_access(url, passwords, prefix=prefix))))

    async def _postgres_and_migrations(self, postgres: Part | None) -> None:
        if postgres is not None:
            await self._start_part(postgres)
        passwords = {name: self._state.secret(f"database {name}") for name in self._database_urls}
        await self._timed("databases", _at("postgres", ensure_databases(self._endpoints.postgres_url, passwords)))
        await self._timed("migrations", migrate(self._state, self._services, self._database_urls))

    async def _start_part(self, part: Part) -> None:
        await self._timed(part.name, asyncio.to_thread(part.start))

    async def _timed(self, name: str, work: Awaitable[object]) -> None:
        began = time.monotonic()
        await work
        self._report({"event": "part", "name": name, "seconds": round(time.monotonic() - began, 1)})

    # -- watch

    def _supervise(self, instance: Instance) -> None:
        task = asyncio.create_task(instance.run())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _revive(self) -> None:
        if self._has_terminal and not sys.stdout.isatty():  # it was closed: what is written fails from now on
            self._stop.set()
            return
        for instance in self._instances:
            if instance.gave_up:
                instance.gave_up = False
                self._supervise(instance)

    async def _watch(self) -> None:
        """Parts that die are started again; logs are kept short. (Each service has a task of its own that watches it.)"""
        policies = {part.name: self._policy() for part in self._stack.parts}
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            processes.trim_logs(self._state.logs)
            for part in self._stack.parts:
                if part.pid is None:
                    await self._restart(part, policies[part.name])

    async def _restart(self, part: Part, policy: RestartPolicy) -> None:
        delay = policy.delay_s(time.monotonic())
        if delay is None:
            raise LaunchFailure(f"{part.name} died {policy.limit} times", f"See {self._state.log(part.name)}")
        _LOG.warning("part_died", part=part.name, restart_in_s=delay)
        self._describe()
        await asyncio.sleep(delay)
        try:
            await asyncio.to_thread(part.start)
        except Exception as error:  # a full disk among them: whatever it is, it is tried again, and the rest runs on
            _LOG.error("part_did_not_start", part=part.name, problem=str(error) or repr(error))
        self._describe()

    def _describe(self) -> None:
        try:
            write_description(self._state, self._endpoints, self._stack.parts, self._instances, self._database_urls)
        except OSError as error:  # a full disk; nobody who watches a process may end for it
            _LOG.error("fleet_not_described", problem=str(error))

    # -- down

    async def _down(self) -> None:
        """The gateway first, so that nobody is let in any more; then all services drain; then what they stand on."""
        front = [instance for instance in self._instances if instance.service.fixed_port is not None]
        rest = [instance for instance in self._instances if instance.service.fixed_port is None]
        for wave in (front, rest):
            await asyncio.gather(*(instance.stop() for instance in wave))
        await asyncio.gather(*self._running, return_exceptions=True)
        await asyncio.to_thread(self._stack.stop)
        # A thread that was about to start a part when we were stopped ends by itself; what it started is stopped too.
        await asyncio.get_running_loop().shutdown_default_executor()
        self._stack.stop()
        self._state.fleet_json.unlink(missing_ok=True)
        _LOG.info("fleet_stopped")


async def _at(part: str, work: Awaitable[object]) -> None:
    """What a part refuses, or that nobody is there, as one line: most often it was given by URL."""
    try:
        await work
    except (OSError, RuntimeError, ValueError, asyncpg.PostgresError) as error:  # Kafka's are RuntimeErrors
        raise LaunchFailure(
            f"{part} does not work: {type(error).__name__}: {error}",
            f"Look at FLEET_{part.upper()}_URL where you gave it, else at `fleet logs {part}`",
        ) from error


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """What went wrong first, out of the nested groups."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first


def main() -> int:
    options, descriptor = FleetOptions.from_json(sys.argv[1]), int(sys.argv[2])
    configure_logging("info", service=SUPERVISOR, ordinal=0)
    # Without a buffer: closing it cannot fail when whoever started us is gone.
    with os.fdopen(descriptor, "wb", buffering=0) as events:

        def report(event: Event) -> None:
            # Whoever started us may be gone; the fleet is brought up all the same.
            with suppress(BrokenPipeError, ValueError):
                events.write(json.dumps(event).encode() + b"\n")
                if event["event"] in {"ready", "failed"}:
                    events.close()

        try:
            asyncio.run(Supervisor(options, report).run())
        except LaunchFailure as failure:
            _LOG.error("fleet_failed", problem=failure.problem, remedy=failure.remedy)
            report({"event": "failed", "problem": failure.problem, "remedy": failure.remedy})
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
