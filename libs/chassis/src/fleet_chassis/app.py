"""The application every service starts from; what it adds is what all services have in common."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from .assertions import AssertionVerifier
from .health import Health, health_routes
from .metrics import metrics_route
from .middleware import RequestMiddleware
from .permissions import permissions_of
from .problems import add_problem_handlers
from .settings import ServiceSettings
from .telemetry import instrument

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[Any]]


def new_app(settings: ServiceSettings, title: str, lifespan: Lifespan, health: Health) -> FastAPI:
    """A FastAPI application with problems, request ids, body limit, metrics, health and assertion check.

    Its state holds `health` and `verifier`. Its OpenAPI document is at `/openapi.json`; pages of documentation are
    the gateway's.
    """
    app = FastAPI(
        title=title,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        routes=[*health_routes(health), metrics_route()],
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.health = health
    app.state.verifier = AssertionVerifier(settings.service, settings.public_keys_file)
    app.add_middleware(RequestMiddleware, body_limit_bytes=settings.body_limit_bytes)
    add_problem_handlers(app)
    instrument(app, settings)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


_PROBLEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "instance", "code", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message", "code"],
                "properties": {name: {"type": "string"} for name in ("field", "message", "code")},
            },
        },
    },
}
_PROBLEM_RESPONSE: dict[str, Any] = {
    "description": "Problem",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document with our problems in place of its own shape of errors, and what each operation takes of its
    caller as `x-permission`."""
    if app.openapi_schema is None:
        permissions = {(route.path, route.method): route.permission for route in permissions_of(app)}
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        for path, operations in document.get("paths", {}).items():
            for method, operation in operations.items():
                operation["x-permission"] = permissions[path, method.upper()]
                operation["responses"].pop("422", None)
                operation["responses"]["default"] = _PROBLEM_RESPONSE
                _summarize(operation)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        schemas["Problem"] = _PROBLEM_SCHEMA
        app.openapi_schema = document
    return app.openapi_schema


def _summarize(operation: dict[str, Any]) -> None:
    """The first sentence of what is said of an operation says more than its function's name."""
    first, _, rest = " ".join(operation.pop("description", "").split()).partition(". ")
    if first:
        operation["summary"] = first.removesuffix(".")
    if rest:
        operation["description"] = rest
