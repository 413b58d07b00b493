"""Whether the process lives and whether it can work, told truthfully."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .database import is_down
from .logging import get_logger
from .shapes import FastJSON

Check = Callable[[], str | None] | Callable[[], Awaitable[str | None]]

CHECK_TIMEOUT_S = 3.0

log = get_logger(__name__)


class Health:
    """Collects the checks of readiness and the deaths of background tasks."""

    def __init__(self, *, check_timeout_s: float = CHECK_TIMEOUT_S) -> None:
        self._check_timeout_s = check_timeout_s
        self._checks: dict[str, Check] = {}
        self._on_death: list[Callable[[], None]] = []
        self.dead: dict[str, str] = {}
        """Background tasks that ended without being asked, with the reason."""

    def check(self, name: str, check: Check) -> None:
        """Adds a check of readiness: it returns None when all is well, else the reason why not."""
        self._checks[name] = check

    def watch(self, name: str, task: asyncio.Task[Any]) -> None:
        """From now on an end of the task, other than by being cancelled, ends the process."""
        task.add_done_callback(lambda done: self._ended(name, done))

    def on_death(self, call: Callable[[], None]) -> None:
        """Calls back, once, when a watched task dies."""
        self._on_death.append(call)

    def _ended(self, name: str, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        self.dead[name] = "it returned" if error is None else type(error).__name__
        log.error("background_task_died", task=name, exc_info=error)
        for call in self._on_death:
            call()

    async def readiness(self) -> dict[str, str]:
        """Each check with "ok" or the reason why not."""
        results = await asyncio.gather(*(self._result(check) for check in self._checks.values()))
        return dict(zip(self._checks, results, strict=True)) | {name: f"died: {why}" for name, why in self.dead.items()}

    async def _result(self, check: Check) -> str:
        try:
            async with asyncio.timeout(self._check_timeout_s):
                answer = check()
                reason = await answer if inspect.isawaitable(answer) else answer
        except TimeoutError:
            return f"no answer within {self._check_timeout_s} s"
        except Exception as error:
            if not is_down(error):
                log.exception("readiness_check_failed")
            return type(error).__name__
        return reason or "ok"


def health_routes(health: Health) -> list[BaseRoute]:
    """`/health/live` and `/health/ready`, open to everybody.

    Plain routes: they stand before the service's own, and every request passes them.
    """

    async def live(_request: Request) -> Response:
        return FastJSON({"live": not health.dead, "dead": health.dead}, status_code=503 if health.dead else 200)

    async def ready(_request: Request) -> Response:
        checks = await health.readiness()
        is_ready = all(result == "ok" for result in checks.values())
        return FastJSON({"ready": is_ready, "checks": checks}, status_code=200 if is_ready else 503)

    return [Route("/health/live", live), Route("/health/ready", ready)]
