"""uvicorn's HTTP protocol as an edge needs it: heads and requests of bounded size and time, nothing that two parsers
could understand in two ways, and a problem for what is no HTTP: such bytes reach no application."""

import asyncio
from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Any, cast

from fleet_chassis.http_protocol import OneWriteProtocol
from fleet_chassis.ids import new_id
from fleet_chassis.problems import Problem, problem_json
from fleet_chassis.telemetry import is_traced
from prometheus_client import Counter
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from .answers import GUARDS, HSTS, NO_STORE, NOTHING_MAY_LOAD, POLICY, Headers

WRITE_WHOLE = "fleet.write_whole"
"""Where in the ASGI scope a `WriteWhole` is found."""
WriteWhole = Callable[[int, Headers, bytes], bool]
"""Writes a whole answer, its length among the headers, at once; or tells that it has to be sent as any other. Sent as
ASGI has it, two messages and each header looked at twice, the answer costs four times as much."""
HEAD_BYTES = 32_768
"""Request line and headers; the longest that means anything is an access token, of about 1 kB."""
REQUEST_BYTES = 8 * 1_048_576
"""Of a request what is read at all: the rest of a body that was refused is thrown away until here, then cut off."""
LINGER_S = 1.0
"""Between stopping to read and cutting the connection, so that the answer can be read."""
_NOT_TAKEN = Counter(
    "fleet_gateway_answers_not_taken", "Connections cut off because their client had stopped to read its answer."
)
_ONCE = (b"host", b"content-length", b"transfer-encoding", b"authorization")


class HttpProtocol(OneWriteProtocol):
    """For `uvicorn.Config(http=HttpProtocol)`."""

    request_timeout_s = 30.0
    """From the first byte of a request to its last, and from a connection to its first request; looked at now and then."""

    answer_timeout_s = 30.0
    """Without a byte of an answer taken; looked at as seldom."""

    _problem: Problem | None = None
    _unsent = _stuck_looks = 0
    _is_cut = False
    _is_in_head = True
    _read = 0
    _reading_since: float | None = None
    _watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._reading_since = self.loop.time()
        self._watch_on()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch_off()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self) -> None:
        self._watch_off()
        super().handle_websocket_upgrade()

    def resume_writing(self) -> None:
        # What waits now is another part of the answer, however long it is.
        self._unsent = 0
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._is_cut:
            return
        self._read += len(data)
        if self._reading_since is None and (self.cycle is None or self.cycle.response_complete):
            # Empty lines may come before a request: the parser says nothing of them, and uvicorn waits on.
            self._reading_since = self.loop.time()
        super().data_received(data)
        if self._is_in_head and self._read > HEAD_BYTES:
            self._problem = _head_too_large()
            self.send_400_response("")
        elif self._read > REQUEST_BYTES:
            self._cut()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head, self._read = True, 0
        self._reading_since = self.loop.time()

    def on_header(self, name: bytes, value: bytes) -> None:
        # What comes after the body (trailers) would join the headers that were judged before it.
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._problem = _head_problem(self.parser.get_http_version(), self.url, self.headers)
        if self._problem is not None:
            raise self._problem
        super().on_headers_complete()

        # Whoever traces wants to see the answer's messages.
        if self.cycle is not None and not is_traced():
            scope = cast(MutableMapping[str, Any], self.scope)
            scope[WRITE_WHOLE] = partial(self._write_whole, self.cycle)

    def _write_whole(self, cycle: RequestResponseCycle, status: int, headers: Headers, body: bytes) -> bool:
        if cycle.response_started or self.flow.write_paused:
            return False
        if cycle.disconnected:
            return True
        lines = [name + b": " + value for name, value in self.server_state.default_headers + headers]
        if not cycle.keep_alive:
            lines.append(b"connection: close")
        head = STATUS_LINE[status] + b"\r\n".join(lines) + b"\r\n\r\n"
        if not head.count(b"\n") == head.count(b"\r") == len(lines) + 2:
            raise ValueError("no header may have a line end in it")
        self.transport.write(head + body)
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def on_message_complete(self) -> None:
        self._reading_since = None
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            # What comes now would be taken for a part of the answer that is under way.
            self._is_cut = True
            self.transport.abort()
            return
        problem = self._problem or Problem(400, "bad_request", msg)
        request_id = str(new_id())
        body = problem_json(problem, instance="", request_id=request_id)
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
            (POLICY, NOTHING_MAY_LOAD),
            NO_STORE,
            *GUARDS,
            *([HSTS] if self.scheme == "https" else []),
        ]
        head = b"".join(b"%s: %s\r\n" % header for header in headers)
        self.transport.write(STATUS_LINE[problem.status] + head + b"\r\n" + body)
        self._cut()

    def _cut(self) -> None:
        """Reads nothing more. Closed at once with bytes unread, the connection would be reset and the answer lost."""
        self._is_cut = True
        self.transport.pause_reading()
        if (self.cycle is None or self.cycle.response_complete) and self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.abort)

    def _watch_on(self) -> None:
        self._watch = self.loop.call_later(self.request_timeout_s / 4, self._look)

    def _watch_off(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    def _look(self) -> None:
        """One timer a connection, not one a request."""
        unsent, every_s = self.transport.get_write_buffer_size(), self.request_timeout_s / 4
        # Looks are counted, not seconds: where this process stood still meanwhile the client is not to blame.
        self._stuck_looks = self._stuck_looks + 1 if unsent and unsent == self._unsent else 0
        self._unsent = unsent
        if self._stuck_looks * every_s > self.answer_timeout_s:
            _NOT_TAKEN.inc()
            self.transport.abort()
            return
        if self._is_cut:
            return
        if self.transport.is_closing():
            # Not before the rest of the last answer is taken.
            self._watch_on()
        elif self._reading_since is not None and self.loop.time() - self._reading_since > self.request_timeout_s:
            self._problem = Problem(408, "request_timeout", "The request did not come to its end in time.")
            self.send_400_response("")
        else:
            self._watch_on()


def _head_problem(version: str, url: bytes, headers: list[tuple[bytes, bytes]]) -> Problem | None:
    if version not in ("1.0", "1.1"):
        return Problem(400, "bad_request", f"HTTP must be 1.0 or 1.1, was {version}.")
    names = [name for name, _ in headers]
    if len(url) + sum([len(name) + len(value) for name, value in headers]) > HEAD_BYTES:
        return _head_too_large()
    for name in _ONCE:
        if names.count(name) > 1:
            return Problem(400, "bad_request", f"The header {name.decode()} must come once.")
    if version == "1.1" and b"host" not in names:
        return Problem(400, "bad_request", "The header host must come.")
    if b"upgrade" in names and any(_announces_body(name, value) for name, value in headers):
        # The parser stops before it, and would take what it says for the next request.
        return Problem(400, "bad_request", "A request that offers to upgrade has no body.")
    if version == "1.0" and b"transfer-encoding" in names:
        # A proxy of that version before us may have taken another end of the body (RFC 9112, 6.1).
        return Problem(400, "bad_request", "The header transfer-encoding must not come with HTTP/1.0.")
    return None


def _announces_body(name: bytes, value: bytes) -> bool:
    return name == b"transfer-encoding" or (name == b"content-length" and value != b"0")


def _head_too_large() -> Problem:
    return Problem(431, "headers_too_large", f"Request line and headers may have {HEAD_BYTES} bytes at most.")
