"""Calls from service to service: signed, with a deadline, traced, and never repeated by themselves."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import aiohttp
import msgspec
from fleet_contracts.encoding import encode_json
from yarl import URL

from .assertions import AssertionSigner
from .instances import Instances
from .requests import current_request_id
from .telemetry import traceparent

MAX_CONNECTIONS = 200
KEEP_ALIVE_S = 30
"""Shorter than the servers keep idle connections (server.KEEP_ALIVE_S), so that none is used while it is closed."""

T = TypeVar("T")


class CallFailed(ConnectionError):
    """No answer from the instance: not reached, cut off, or too late. What was asked may have been done."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an instance answered, whatever the status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    def decode(self, shape: type[T]) -> T:
        """The body as this type (a Struct, a dict …)."""
        return msgspec.json.decode(self.body, type=shape)


class ServiceClient:
    """`async with ServiceClient(signer, instances) as client: await client.request("trading", 0, "GET", path)`"""

    def __init__(self, signer: AssertionSigner, instances: Instances) -> None:
        self.signer = signer
        self.instances = instances
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS, keepalive_timeout=KEEP_ALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("User-Agent", "Accept-Encoding"),
            auto_decompress=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def request(
        self,
        service: str,
        ordinal: int,
        method: str,
        path: str,
        *,
        json: Any = None,
        user_claims: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 2.0,
    ) -> Answer:
        """Calls one instance; `path` is sent as it is (encoded, with its query). Raises CallFailed without an answer.

        `user_claims` are sub, roles, scopes, sid of the user this is done for, and any other claims.
        """
        if self._session is None:
            raise CallFailed("the client is not open")
        url = next((item.url for item in self.instances.of(service) if item.ordinal == ordinal), None)
        if url is None:
            raise CallFailed(f"{service}-{ordinal} is not in the list of instances")
        sent = self._headers(service, user_claims) | dict(headers or {})
        body = None
        if json is not None:
            body = encode_json(json)
            sent["Content-Type"] = "application/json"
        try:
            async with self._session.request(
                method,
                URL(url + path, encoded=True),
                data=body,
                headers=sent,
                timeout=aiohttp.ClientTimeout(total=timeout_s),
                allow_redirects=False,
            ) as response:
                return Answer(response.status, response.headers, await response.read())
        except TimeoutError as error:
            raise CallFailed(f"{service}-{ordinal} did not answer within {timeout_s} s") from error
        except aiohttp.ClientError as error:
            raise CallFailed(f"{service}-{ordinal}: {type(error).__name__}") from error

    def _headers(self, service: str, user_claims: Mapping[str, object] | None) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self.signer.sign(service, user_claims)}"}
        request_id = current_request_id()
        if request_id is not None:
            headers["X-Request-ID"] = request_id
        parent = traceparent()
        if parent is not None:
            headers["traceparent"] = parent
        return headers
