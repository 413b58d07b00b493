"""The outermost ASGI layer: request id, size of the body, errors nobody caught, time taken."""

from time import perf_counter
from urllib.parse import unquote_to_bytes

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .logging import get_logger
from .metrics import observe_request
from .problems import Problem, problem_of, problem_response
from .requests import take_request_id

log = get_logger(__name__)


class RequestMiddleware:
    """Wraps every HTTP request; one layer for all, since each layer costs every request."""

    def __init__(self, app: ASGIApp, *, body_limit_bytes: int) -> None:
        self._app = app
        self._body_limit_bytes = body_limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        request_id = take_request_id(scope)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode("ascii"))]
            await send(message)

        try:
            _decode_slashes(scope)
            await self._app(scope, self._limited(scope, receive), send_with_id)
        except Exception as error:
            if status:
                # The answer is on its way and cannot be changed: the server logs the error and cuts the connection.
                raise
            await _told(error, scope)(scope, receive, send_with_id)
        finally:
            observe_request(scope, status, started)
            log.debug(
                "request",
                method=scope["method"],
                path=scope["path"],
                status=status,
                ms=round((perf_counter() - started) * 1000, 1),
            )

    def _limited(self, scope: Scope, receive: Receive) -> Receive:
        """`receive`, refusing bodies that are too large or compressed.

        A compressed body is not taken at all, so that a small one cannot become large.
        """
        for name, value in scope["headers"]:
            if name == b"content-length" and (
                len(value) > 18 or not value.isdigit() or int(value) > self._body_limit_bytes
            ):
                raise self._too_large()
            if name == b"content-encoding" and value.strip().lower() != b"identity":
                raise Problem(415, "unsupported_media_type", "A body may not be compressed (Content-Encoding).")
        read = 0

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._body_limit_bytes:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> Problem:
        # The connection stays open: closed with data unread it would be reset, and the answer lost. The server reads
        # the rest and throws it away.
        return Problem(413, "body_too_large", f"The body may have {self._body_limit_bytes} bytes at most.")


def _told(error: Exception, scope: Scope) -> Response:
    """The answer that tells of the error. By itself: where the frame that caught an error names it for longer than the
    except clause, the two hold each other, and with them all of the request, until the collector of cycles comes by."""
    problem = problem_of(error)
    if problem is None:
        log.exception("request_failed", method=scope["method"], path=scope["path"])
        problem = Problem(500, "internal_error", "The service failed; the request id finds the cause.")
    return problem_response(problem, scope)


def _decode_slashes(scope: Scope) -> None:
    """Makes `/markets/AAPL%2FUSD` one path segment, `AAPL-USD`: servers decode %2F into a slash that splits it."""
    raw = scope.get("raw_path") or b""
    if b"%2" in raw:
        path = raw.partition(b"?")[0].replace(b"%2F", b"-").replace(b"%2f", b"-")
        scope["path"] = unquote_to_bytes(path).decode("utf-8", "replace")
