"""Errors as RFC 9457 `application/problem+json`, all in one shape (the API's conventions name its fields)."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import asyncpg
import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Scope

from .database import CommitOutcomeUnknown, is_down
from .requests import request_id_of

RETRY_AFTER_S = 1

_encode = msgspec.json.Encoder(enc_hook=str).encode
_CODES = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_request",
    429: "rate_limited",
    500: "internal_error",
    503: "unavailable",
    504: "outcome_unknown",
}


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field of a request; `code` is stable, `message` is for people."""

    field: str
    message: str
    code: str


class Problem(HTTPException):
    """An error to be told to the caller. `code` is stable and names the cause; `detail` says ", was X"."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        title: str | None = None,
        errors: Sequence[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.status = status
        self.code = code
        self.title = title or HTTPStatus(status).phrase
        self.errors = tuple(errors)

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.detail}"


def unavailable(detail: str, *, retry_after_s: int = RETRY_AFTER_S) -> Problem:
    """503 for something this service needs and cannot reach."""
    return Problem(503, "unavailable", detail, headers={"Retry-After": str(retry_after_s)})


def problem_body(problem: Problem, *, instance: str, request_id: str) -> dict[str, Any]:
    """The problem as the object that is sent; also for errors inside an answer, as in a batch."""
    body = {
        "type": f"urn:tradefleet:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": instance,
        "code": problem.code,
        "request_id": request_id,
    }
    if problem.errors:
        body["errors"] = problem.errors
    return body


def problem_json(problem: Problem, *, instance: str, request_id: str, **more: object) -> bytes:
    """The problem as the JSON that is sent; `more` are further members."""
    return _encode(problem_body(problem, instance=instance, request_id=request_id) | more)


def problem_response(problem: Problem, scope: Scope) -> Response:
    """The answer that tells the problem."""
    return Response(
        problem_json(problem, instance=scope["path"], request_id=request_id_of(scope)),
        problem.status,
        headers=problem.headers,
        media_type="application/problem+json",
    )


def problem_of(error: Exception) -> Problem | None:
    """The problem an exception stands for; None for a fault of ours."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, CommitOutcomeUnknown):
        return Problem(504, "outcome_unknown", "The answer of the database was lost; ask, or send the same again.")
    if is_down(error):
        return unavailable("A part this service needs does not answer.")
    if isinstance(error, asyncpg.CharacterNotInRepertoireError | asyncpg.UntranslatableCharacterError):
        # JSON and URLs can say U+0000, PostgreSQL's text cannot hold it.
        return Problem(422, "invalid_request", "A text has a character that cannot be kept (U+0000).")
    return None


def _from_http_exception(error: HTTPException) -> Problem:
    status = error.status_code
    if status == 400 and isinstance(error.__cause__, ValueError | RecursionError):
        return Problem(400, "malformed_json", "The body is not valid JSON.")
    detail = error.detail
    if detail == HTTPStatus(status).phrase:
        detail = {404: "Nothing is found at this path.", 405: "The path does not take this method."}.get(status, detail)
    return Problem(status, _CODES.get(status, "error"), detail, headers=error.headers)


def _from_validation(error: RequestValidationError, request: Request) -> Problem:
    errors = error.errors()
    if any(item["type"] == "json_invalid" for item in errors):
        return Problem(400, "malformed_json", "The body is not valid JSON.")
    if not _is_json(request) and isinstance(error.body, bytes) and error.body:
        return Problem(415, "unsupported_media_type", "The body must be application/json.")
    fields = [
        FieldError(".".join(str(part) for part in item["loc"][1:]) or str(item["loc"][0]), item["msg"], item["type"])
        for item in errors
    ]
    return Problem(422, "invalid_request", "The request does not have the expected shape.", errors=fields)


def _is_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or (media_type.startswith("application/") and media_type.endswith("+json"))


def _methods_of(request: Request) -> list[str]:
    """What the path takes: a route that was not taken knows its own methods only."""
    contexts = iter_route_contexts(request.app.routes)
    routes = [context for context in contexts if compile_path(str(context.path))[0].match(request.url.path)]
    return sorted({method for route in routes for method in route.methods or ()})


def add_problem_handlers(app: FastAPI) -> None:
    """Renders every HTTP exception and every refused request as a problem."""

    async def http_exception(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            error.headers = {"Allow": ", ".join(_methods_of(request))}
        problem = error if isinstance(error, Problem) else _from_http_exception(error)
        return problem_response(problem, request.scope)

    async def validation(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem_response(_from_validation(error, request), request.scope)

    app.add_exception_handler(HTTPException, http_exception)
    app.add_exception_handler(RequestValidationError, validation)
