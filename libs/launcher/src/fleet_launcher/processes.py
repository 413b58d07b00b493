"""Processes that outlive the one that started them: a record with pid and start time, so that a reused pid fools nobody."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from fleet_launcher.places import StateDir, write_private

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_LARGEST_LOG_BYTES = 64 << 20


@dataclass(frozen=True)
class ProcessRecord:
    """One process of a state folder, kept in run/<name>.json."""

    name: str
    pid: int
    started: str

    def process(self) -> psutil.Process | None:
        """The process, unless it ended (also: is a zombie) or its pid is somebody else's now."""
        try:
            process = psutil.Process(self.pid)
            if _started(self.pid) != self.started:
                return None
            return None if process.status() == psutil.STATUS_ZOMBIE else process
        except psutil.NoSuchProcess:
            return None


def record_of(state: StateDir, name: str) -> ProcessRecord | None:
    """The record of that name, None if there is none or it was torn by a crash of the machine."""
    try:
        content = json.loads((state.run / f"{name}.json").read_text())
        return ProcessRecord(name, int(content["pid"]), str(content["started"]))
    except (FileNotFoundError, ValueError, KeyError):
        return None


def records(state: StateDir) -> list[ProcessRecord]:
    found = (record_of(state, file.stem) for file in sorted(state.run.glob("*.json")))
    return [record for record in found if record is not None]


def running(state: StateDir, name: str) -> psutil.Process | None:
    record = record_of(state, name)
    return record.process() if record else None


def record(state: StateDir, name: str, pid: int) -> None:
    state.run.mkdir(parents=True, exist_ok=True)
    write_private(state.run / f"{name}.json", json.dumps({"pid": pid, "started": _started(pid)}))


def _started(pid: int) -> str:
    """The boot, and the kernel's clock ticks since: unlike the time of day, which psutil tells, no setting of the clock
    moves it. Raises NoSuchProcess."""
    try:
        told = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError) as gone:
        raise psutil.NoSuchProcess(pid) from gone
    # `starttime`, the 22nd field (proc_pid_stat(5)); the second is the program's name, which may have anything in it.
    ticks = told.rpartition(b")")[2].split()[19].decode()
    return f"{_BOOT.read_text().strip()} {ticks}"


def forget(state: StateDir, name: str) -> None:
    (state.run / f"{name}.json").unlink(missing_ok=True)


def spawn(
    state: StateDir,
    name: str,
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own (a Ctrl-C in the terminal is not for it), its output in `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - whoever calls wrote the command
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(env) if env is not None else dict(os.environ),
            cwd=cwd or state.path,
            start_new_session=True,
        )
    with suppress(psutil.NoSuchProcess):  # ended at once: its exit code tells
        record(state, name, process.pid)
    return process


def stop(state: StateDir, name: str, *, ask: signal.Signals = signal.SIGTERM, timeout_s: float = 20.0) -> None:
    """Ask the recorded process to end, and its descendants with it after the time-out: nothing stays behind."""
    process = running(state, name)
    if process is not None:
        with suppress(psutil.NoSuchProcess):
            family = [process, *process.children(recursive=True)]
            process.send_signal(ask)
            for member in () if ended([process], timeout_s) else family:
                with suppress(psutil.NoSuchProcess):
                    member.kill()
            ended(family, 5.0)
    forget(state, name)


def ended(family: Sequence[psutil.Process], timeout_s: float) -> bool:
    """Whether all end in that time. What is no child of ours is reaped by whoever is the first process, if at all: in a
    container often by nobody."""
    deadline = time.monotonic() + timeout_s
    while any(map(lives, family)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def lives(process: psutil.Process) -> bool:
    """Whether it runs; a child of ours that has ended is reaped."""
    try:
        process.wait(timeout=0)
    except psutil.TimeoutExpired:
        with suppress(psutil.NoSuchProcess):
            return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def trim_logs(folder: Path) -> None:
    """A log never fills the disk: past its size it becomes `.1` and starts anew (all are opened for appending)."""
    for log in folder.glob("*.log"):
        with suppress(FileNotFoundError):  # removed meanwhile
            if log.stat().st_size > _LARGEST_LOG_BYTES:
                with suppress(OSError):  # the disk is full already: then it is not kept
                    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
                os.truncate(log, 0)


def last_lines(log: Path, count: int = 3) -> str:
    """The end of a log in one line, to be shown with a failure."""
    if not log.exists():
        return "no output"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-count:]) or "no output"
