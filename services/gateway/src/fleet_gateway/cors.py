"""Pages of other origins that the operator trusts (the Fetch standard's CORS protocol). No cookies, so no credentials."""

from .answers import Answer, Headers
from .exchange import FORWARDED
from .routes import METHODS

_ASKED = (*FORWARDED.values(), "Authorization", "X-API-Key", "X-Timestamp", "X-Signature", "X-Request-ID")
_SHOWN = (
    "Age, ETag, Idempotent-Replayed, Location, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, "
    "X-Client-Order-ID, X-Request-ID, X-Stale"
)

PREFLIGHT = Answer(
    204,
    [
        (b"access-control-allow-methods", ", ".join(sorted(METHODS)).encode()),
        (b"access-control-allow-headers", ", ".join(_ASKED).encode()),
        (b"access-control-max-age", b"600"),
    ],
    b"",
)


def headers(origin: bytes) -> Headers:
    """What lets a page of this origin read the answer."""
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _SHOWN.encode()),
        (b"vary", b"origin"),
    ]
