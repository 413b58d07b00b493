"""Calls to the services behind the gateway, on kept connections. Reading is tried once more where nobody answered; of
anything else there is a second try only where the first has reached nobody, since it may have been done."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp.client_exceptions import ClientConnectionResetError
from fleet_chassis.assertions import AssertionSigner
from fleet_chassis.instances import Instances
from fleet_chassis.problems import Problem, unavailable
from fleet_chassis.telemetry import traceparent
from fleet_contracts.partitioning import SLOTS, slot
from multidict import CIMultiDict
from yarl import URL

from .circuits import Circuit
from .settings import GatewaySettings

IDLE_S = 30
"""Connections are dropped before the services drop them (75 s), so that none is closed just when it is used."""
SAFE_METHODS = frozenset({"GET", "HEAD"})
_REACHED_NOBODY = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
MAX_SLOTS_CACHED = 100_000

_DROPPED = frozenset(
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

NOTHING_MAY_LOAD = b"default-src 'none'; frame-ancestors 'none'"
"""The policy of what is no page: shown in a browser all the same, it does nothing."""

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """`is_kept` says that the same bytes are answered again and again; `policy` is the Content-Security-Policy."""

    status: int
    headers: Headers
    body: bytes
    is_kept: bool = False
    policy: bytes = NOTHING_MAY_LOAD


class Upstream:
    """The services, found by name. One user's requests to a service go to one replica of it."""

    def __init__(
        self, settings: GatewaySettings, instances: Instances, signer: AssertionSigner, session: aiohttp.ClientSession
    ) -> None:
        self._instances = instances
        self._signer = signer
        self._session = session
        self._timeout = aiohttp.ClientTimeout(
            total=settings.gateway_upstream_timeout_s, sock_connect=settings.gateway_connect_timeout_s
        )
        self._slots: dict[str, int] = {}
        self._circuits: dict[str, Circuit] = {}
        self._most_waiting = settings.gateway_upstream_waiting

    async def send(
        self,
        service: str,
        method: str,
        target: str,
        *,
        claims: Mapping[str, object] | None,
        request_id: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Forwards a request; `target` is path and query as they were sent, `claims` the user's, None for nobody's.

        Raises Problem 503 when nothing can have been done, 504 when that cannot be known.
        """
        sent: CIMultiDict[str] = CIMultiDict(headers or {})
        sent["Authorization"] = "Bearer " + self._signer.sign(service, claims)
        sent["X-Request-ID"] = request_id
        parent = traceparent()
        if parent is not None:
            sent["traceparent"] = parent
        own, other = self.replicas(service, claims)
        try:
            return await self._call(service, own, method, target, headers=sent, body=body)
        except Problem as problem:
            failure = problem.__cause__  # none: the breaker refused
            has_left = failure is not None and not isinstance(failure, _REACHED_NOBODY)
            # Any replica serves any user. What has waited its whole time for an answer does so once only.
            may_be_repeated = method in SAFE_METHODS and not isinstance(failure, TimeoutError)
            if not may_be_repeated and (has_left or own == other):
                raise
        return await self._call(service, other, method, target, headers=sent, body=body)

    async def _call(
        self, service: str, replica: str, method: str, target: str, *, headers: CIMultiDict[str], body: bytes
    ) -> Answer:
        circuit = self._circuits.get(replica)
        if circuit is None:
            circuit = self._circuits[replica] = Circuit(service, self._most_waiting)
        circuit.enter()
        answered: bool | None = None
        try:
            async with self._session.request(
                method,
                URL(replica + target, encoded=True),
                headers=headers,
                data=body or None,
                allow_redirects=False,
                timeout=self._timeout,
            ) as response:
                content = await response.read()
                answered = True
                kept = [(name.lower(), value) for name, value in response.raw_headers]
                return Answer(response.status, [pair for pair in kept if pair[0] not in _DROPPED], content)
        except (aiohttp.ClientError, ClientConnectionResetError, TimeoutError, OSError) as error:
            answered = False
            if method in SAFE_METHODS or isinstance(error, _REACHED_NOBODY):
                raise _unreachable(service) from error
            raise Problem(
                504, "outcome_unknown", f"The service {service} did not answer; what was asked may have been done."
            ) from error
        finally:
            circuit.leave(answered=answered)

    def replicas(self, service: str, claims: Mapping[str, object] | None) -> tuple[str, str]:
        """The URL of the replica that serves this user, and of the next one. Raises Problem 503."""
        instances = self._instances.of(service)
        if not instances:
            raise _unreachable(service)
        at = 0 if len(instances) == 1 or claims is None else self._slot(str(claims["sub"])) * len(instances) // SLOTS
        return instances[at].url, instances[(at + 1) % len(instances)].url

    def _slot(self, user: str) -> int:
        found = self._slots.get(user)
        if found is None:
            if len(self._slots) >= MAX_SLOTS_CACHED:
                self._slots.clear()
            found = self._slots[user] = slot(user)
        return found


def _unreachable(service: str) -> Problem:
    return unavailable(f"The service {service} cannot be reached; nothing was done.")


def new_session(settings: GatewaySettings) -> aiohttp.ClientSession:
    """A client that adds, follows, decodes, repeats and remembers nothing by itself."""
    session = aiohttp.ClientSession(
        # No limit over all: a service that hangs would take the connections of the others.
        connector=aiohttp.TCPConnector(
            limit=0, limit_per_host=settings.gateway_upstream_connections, keepalive_timeout=IDLE_S
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        loop=asyncio.get_running_loop(),
    )
    # aiohttp sends a PUT and a DELETE again when a kept connection breaks: it may have been done.
    session._retry_connection = False
    return session
