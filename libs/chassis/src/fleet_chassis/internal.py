"""`/internal/*` that every service has: what it tells an observer, and the keys it has set aside."""

from collections.abc import Awaitable, Sequence
from typing import Annotated, Any, Protocol

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from starlette.responses import Response

from .assertions import Caller
from .permissions import service_caller
from .problems import Problem
from .shapes import Body, FastJSON

MAX_WAIT_MS = 10_000


class NothingParked(Exception):
    """There is nothing set aside under this subscription, topic and key."""


class Internals(Protocol):
    """What is under way in a process and can be asked of it, as fleet_bus.Bus tells it; answers are msgspec's to encode."""

    def rest(self, wait_ms: int, version: int) -> Awaitable[Any]:
        """This process's part of whether the fleet is at rest."""

    def parked(self) -> Awaitable[Sequence[Any]]:
        """The keys set aside."""

    def parked_replay(self, subscription: str, topic: str, key: str, *, by: str) -> Awaitable[bool]:
        """Hands a key to its handlers again; True when nothing of it is left. Raises NothingParked."""

    def parked_skip(self, subscription: str, topic: str, key: str, *, by: str, reason: str) -> Awaitable[bool]:
        """Drops the key's first message and releases the rest; True when nothing is left. Raises NothingParked."""


class ReplayBody(Body):
    """Which key, and who says so, which is kept."""

    subscription: str
    topic: str
    key: str
    by: str = Field(min_length=1, max_length=100)


class SkipBody(ReplayBody):
    """The same of the key's first message, and why, which is kept too."""

    reason: str = Field(min_length=1, max_length=500)


def internal_router(process: Internals) -> APIRouter:
    """`GET /internal/rest`, `GET /internal/parked`, `POST /internal/parked/replay` and `/skip`.

    Each service of the fleet is told, with its assertion; what is set aside is decided on by the command line (`cli`) alone.
    """
    told, operator = [Depends(service_caller())], service_caller("cli")
    router = APIRouter(prefix="/internal", include_in_schema=False)

    @router.get("/rest", dependencies=told)
    async def tell_rest(wait_ms: Annotated[int, Query(ge=0, le=MAX_WAIT_MS)] = 0, version: int = -1) -> Response:
        return FastJSON(await process.rest(wait_ms, version))

    @router.get("/parked", dependencies=told)
    async def list_parked() -> Response:
        return FastJSON({"data": await process.parked()})

    @router.post("/parked/replay")
    async def replay(body: ReplayBody, caller: Annotated[Caller, Depends(operator)]) -> Response:
        by = f"{caller.issuer}:{body.by}"
        return await _released(process.parked_replay(body.subscription, body.topic, body.key, by=by))

    @router.post("/parked/skip")
    async def skip(body: SkipBody, caller: Annotated[Caller, Depends(operator)]) -> Response:
        by = f"{caller.issuer}:{body.by}"
        return await _released(process.parked_skip(body.subscription, body.topic, body.key, by=by, reason=body.reason))

    return router


async def _released(work: Awaitable[bool]) -> Response:
    try:
        return FastJSON({"is_released": await work})
    except NothingParked as error:
        raise Problem(404, "nothing_parked", "Nothing is set aside under this subscription, topic and key.") from error
