"""What people see in a browser: the landing page and the documentation, all of it from packages on this machine."""

import hashlib
from dataclasses import dataclass, field
from importlib.resources import files
from importlib.resources.abc import Traversable

import msgspec

from .answers import NOTHING_MAY_LOAD, Answer

_STRICT = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
_LANDING_POLICY = f"{_STRICT}; script-src 'self'; style-src 'self'; img-src 'self'"
# Swagger UI draws its icons from data: URLs; the styles it sets on elements by script need no leave.
_DOCS_POLICY = f"{_STRICT}; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'"

_encode = msgspec.json.Encoder().encode


def json_answer(content: object, status: int = 200) -> Answer:
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    return Answer(status, headers, _encode(content))


@dataclass(frozen=True, slots=True)
class Page:
    """Something that does not change while the process lives."""

    media_type: str
    body: bytes
    policy: bytes
    etag: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "etag", f'"{hashlib.sha256(self.body).hexdigest()[:16]}"')

    def answer(self, if_none_match: str | None) -> Answer:
        headers = [
            (b"content-type", self.media_type.encode()),
            (b"etag", self.etag.encode()),
            (b"cache-control", b"no-cache"),
        ]
        if if_none_match is not None and self.etag in if_none_match:
            return Answer(304, headers[1:], b"", policy=self.policy)
        return Answer(200, headers, self.body, is_kept=True, policy=self.policy)


class Pages:
    """Pages by path."""

    def __init__(self) -> None:
        own = files("fleet_gateway") / "static"
        swagger = files("fastapi_offline") / "static"
        html, css, script = "text/html; charset=utf-8", "text/css; charset=utf-8", "text/javascript; charset=utf-8"
        self._pages = {
            b"/": _page(own / "landing.html", html, _LANDING_POLICY),
            b"/docs": _page(own / "docs.html", html, _DOCS_POLICY),
            b"/assets/landing.css": _page(own / "landing.css", css),
            b"/assets/landing.js": _page(own / "landing.js", script),
            b"/assets/docs.js": _page(own / "docs.js", script),
            b"/assets/swagger-ui.css": _page(swagger / "swagger-ui.css", css),
            b"/assets/swagger-ui-bundle.js": _page(swagger / "swagger-ui-bundle.js", script),
            b"/favicon.svg": _page(own / "favicon.svg", "image/svg+xml"),
        }

    def get(self, raw_path: bytes) -> Page | None:
        return self._pages.get(raw_path)


def _page(file: Traversable, media_type: str, policy: str | None = None) -> Page:
    return Page(media_type, file.read_bytes(), NOTHING_MAY_LOAD if policy is None else policy.encode())
