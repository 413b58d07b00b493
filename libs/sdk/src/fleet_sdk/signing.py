"""Requests signed with an API key, for programs that do not log in."""

import hashlib
import hmac
import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class ApiKey:
    """What `POST /auth/api-keys` answered. Keep the secret where nobody else reads it."""

    key: str
    secret: str = field(repr=False)
    _last_ms: int = field(default=0, repr=False)

    def headers(self, method: str, path_with_query: str, body: bytes = b"") -> dict[str, str]:
        """Of one request, to be sent within 5 s: `path_with_query` as it goes over the wire, `/api/v1/orders?limit=1`.

        A signature is taken once, so that two equal requests get two timestamps: the later one is at least 1 ms later.
        """
        self._last_ms = max(time.time_ns() // 1_000_000, self._last_ms + 1)
        timestamp = str(self._last_ms)
        said = timestamp + method + path_with_query + hashlib.sha256(body).hexdigest()
        signature = hmac.digest(self.secret.encode(), said.encode(), "sha256").hex()
        return {"X-API-Key": self.key, "X-Timestamp": timestamp, "X-Signature": signature}
