"""One request and its answer, as plain ASGI: what is read of it, and how it is answered."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address
from math import ceil
from time import perf_counter

from fleet_chassis.metrics import observe_request
from fleet_chassis.problems import Problem, problem_json
from fleet_chassis.requests import take_request_id
from starlette.types import Receive, Scope, Send

from .rates import Verdict
from .routes import plain
from .upstream import Answer

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


class ClientGone(Exception):
    """The client hung up before it had sent its request."""


@dataclass(slots=True)
class Exchange:
    """`extra` are headers that go with whatever is answered; `verdict` what the rate limits said, once asked."""

    scope: Scope
    method: str
    path: str
    raw_path: bytes
    request_id: str
    started: float
    forwarded: dict[str, str] = field(default_factory=dict)
    authorization: bytes | None = None
    forwarded_for: bytes | None = None
    content_length: int = 0
    is_encoded: bool = False
    idempotency_key: str | None = None
    extra: list[tuple[bytes, bytes]] = field(default_factory=list)
    verdict: Verdict | None = None

    @classmethod
    def of(cls, scope: Scope) -> "Exchange":
        exchange = cls(
            scope, scope["method"], scope["path"], plain(scope["raw_path"]), take_request_id(scope), perf_counter()
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
            elif name == b"content-length":
                # Too long to be a number that matters: larger than any limit.
                self.content_length = int(value) if value.isdigit() and len(value) < 19 else 1 << 62
            elif name == b"content-encoding":
                self.is_encoded = value.strip().lower() != b"identity"
            elif name == b"x-forwarded-for":
                self.forwarded_for = value

    @property
    def target(self) -> str:
        """Path, but for needless escapes, and query as they were sent."""
        query: bytes = self.scope["query_string"]
        # The server takes nothing but ASCII here.
        return (self.raw_path + b"?" + query if query else self.raw_path).decode("ascii")

    def address(self, trusted: Sequence[IPv4Network | IPv6Network]) -> str:
        """Who sends it, for the limits: the last address of X-Forwarded-For that is not a trusted proxy's.

        Of IPv6 the /64, which is what one subscriber has at the least.
        """
        client = self.scope.get("client")
        at = client[0] if client else "unknown"
        if trusted and self.forwarded_for is not None:
            for hop in reversed(self.forwarded_for.decode("latin-1").split(",")):
                if not _is_within(at, trusted) or not _is_address(hop.strip()):
                    break
                at = hop.strip()
        if ":" in at:
            try:
                return str(IPv6Network((at.partition("%")[0], 64), strict=False))
            except ValueError:
                return "unknown"
        return at

    async def body(self, receive: Receive, limit: int) -> bytes:
        """The request's body. Raises Problem 413 and 415, ClientGone."""
        if self.is_encoded:
            raise Problem(415, "unsupported_media_type", "A body may not be compressed (Content-Encoding).")
        if self.content_length > limit:
            raise _too_large(limit)
        message = await receive()
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            parts, size = [body], len(body)
            while message.get("more_body"):
                message = await receive()
                part = message.get("body", b"")
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                parts.append(part)
            body = b"".join(parts)
        if message["type"] == "http.disconnect":
            raise ClientGone
        if len(body) > limit:
            raise _too_large(limit)
        return body

    def problem(self, problem: Problem, **more: object) -> Answer:
        """The answer that tells a problem; `more` are further members."""
        headers = [(b"content-type", b"application/problem+json")]
        headers += [
            (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in (problem.headers or {}).items()
        ]
        body = problem_json(problem, instance=self.path, request_id=self.request_id, **more)
        return Answer(problem.status, headers, body)

    def limited(self, verdict: Verdict) -> None:
        """Takes note of what the rate limits say. Raises Problem 429."""
        self.verdict = verdict
        if not verdict.allowed:
            raise Problem(
                429,
                "rate_limited",
                f"More than {verdict.limit} requests at once or in the running window.",
                headers={"Retry-After": str(max(1, ceil(verdict.retry_after_s)))},
            )

    async def send(self, answer: Answer, send: Send) -> None:
        """Answers."""
        headers = answer.headers + self.extra
        if self.verdict is not None:
            headers += (
                (b"ratelimit-limit", b"%d" % self.verdict.limit),
                (b"ratelimit-remaining", b"%d" % self.verdict.remaining),
                (b"ratelimit-reset", b"%d" % ceil(self.verdict.reset_s)),
            )
        if answer.status not in (204, 304):
            headers.append((b"content-length", b"%d" % len(answer.body)))
        body = b"" if self.method == "HEAD" else answer.body
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        observe_request(self.scope, answer.status, self.started)


def _too_large(limit: int) -> Problem:
    return Problem(413, "body_too_large", f"The body may have {limit} bytes at most.")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_within(address: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    return _is_address(address) and any(ip_address(address) in network for network in networks)
