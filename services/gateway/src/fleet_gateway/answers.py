"""What is told to a client, whoever says it."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

NOTHING_MAY_LOAD = b"default-src 'none'; frame-ancestors 'none'"
"""The policy of what is no page: shown in a browser all the same, it does nothing."""

NOT_PASSED_ON = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"content-length",
        b"date",
        b"server",
        b"x-request-id",
        b"www-authenticate",
    }
)
"""Of a service's answer: what belongs to its connection, and what the gateway says itself."""

Headers = list[tuple[bytes, bytes]]

POLICY = b"content-security-policy"
NO_STORE = (b"cache-control", b"no-store")
GUARDS: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
]
"""On every answer."""
HSTS = (b"strict-transport-security", b"max-age=63072000; includeSubDomains")
"""On every one over TLS."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`is_kept` says that the same bytes are answered again and again; `policy` is the Content-Security-Policy.

    A long answer is `body` and what `rest` yields, which comes from a service as it is taken."""

    status: int
    headers: Headers
    body: bytes
    is_kept: bool = False
    policy: bytes = NOTHING_MAY_LOAD
    rest: AsyncGenerator[bytes, None] | None = None
