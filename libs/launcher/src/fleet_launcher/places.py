"""Where things lie: the checkout, what all fleets of it share, and the state folder of one fleet."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleet_launcher.failure import LaunchFailure

CHECKOUT = Path(__file__).resolve().parents[4]
SHARED = CHECKOUT / ".fleet"
JARS = SHARED / "jars"
SESSIONS = "sessions.json"
"""The file of a state folder in which the command keeps its users' sessions (0600)."""
MAIL = "mail.jsonl"
SECRETS = "secrets.json"

RESTORE_SECRETS = "Put it back from a backup; without one, `fleet reset` deletes the data with it"

# A fresh fleet takes about 400 MB (Kafka logs, WAL, databases); below this Kafka and PostgreSQL stop in ugly ways.
_NEEDED_BY_A_NEW_ONE = 1 << 30
# To start again it writes a few MB: the rest is for what comes in its first hours, and who has run short of room must get
# at his orders.
_NEEDED_BESIDE_DATA = 128 << 20


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Replace the file as a whole, so that a reader sees the old or the new one, after a power cut and on a full disk too;
    nobody else may ever read it."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # of its new name
    finally:
        os.close(folder)


@dataclass(frozen=True)
class StateDir:
    """The folder of one fleet: data, logs, keys, secrets, ports and the records of its processes."""

    path: Path

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def keys(self) -> Path:
        return self.path / "keys"

    @property
    def fleet_json(self) -> Path:
        return self.path / "fleet.json"

    @property
    def instances_json(self) -> Path:
        return self.path / "instances.json"

    @property
    def public_keys(self) -> Path:
        return self.keys / "public.json"

    @property
    def field_keys(self) -> Path:
        return self.keys / "auth-fields.json"

    @property
    def mail(self) -> Path:
        """What auth would have sent, a line of JSON each (0600)."""
        return self.path / MAIL

    def private_key(self, name: str) -> Path:
        return self.keys / f"{name}.pem"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    @property
    def has_data(self) -> bool:
        """Of Kafka or PostgreSQL: a fleet has run here."""
        return any((self.path / file).exists() for file in ("kafka/data/meta.properties", "postgres/PG_VERSION"))

    @property
    def needed_bytes(self) -> int:
        """The room on the disk with which a fleet can be started here."""
        return _NEEDED_BESIDE_DATA if self.has_data else _NEEDED_BY_A_NEW_ONE

    def prepare(self) -> None:
        """Make the folders; says it when the disk cannot take a fleet."""
        try:
            # The folder itself may be one that the caller shares with others, so only what is made here is closed.
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.logs, self.run, self.keys):
                folder.mkdir(exist_ok=True)
                folder.chmod(0o700)
        except OSError as error:
            raise LaunchFailure(
                f"The state folder {self.path} cannot be made: {error.strerror}", "Give another one with --state-dir"
            ) from error
        self.require_room()

    def require_room(self, needed_bytes: int | None = None) -> int:
        """How many bytes are free; LaunchFailure where a fleet needs more. The folder need not be there."""
        place = next(folder for folder in (self.path, *self.path.parents) if folder.exists())
        free = shutil.disk_usage(place).free
        needed = self.needed_bytes if needed_bytes is None else needed_bytes
        if free < needed:
            if self.has_data:
                which = "that has its data there"
                remedy = "move the folder to another disk and name it with --state-dir"
            else:
                which, remedy = "that is new", "give a folder on another disk with --state-dir"
            raise LaunchFailure(
                f"Only {free >> 20} MB are free on the disk of {self.path}, and a fleet {which} needs {needed >> 20} MB",
                f"Free some space, or {remedy}",
            )
        return free

    def secret(self, name: str) -> str:
        """The random secret of that name, made at the first call and kept (0600). LaunchFailure where they are torn: new
        ones would not open the data."""
        is_there, content = (self.path / SECRETS).exists(), self.kept(SECRETS)
        if is_there and not content:
            raise LaunchFailure(f"{self.path / SECRETS} is torn", RESTORE_SECRETS)
        if name not in content:
            content[name] = secrets.token_urlsafe(24)
            self.keep(SECRETS, content)
        return str(content[name])

    def kept(self, name: str) -> dict[str, object]:
        """A small JSON file of the folder, empty when it is not there or was torn by a crash of the machine."""
        try:
            content = json.loads((self.path / name).read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def keep(self, name: str, content: dict[str, object]) -> None:
        write_private(self.path / name, json.dumps(content, indent=1))

    @contextmanager
    def locked(self, name: str, timeout_s: float, *, is_shared: bool = False) -> Iterator[bool]:
        """Hold the folder's lock file of that name; False when another process had it for the whole time. Those who share it
        may hold it together.

        The kernel drops the lock with the process, so a kill -9 or a reboot leaves nothing behind.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / name).open("a+") as file:
            held = _flock(file.fileno(), fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX, timeout_s)
            yield held
            if held:
                fcntl.flock(file, fcntl.LOCK_UN)


def _flock(descriptor: int, how: int, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True
