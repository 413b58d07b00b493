"""What a route takes of its caller, declared on the route by the very thing that enforces it, so that it can be listed."""

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response

from .assertions import NOBODY, AssertionVerifier, Caller, unauthenticated
from .problems import Problem

ANY_USER, LOGIN = "any user", "any user, by login"
"""What is said of a route that asks for no scope; the second takes no API key."""


@dataclass(frozen=True, slots=True)
class Permission:
    """A dependency: the user on whose behalf the gateway calls, if his token or key has the scope; else 401 or 403.

    A scope of None takes every user: what he asks for is his own. `takes_keys`: whether an API key will do.
    """

    scope: str | None
    takes_keys: bool = True

    def __str__(self) -> str:
        return self.scope or (ANY_USER if self.takes_keys else LOGIN)

    async def __call__(self, connection: HTTPConnection) -> Caller:
        caller = _caller(connection)
        if caller.issuer != "gateway" or caller.user_id == NOBODY:
            raise unauthenticated("invalid_assertion", "This needs the gateway's assertion of a user.")
        if self.scope is not None:
            caller.require_scope(self.scope)
        if not self.takes_keys and "api_key_id" in caller.claims:
            raise Problem(403, "session_required", "This takes a login: an API key may not.")
        return caller

    def guards(
        self, endpoint: Callable[[Request, Caller], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """The same for hot routes, which do without FastAPI's dependencies: `@router.post("")` over `@TRADE.guards`."""

        async def guarded(request: Request) -> Response:
            return await endpoint(request, await self(request))

        guarded.__name__, guarded.__doc__ = endpoint.__name__, endpoint.__doc__
        guarded.permission = self  # type: ignore[attr-defined]
        return guarded


@dataclass(frozen=True, slots=True)
class ServicePermission:
    """A dependency for `/internal/*`: the caller, if it is one of the named services (any known one if none is named)."""

    issuers: frozenset[str]

    def __str__(self) -> str:
        return f"services: {', '.join(sorted(self.issuers)) or 'any'}"

    async def __call__(self, connection: HTTPConnection) -> Caller:
        caller = _caller(connection)
        if self.issuers and caller.issuer not in self.issuers:
            raise Problem(403, "forbidden", f"{caller.issuer} may not call this.")
        return caller


def service_caller(*issuers: str) -> ServicePermission:
    """`Depends(service_caller("core-engine", "cli"))`."""
    return ServicePermission(frozenset(issuers))


def _caller(connection: HTTPConnection) -> Caller:
    verifier: AssertionVerifier = connection.app.state.verifier
    return verifier.verify_header(connection.headers.get("authorization"))


TRADE = Permission("trade")

UserCaller = Annotated[Caller, Depends(Permission(None))]
SessionCaller = Annotated[Caller, Depends(Permission(None, takes_keys=False))]
"""Who has logged in; `session_id` is that of a session."""
ReadCaller = Annotated[Caller, Depends(Permission("read"))]
TradeCaller = Annotated[Caller, Depends(TRADE)]
TransferCaller = Annotated[Caller, Depends(Permission("transfer"))]
StrategyCaller = Annotated[Caller, Depends(Permission("strategy"))]
AdminCaller = Annotated[Caller, Depends(Permission("admin"))]
AuditCaller = Annotated[Caller, Depends(Permission("audit"))]


@dataclass(frozen=True, slots=True, order=True)
class RoutePermission:
    """`permission` is None where a route declares none: a mistake."""

    path: str
    method: str
    permission: str | None


def permissions_of(app: FastAPI) -> Iterator[RoutePermission]:
    """Every route of a service with what it takes; health and metrics, which anybody near the service may read, aside."""
    for context in iter_route_contexts(app.routes):
        if isinstance(context.original_route, APIRoute):
            found = sorted({str(permission) for permission in _declared(context.dependant)})
            for method in sorted(context.methods or ()):
                yield RoutePermission(str(context.path), method, "; ".join(found) or None)


def _declared(dependant: Dependant) -> Iterator[Permission | ServicePermission]:
    guarding = getattr(dependant.call, "permission", dependant.call)
    if isinstance(guarding, Permission | ServicePermission):
        yield guarding
    for inner in dependant.dependencies:
        yield from _declared(inner)
