"""One OpenAPI document of the whole fleet: every service's own, merged, and what the gateway adds."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from fleet_chassis.logging import get_logger
from fleet_chassis.permissions import ANY_USER, LOGIN
from fleet_chassis.problems import Problem, unavailable

from .answers import NOTHING_MAY_LOAD, Answer
from .examples import add_examples
from .links import add_links
from .pages import Page
from .routes import PREFIX, PUBLIC, SERVICES
from .upstream import Upstream

FRESH_S = 30.0
"""Services change their routes only by being restarted."""
TIMEOUT_S = 5.0

_DESCRIPTION = """
Algorithmic trading over REST and the socket `/ws`. Register, log in, and send the access token as
`Authorization: Bearer …`, or sign each request with an API key. Decimals are strings, times are RFC 3339 UTC, errors are
RFC 9457 problems with a stable `code`.
"""
_TAGS = {
    "auth": "Register, log in, renew and end sessions; second factors, API keys.",
    "markets": "What is traded, and at what price.",
    "orders": "Place, watch and cancel.",
    "accounts": "Balances, positions, fills, and what it all is worth.",
    "strategies": "What can be deployed.",
    "deployments": "Strategies at work on an account.",
    "executions": "How an order was carried out at its venue.",
    "exchanges": "Venues, and replays of history where the fleet runs on it.",
    "risk": "What an account risks, the limits it is held to, and stopping.",
    "users": "Who may do what: for administrators.",
    "audit": "What administrators and operators did.",
    "system": "What runs, and how well.",
    "gateway": "The socket, and the gateway's own health.",
}
"""In the order in which a newcomer needs them."""
_TOKEN = "The `access_token` that `POST /api/v1/auth/login` answers. It lives five minutes."  # noqa: S105 - prose
_SIGNED = {
    "apiKey": ("X-API-Key", "The `key` that `POST /api/v1/auth/api-keys` answers."),
    "apiTimestamp": ("X-Timestamp", "Now, in ms."),
    "apiSignature": (
        "X-Signature",
        "The hex HMAC-SHA256, under the key's `secret`, of timestamp, method, path with query and hex SHA-256 of the body.",
    ),
}
"""What a signed request has, all three, instead of a token."""
_PERMISSION = "x-permission"
"""What a service says that an operation takes of its caller."""
_REFERENCE = "#/components/schemas/"

log = get_logger(__name__)


@dataclass(slots=True)
class OpenApi:
    """Asks the services and keeps what they said for a while; of one that is away, what it said last."""

    upstream: Upstream
    version: str
    _documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    _paths: dict[str, list[str]] = field(default_factory=dict)
    _page: Page = field(default_factory=lambda: Page("application/json", b"", NOTHING_MAY_LOAD))
    _fresh_until: float = float("-inf")
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def answer(self, request_id: str, if_none_match: str | None) -> Answer:
        async with self._asking:
            if time.monotonic() >= self._fresh_until:
                missing = await self._ask_all(request_id)
                if not self._documents:
                    raise unavailable("No service tells its interface at the moment.")
                document = merge(self._documents, self.version, missing)
                self._paths = {path: [*map(str.upper, operations)] for path, operations in document["paths"].items()}
                self._page = Page("application/json", msgspec.json.encode(document), NOTHING_MAY_LOAD)
                self._fresh_until = time.monotonic() + (FRESH_S if not missing else 1.0)
        return self._page.answer(if_none_match)

    async def methods_of(self, path: str, request_id: str) -> list[str]:
        """What the document says that a path takes; of a path that it does not know, nothing."""
        await self.answer(request_id, None)
        templates = [template for template in self._paths if _fits(template, path)]
        return self._paths[min(templates, key=lambda template: template.count("{"))] if templates else []

    async def _ask_all(self, request_id: str) -> list[str]:
        """Refreshes the documents; returns the services that did not tell theirs."""
        told = await asyncio.gather(*(self._ask(service, request_id) for service in SERVICES))
        for service, document in zip(SERVICES, told, strict=True):
            if document is not None:
                self._documents[service] = document
        return [service for service, document in zip(SERVICES, told, strict=True) if document is None]

    async def _ask(self, service: str, request_id: str) -> dict[str, Any] | None:
        try:
            answer = await self.upstream.send(
                service, "GET", "/openapi.json", claims=None, request_id=request_id, timeout_s=TIMEOUT_S
            )
            if answer.status != 200:
                return None
            return msgspec.json.decode(answer.body, type=dict[str, Any])
        except (Problem, msgspec.MsgspecError) as error:
            log.warning("openapi_not_told", of=service, error=repr(error))
            return None


def _fits(template: str, path: str) -> bool:
    parts, given = template.split("/"), path.split("/")
    return len(parts) == len(given) and all(
        part == other or part.startswith("{") for part, other in zip(parts, given, strict=True)
    )


def merge(documents: Mapping[str, dict[str, Any]], version: str, missing: list[str]) -> dict[str, Any]:
    """One document. Schemas of one name that differ are kept apart as `<Service>_<name>`."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for service, told in documents.items():
        document = _without_clashes(service, told, schemas)
        schemas |= document.get("components", {}).get("schemas", {})
        for path, operations in document.get("paths", {}).items():
            if path.startswith(PREFIX.decode()):
                paths[path] = {method: _public(path, operation) for method, operation in operations.items()}
    for operations in paths.values():
        for operation in operations.values():
            add_examples(operation, schemas)
    add_links(paths)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Tradefleet", "version": version, "description": _DESCRIPTION.strip()},
        "servers": [{"url": "/"}],
        "security": _security(),
        "tags": [{"name": name, "description": text} for name, text in _TAGS.items()],
        "paths": _own_paths() | dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {
                "accessToken": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": _TOKEN}
            }
            | {
                name: {"type": "apiKey", "in": "header", "name": header, "description": text}
                for name, (header, text) in _SIGNED.items()
            },
            "schemas": dict(sorted(schemas.items())),
        },
        "x-services": {name: document.get("info", {}).get("version") for name, document in documents.items()},
        "x-unavailable": missing,
    }


def _without_clashes(service: str, document: dict[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    own = document.get("components", {}).get("schemas", {})
    clashing = {name for name, schema in own.items() if name in known and known[name] != schema}
    if not clashing:
        return document
    prefix = "".join(part.capitalize() for part in service.split("-"))
    renamed = {_REFERENCE + name: f"{_REFERENCE}{prefix}_{name}" for name in clashing}
    document = _replace_references(document, renamed)
    own = document["components"]["schemas"]
    document["components"]["schemas"] = {
        f"{prefix}_{name}" if name in clashing else name: schema for name, schema in own.items()
    }
    return document


def _replace_references(value: Any, renamed: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {
            name: renamed.get(item, item) if name == "$ref" else _replace_references(item, renamed)
            for name, item in value.items()
        }
    if isinstance(value, list):
        return [_replace_references(item, renamed) for item in value]
    return value


def _public(path: str, operation: dict[str, Any]) -> dict[str, Any]:
    """An operation as a client sees it, who never sends an assertion."""
    shown = {name: item for name, item in operation.items() if name not in ("security", _PERMISSION)}
    permission = operation.get(_PERMISSION)
    if path.encode() in PUBLIC:
        shown["security"] = []
    elif permission == LOGIN:
        shown["security"] = _security(takes_keys=False)
    elif permission not in (None, ANY_USER):
        shown["security"] = _security(permission)
        shown["description"] = f"{operation.get('description', '')} Takes the scope `{permission}`.".lstrip()
    return shown


def _security(*scopes: str, takes_keys: bool = True) -> list[dict[str, list[str]]]:
    """A token, or a signature; each with these scopes."""
    signed = {name: list(scopes) for name in _SIGNED}
    return [{"accessToken": list(scopes)}] + ([signed] if takes_keys else [])


def _own_paths() -> dict[str, Any]:
    def health(summary: str) -> dict[str, Any]:
        return {
            "get": {
                "tags": ["gateway"],
                "summary": summary,
                "security": [],
                "responses": {"200": {"description": "Yes"}, "503": {"description": "No, and why"}},
            }
        }

    return {
        "/health/live": health("Whether the gateway lives"),
        "/health/ready": health("Whether the gateway can work"),
        "/ws": {
            "get": {
                "tags": ["gateway"],
                "summary": "The socket: market_data, order_updates, trades, portfolio, alerts",
                "description": 'Send `{"method":"subscribe","params":{"channel":"order_updates"},"req_id":1}`. '
                "Where no header can be sent, open it with `?ticket=` from `POST /api/v1/auth/ws-tickets`. "
                "A snapshot with `truncated: true` shows the newest 10,000 open orders or positions of an account: read the "
                "rest over HTTP, and keep of each object the highest `version`.",
                "security": _security(takes_keys=False),
                "responses": {
                    "101": {"description": "The connection is a WebSocket now"},
                    "401": {"description": "No valid access token"},
                },
            }
        },
    }
