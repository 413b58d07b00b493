"""Which service answers which path, which scope that takes, how long it may take and how much it may be told."""

import re
from dataclasses import dataclass, replace
from typing import Any

PREFIX = b"/api/v1/"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
_READING = frozenset({"GET", "HEAD"})

DEPLOYMENTS = b"/api/v1/deployments"
STOP = re.compile(rb"/api/v1/deployments/([^/]+)/stop")
ORDERS = b"/api/v1/orders"
ORDER_BATCH = b"/api/v1/orders/batch"
LOGIN = b"/api/v1/auth/login"
LOGIN_MFA = b"/api/v1/auth/login/mfa"
REGISTER = b"/api/v1/auth/register"

VERIFY_EMAIL = b"/api/v1/auth/email/verify"
RESET_PASSWORD = b"/api/v1/auth/password/reset"
FORGOT_PASSWORD = b"/api/v1/auth/password/forgot"
MAILING = frozenset({REGISTER, FORGOT_PASSWORD})
"""What makes auth send mail to whoever is named."""
PUBLIC = MAILING | {
    LOGIN,
    LOGIN_MFA,
    b"/api/v1/auth/refresh",
    VERIFY_EMAIL,
    RESET_PASSWORD,
    b"/api/v1/auth/.well-known/jwks.json",
}
"""Open to people who are not logged in; auth is told that nobody is behind the call."""

HEAVY = {
    b"/api/v1/risk": 5,
    b"/api/v1/portfolio/history": 5,
    LOGIN: 5,
    VERIFY_EMAIL: 5,
    RESET_PASSWORD: 50,
    b"/api/v1/auth/password": 50,
    b"/api/v1/auth/mfa/totp": 10,
}
"""What a request weighs in the limit of its user, or of its address; all others weigh 1, and a batch of orders a tenth of its
orders. Of auth's by what a password costs, of which it looks at two at a time (25 ms to hash one, a third of a second to
judge a new one), and a picture for an authenticator (6 ms). Registrations have a limit of their own."""


@dataclass(frozen=True, slots=True)
class Route:
    """`path_format` is the label of the metrics. A scope of None means that any login will do. Until `deadline_s` the
    service has to have answered, `body_bytes` is the longest body it is sent."""

    path_format: str
    service: str
    read_scope: str | None
    write_scope: str | None
    deadline_s: float = 15.0
    """Above the services' own limits (transactions end after 10 s), so that it is they who say what happened."""
    body_bytes: int = 65_536

    def scope_for(self, method: str) -> str | None:
        return self.read_scope if method in _READING else self.write_scope


def _route(
    segment: str, service: str, read_scope: str | None, write_scope: str | None, **bounds: Any
) -> tuple[bytes, Route]:
    return segment.encode(), Route(f"/api/v1/{segment}", service, read_scope, write_scope, **bounds)


# What an owner may do with what is his own is judged by the service, as is every role.
_ROUTES: dict[bytes, Route] = dict(
    (
        # Passwords, codes and tokens.
        _route("auth", "auth", None, None, body_bytes=16_384),
        _route("users", "auth", "admin", "admin", body_bytes=16_384),
        _route("audit", "auth", "audit", "audit"),
        # Of a price that comes later what was said before is better.
        _route("markets", "data", "read", "admin", deadline_s=5.0),
        _route("system", "core-engine", "read", "admin"),
        _route("strategies", "strategy", "read", "strategy", body_bytes=262_144),
        _route("deployments", "strategy", "read", "strategy"),
        _route("accounts", "trading", "read", "trade"),
        _route("transfers", "trading", "read", "transfer"),
        _route("orders", "trading", "read", "trade"),
        _route("trades", "trading", "read", "trade"),
        _route("positions", "trading", "read", "trade"),
        _route("portfolio", "trading", "read", "trade"),
        _route("risk", "trading", "read", "trade"),
        _route("executions", "execution", "read", "trade"),
        _route("exchanges", "exchange-connector", "read", "strategy"),
        _route("books", "matching-engine", "read", "admin"),
    )
)
_EXACT = {
    b"/api/v1/risk/kill-switch": Route("/api/v1/risk/kill-switch", "core-engine", "read", "trade"),
    # 500 orders are about 200 kB.
    ORDER_BATCH: replace(_ROUTES[b"orders"], path_format="/api/v1/orders/batch", body_bytes=1_048_576),
}

SERVICES = tuple(dict.fromkeys(route.service for route in _ROUTES.values()))


_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2}|)")
_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"


def plain(raw_path: bytes) -> bytes:
    """The path with every needless escape undone (RFC 3986, 6.2.2.2).

    Otherwise `/orders/%62atch` would be a batch for the service and not for us: not weighed, not named, not limited. So would
    `b%6%31tch`, were its first % left alone, which is no escape and would become one.
    """
    if b"%" not in raw_path:
        return raw_path
    return _ESCAPE.sub(lambda found: _unescaped(found[0], found[1]), raw_path)


def _unescaped(escape: bytes, digits: bytes) -> bytes:
    if not digits:
        return b"%25"
    character = bytes.fromhex(digits.decode())
    return character if character in _UNRESERVED else escape


def find(raw_path: bytes) -> Route | None:
    """The route of a path as it was sent, or None.

    Judged before percent-decoding: what is forwarded begins with exactly what was looked up.
    """
    if not raw_path.startswith(PREFIX):
        return None
    return _EXACT.get(raw_path) or _ROUTES.get(raw_path[len(PREFIX) :].partition(b"/")[0])


def is_crooked(path: str) -> bool:
    """Whether a decoded path has segments that mean another path, or characters no path of ours has."""
    return "/." in path.replace("/.well-known/", "/") or "//" in path or "\\" in path or "\x00" in path
