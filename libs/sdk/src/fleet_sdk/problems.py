"""What can go wrong between a client and the API, as types."""

from collections.abc import Mapping
from typing import Any


class ApiError(Exception):
    """The API answered with a problem (RFC 9457). Nothing was done, unless `code` is `outcome_unknown`."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        request_id: str | None,
        *,
        errors: tuple[Mapping[str, Any], ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status, self.code, self.detail, self.request_id = status, code, detail, request_id
        self.errors, self.retry_after_s = errors, retry_after_s


class Unreachable(Exception):
    """No connection to the API: nothing was sent."""


class CodeNeeded(Exception):
    """The password was right, and the user has a second factor: `login_with_code(mfa_token, code)` within 5 minutes."""

    def __init__(self, mfa_token: str) -> None:
        super().__init__("the login needs a code of the second factor")
        self.mfa_token = mfa_token


class OutcomeUnknown(Exception):
    """The request was sent and the API's answer did not come. Ask (orders by `client_order_id`), or send the same again."""


class SocketClosed(Exception):
    """The socket is closed, by the server's `code` (4401 expired or revoked, 1013 too slow, 1008 flood) or lost (1006).

    Connect again and take the snapshots: nothing is resumed.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"socket closed with {code}: {reason}")
        self.code, self.reason = code, reason


def problem(status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> ApiError:
    """An ApiError of a problem document."""
    headers = headers or {}
    retry_after = headers.get("Retry-After", "")
    return ApiError(
        status=int(body.get("status", status)),
        code=str(body.get("code", "unknown")),
        detail=str(body.get("detail") or body.get("title") or ""),
        request_id=body.get("request_id") or headers.get("X-Request-ID"),
        errors=tuple(body.get("errors") or ()),
        retry_after_s=float(retry_after) if retry_after.isdigit() else None,
    )
