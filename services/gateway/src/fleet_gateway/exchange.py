"""One request and its answer, as plain ASGI: what is read of it, and how it is answered."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address
from math import ceil
from time import perf_counter

from fleet_chassis.metrics import observe_request
from fleet_chassis.problems import Problem, problem_json
from fleet_chassis.requests import take_request_id
from starlette.types import Receive, Scope, Send

from .answers import GUARDS, NO_STORE, POLICY, Answer, Headers
from .bodies import Body, Incoming, Room, too_large
from .encodings import (
    CODINGS,
    IN_THREAD_BYTES,
    WORTH_BYTES,
    chosen,
    decoded,
    encoded,
    encoded_once,
    encoded_parts,
    is_text,
)
from .http_protocol import WRITE_WHOLE, WriteWhole
from .rates import Verdict
from .routes import plain

FORWARDED = {
    b"accept": "Accept",
    b"accept-language": "Accept-Language",
    b"content-type": "Content-Type",
    b"idempotency-key": "Idempotency-Key",
    b"if-match": "If-Match",
    b"if-none-match": "If-None-Match",
    b"user-agent": "User-Agent",
}
"""What services get to see of a request's headers. Everything else, whatever it claims to be, stays here."""

_VARY = (b"vary", b"accept-encoding")
_SECRET = b"/api/v1/auth/"
"""Answers with tokens in them are not compressed: their length would tell of their content (BREACH)."""


SIGNED = frozenset({b"x-api-key", b"x-timestamp", b"x-signature"})
"""Of a request that is signed with an API key."""


@dataclass(slots=True)
class Exchange:
    """`extra` are headers that go with whatever is answered; `verdict` what the rate limits said, once asked."""

    scope: Scope
    room: Room
    method: str
    path: str
    raw_path: bytes
    request_id: str
    started: float
    forwarded: dict[str, str] = field(default_factory=dict)
    authorization: bytes | None = None
    origin: bytes | None = None
    accept_encoding: bytes = b""
    asks_method: bool = False
    signed: dict[bytes, bytes] = field(default_factory=dict)
    forwarded_for: bytes | None = None
    content_length: int = 0
    content_encoding: str = ""
    extra: list[tuple[bytes, bytes]] = field(default_factory=list)
    verdict: Verdict | None = None
    incoming: Incoming | None = None
    unpacked: bytes | None = None

    @classmethod
    def of(cls, scope: Scope, room: Room) -> "Exchange":
        exchange = cls(
            scope,
            room,
            scope["method"],
            scope["path"],
            plain(scope["raw_path"]),
            take_request_id(scope),
            perf_counter(),
        )
        exchange._read_headers(scope["headers"])
        exchange.extra.append((b"x-request-id", exchange.request_id.encode()))
        return exchange

    def _read_headers(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        for name, value in headers:
            shown = FORWARDED.get(name)
            if shown is not None:
                self.forwarded[shown] = value.decode("latin-1")
            elif name == b"authorization":
                self.authorization = value
            elif name in SIGNED:
                self.signed[name] = value
            elif name == b"content-length":
                # Too long to be a number that matters: larger than any limit.
                self.content_length = int(value) if value.isdigit() and len(value) < 19 else 1 << 62
            elif name == b"content-encoding":
                # Of several each counts, and no two are known.
                coding = value.strip().lower().decode("latin-1").replace("x-gzip", "gzip")
                self.content_encoding += "" if coding == "identity" else coding
            elif name == b"x-forwarded-for":
                # A proxy may add a line of its own below the client's.
                self.forwarded_for = value if self.forwarded_for is None else self.forwarded_for + b"," + value
            elif name == b"accept-encoding":
                self.accept_encoding = value
            elif name == b"origin":
                self.origin = value
            elif name == b"access-control-request-method":
                self.asks_method = True

    @property
    def target(self) -> str:
        """Path, but for needless escapes, and query as they were sent."""
        query: bytes = self.scope["query_string"]
        # The server takes nothing but ASCII here.
        return (self.raw_path + b"?" + query if query else self.raw_path).decode("ascii")

    @property
    def sent_target(self) -> bytes:
        """Path and query byte for byte."""
        raw_path: bytes = self.scope["raw_path"]
        query: bytes = self.scope["query_string"]
        return raw_path + b"?" + query if query else raw_path

    def client_address(self, trusted: Sequence[IPv4Network | IPv6Network]) -> str:
        """Who sends it: the last address of X-Forwarded-For that is not a trusted proxy's."""
        client = self.scope.get("client")
        at = client[0] if client else "unknown"
        if trusted and self.forwarded_for is not None:
            for hop in reversed(self.forwarded_for.decode("latin-1").split(",")):
                if not _is_within(at, trusted) or not _is_address(hop.strip()):
                    break
                at = hop.strip()
        return at

    def address(self, trusted: Sequence[IPv4Network | IPv6Network]) -> str:
        """The same as it is limited."""
        return _limited_as(self.client_address(trusted))

    async def sent_body(self, receive: Receive, limit: int) -> bytes:
        """The request's body byte for byte, however often it is asked for. Raises Problem 413 and 503, ClientGone."""
        return await self._coming(receive, limit).whole()

    async def body(self, receive: Receive, limit: int) -> bytes:
        """The same unpacked. Raises Problem 400, 413 and 415, ClientGone."""
        if not self.content_encoding:
            return await self.sent_body(receive, limit)
        if self.unpacked is None:
            if self.content_encoding not in CODINGS:
                detail = f"A body may be compressed as {' or '.join(CODINGS)}, was {self.content_encoding}."
                raise Problem(415, "unsupported_media_type", detail, headers={"Accept-Encoding": ", ".join(CODINGS)})
            sent = await self.sent_body(receive, limit)
            try:
                self.unpacked = await asyncio.to_thread(decoded, sent, self.content_encoding, limit)
            except ValueError as error:
                raise Problem(400, "bad_request", f"The body is {error}.") from error
            if self.unpacked is None:
                raise too_large(limit)
        return self.unpacked

    async def passed_on(self, receive: Receive, limit: int) -> Body:
        """The same; a long one that is not compressed as it comes."""
        if self.content_encoding:
            return await self.body(receive, limit)
        return await self._coming(receive, limit).passed_on()

    def _coming(self, receive: Receive, limit: int) -> Incoming:
        if self.incoming is None:
            self.incoming = Incoming(receive, self.room, limit, self.content_length)
        return self.incoming

    def leave_room(self) -> None:
        """Once it is answered."""
        if self.incoming is not None:
            self.incoming.leave_room()

    def problem(self, problem: Problem, **more: object) -> Answer:
        """The answer that tells a problem; `more` are further members."""
        headers = [(b"content-type", b"application/problem+json")]
        headers += [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (problem.headers or {}).items()
        ]
        body = problem_json(problem, instance=self.path, request_id=self.request_id, **more)
        return Answer(problem.status, headers, body)

    def limited(self, verdict: Verdict) -> None:
        """Takes note of what a rate limit says; of several the one that leaves least is told. Raises Problem 429."""
        if self.verdict is None or not verdict.allowed or verdict.remaining < self.verdict.remaining:
            self.verdict = verdict
        if not verdict.allowed:
            raise Problem(
                429,
                "rate_limited",
                f"More than {verdict.limit} requests at once or in the running window.",
                headers={"Retry-After": str(max(1, ceil(verdict.retry_after_s)))},
            )

    async def send(self, answer: Answer, send: Send) -> None:
        """Answers, compressed where the client takes it and it is worth it."""
        headers = answer.headers + self.extra + GUARDS
        headers.append((POLICY, answer.policy))
        if not any(name == b"cache-control" for name, _ in answer.headers):
            headers.append(NO_STORE)
        body, coding = answer.body, None
        if len(body) >= WORTH_BYTES:
            headers.append(_VARY)
            coding = self._coding(answer)
            if coding is not None:
                headers = [_weak(name, value) for name, value in headers]
                headers.append((b"content-encoding", coding.encode()))
                if answer.rest is None:
                    body = await _packed(body, coding, is_kept=answer.is_kept)
        if self.verdict is not None:
            headers += (
                (b"ratelimit-limit", b"%d" % self.verdict.limit),
                (b"ratelimit-remaining", b"%d" % self.verdict.remaining),
                (b"ratelimit-reset", b"%d" % ceil(self.verdict.reset_s)),
            )
        if answer.rest is None and answer.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(body)))
        if self.method == "HEAD":
            body = b""
        write: WriteWhole | None = self.scope.get(WRITE_WHOLE)
        if write is None or answer.rest is not None or not write(answer.status, headers, body):
            await self._send_by_parts(answer, headers, body, coding, send)
        observe_request(self.scope, answer.status, self.started)

    async def _send_by_parts(
        self, answer: Answer, headers: Headers, body: bytes, coding: str | None, send: Send
    ) -> None:
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        if answer.rest is not None:
            await _send_parts(answer.body, answer.rest, coding, send)
            body = b""
        await send({"type": "http.response.body", "body": body})

    def _coding(self, answer: Answer) -> str | None:
        if not self.accept_encoding or self.raw_path.startswith(_SECRET):
            return None
        told = dict(answer.headers)
        if b"content-encoding" in told or not is_text(told.get(b"content-type", b"")):
            return None
        return chosen(self.accept_encoding)


async def _send_parts(begun: bytes, rest: AsyncGenerator[bytes, None], coding: str | None, send: Send) -> None:
    """A long answer as it comes. Raises what cut it off: it has begun, and can only be cut off for the client too."""

    async def whole() -> AsyncGenerator[bytes, None]:
        yield begun
        async for part in rest:
            yield part

    async with aclosing(rest):
        async for part in whole() if coding is None else encoded_parts(whole(), coding):
            await send({"type": "http.response.body", "body": part, "more_body": True})


async def _packed(body: bytes, coding: str, *, is_kept: bool) -> bytes:
    pack = encoded_once if is_kept else encoded
    return await asyncio.to_thread(pack, body, coding) if len(body) >= IN_THREAD_BYTES else pack(body, coding)


def _weak(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """The same meaning in other bytes has a weak tag (RFC 9110, 8.8.1)."""
    return name, b"W/" + value if name == b"etag" and not value.startswith(b"W/") else value


@lru_cache(maxsize=10_000)
def _limited_as(address: str) -> str:
    """The address as it is counted: of IPv6 the /64, and IPv4 inside of IPv6 as what it is."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(ip, IPv4Address):
        return str(ip)
    return str(ip.ipv4_mapped or IPv6Network((ip, 64), strict=False))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_within(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    return _is_address(address) and any(ip_address(address) in network for network in networks)
