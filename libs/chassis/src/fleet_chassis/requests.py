"""The request that is being answered: its id, taken from X-Request-ID or made, echoed, and in every log line of it; and
where it comes from."""

import re
from contextvars import ContextVar

from starlette.types import Scope

from .ids import new_id_text

_KEY = "fleet.request_id"
_CURRENT: ContextVar[Scope | None] = ContextVar("fleet.request", default=None)
_ACCEPTED = re.compile(rb"[\x21-\x7e]{1,128}")


def take_request_id(scope: Scope) -> str:
    """The id that came with the request if it is printable and short, else a new one; kept in the scope.

    It is the current request of this task from now on, and of those that it starts."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ACCEPTED.fullmatch(value):
            request_id = str(value, "ascii")
            break
    else:
        request_id = new_id_text()
    scope[_KEY] = request_id
    _CURRENT.set(scope)
    return request_id


def request_id_of(scope: Scope) -> str:
    """The id of this request."""
    return str(scope.get(_KEY, ""))


def current_request_id() -> str | None:
    """The id of the request that is being answered here; None outside of any."""
    scope = _CURRENT.get()
    return None if scope is None else request_id_of(scope)


def current_client_address() -> str | None:
    """Where the gateway saw the client of this request (of IPv6 the /64); None outside of any, or where it saw no address."""
    scope = _CURRENT.get()
    for name, value in () if scope is None else scope["headers"]:
        if name == b"x-client-address" and value != b"unknown":
            return str(value, "latin-1")
    return None
