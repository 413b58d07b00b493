"""One process of one service: started, watched, started again when it dies, drained when it is to stop."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import aiohttp
import psutil
from fleet_chassis.logging import get_logger

from fleet_launcher import processes
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.places import StateDir
from fleet_launcher.ports import HOST
from fleet_launcher.services import Service

# uvicorn gives its requests 10 s, then consumers and the relay end their batch.
DRAIN_TIMEOUT_S = 20.0
# Eight interpreters start at once on two cores that also run everything else.
READY_TIMEOUT_S = 120.0
_DEATHS_WHILE_STARTING = 3
_LOG = get_logger(__name__)


@dataclass
class RestartPolicy:
    """The first death is forgiven at once, each further one within `window_s` doubles the wait; after `limit` it is left."""

    limit: int = 10
    window_s: float = 300.0
    longest_s: float = 10.0
    deaths: deque[float] = field(default_factory=deque)

    def delay_s(self, now: float) -> float | None:
        """How long to wait before the next start, None to give up."""
        self.deaths.append(now)
        while now - self.deaths[0] > self.window_s:
            self.deaths.popleft()
        earlier = len(self.deaths) - 1
        if earlier >= self.limit:
            return None
        return 0.0 if earlier == 0 else min(self.longest_s, 0.25 * 2**earlier)


class Instance:
    """`changed` is called whenever pid or state differ from before."""

    def __init__(
        self,
        service: Service,
        ordinal: int,
        port: int,
        *,
        state: StateDir,
        environment: Mapping[str, str],
        changed: Callable[[], None],
        policy: RestartPolicy,
    ) -> None:
        self.service = service
        self.ordinal = ordinal
        self.port = port
        self.name = f"{service.name}-{ordinal}"
        self.url = f"http://{HOST}:{port}"
        self.log = state.log(self.name)
        self.pid: int | None = None
        self.gave_up = False
        self.restarts = 0
        self._state = state
        self._environment = environment
        self._changed = changed
        self._policy = policy
        self._stopping = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None

    @property
    def health_url(self) -> str:
        return f"{self.url}/health/ready"

    async def run(self) -> None:
        """Keep the process running until `stop`, or until it has died too often."""
        while not self._stopping.is_set():
            code = await self._run_once()
            if self._stopping.is_set():
                break
            # Exit code 0 is a stop that somebody asked for, e.g. `fleet restart`.
            delay = 0.0 if code == 0 else self._policy.delay_s(time.monotonic())
            if code != 0:
                _LOG.warning("service_died", instance=self.name, exit_code=code, restart_in_s=delay)
            if delay is None:
                _LOG.error("service_given_up", instance=self.name, deaths=self._policy.limit + 1, log=str(self.log))
                self.gave_up = True
                self._changed()
                return
            self.restarts += 1
            self._changed()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay)
        self._changed()

    async def _run_once(self) -> int:
        """Its exit code; also 1 when it could not be made: no memory, no file, an interpreter that is being installed."""
        try:
            process = await self._spawn()
        except OSError as error:
            _LOG.error("service_not_started", instance=self.name, problem=str(error))
            return 1
        code = await process.wait()
        self.pid = None
        processes.forget(self._state, self.name)
        return code

    async def wait_ready(self, client: aiohttp.ClientSession) -> None:
        """Return when /health/ready says so; a failure with the reason when it dies repeatedly or takes too long."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        reason = "no answer"
        while time.monotonic() < deadline:
            if self.gave_up or self.restarts >= _DEATHS_WHILE_STARTING:
                raise LaunchFailure(
                    f"{self.name} ends while it starts: {processes.last_lines(self.log, 1)[-400:]}", f"See {self.log}"
                )
            try:
                async with client.get(self.health_url, timeout=aiohttp.ClientTimeout(total=5)) as answer:
                    if answer.status == 200:
                        return
                    reason = (await answer.text())[:300]
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.1)
        raise LaunchFailure(f"{self.name} was not ready within {READY_TIMEOUT_S:.0f} s: {reason}", f"See {self.log}")

    async def stop(self) -> None:
        """Ask it to drain; after the time-out it is killed."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), DRAIN_TIMEOUT_S)
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _spawn(self) -> asyncio.subprocess.Process:
        with self.log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self.service.package,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=asyncio.subprocess.STDOUT,
                env=dict(self._environment),
                cwd=self._state.path,
                start_new_session=True,
            )
        self._process = process
        self.pid = process.pid
        try:
            processes.record(self._state, self.name, process.pid)
        except (OSError, psutil.NoSuchProcess) as error:  # a full disk, or it ended at once: it is watched all the same
            _LOG.warning("service_not_recorded", instance=self.name, problem=str(error))
        self._changed()
        if self._stopping.is_set():  # stop came while it was being made
            process.terminate()
        return process
