"""Calls to the services behind the gateway, on kept connections. Reading is tried once more where nobody answered; of
anything else there is a second try only where the first has reached nobody, since it may have been done."""

from collections.abc import Mapping
from dataclasses import dataclass

from fleet_chassis.assertions import AssertionSigner
from fleet_chassis.instances import Instances
from fleet_chassis.problems import Problem, unavailable
from fleet_chassis.telemetry import traceparent
from fleet_contracts.partitioning import SLOTS, slot

from .answers import Answer
from .bodies import Body, Incoming
from .circuits import Circuit
from .connections import Connections, NotReached, Request
from .settings import GatewaySettings

SAFE_METHODS = frozenset({"GET", "HEAD"})
MAX_SLOTS_CACHED = 100_000


@dataclass(frozen=True, slots=True)
class _Replica:
    circuit: Circuit
    connections: Connections


class Upstream:
    """The services, found by name. One user's requests to a service go to one replica of it."""

    def __init__(self, settings: GatewaySettings, instances: Instances, signer: AssertionSigner) -> None:
        self._settings = settings
        self._instances = instances
        self._signer = signer
        self._slots: dict[str, int] = {}
        self._replicas: dict[str, _Replica] = {}

    def close(self) -> None:
        for replica in self._replicas.values():
            replica.connections.close()

    async def send(
        self,
        service: str,
        method: str,
        target: str,
        *,
        claims: Mapping[str, object] | None,
        request_id: str,
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
        timeout_s: float = float("inf"),
        streams: bool = False,
    ) -> Answer:
        """Forwards a request; `target` is path and query as they were sent, `claims` the user's, None for nobody's.
        With `streams` a long answer is told before it is whole.

        Raises Problem 503 when nothing can have been done, 504 when that cannot be known, and what a body raises that
        goes on as it comes.
        """
        lines = [f"Authorization: Bearer {self._signer.sign(service, claims)}", f"X-Request-ID: {request_id}"]
        if isinstance(body, Incoming):
            lines.append(body.framing)
        elif body or method not in SAFE_METHODS:
            lines.append(f"Content-Length: {len(body)}")
        parent = traceparent()
        if parent is not None:
            lines.append(f"traceparent: {parent}")
        if headers:
            lines += [f"{name}: {value}" for name, value in headers.items()]
        head = "\r\n".join(lines) + "\r\n"
        # The server takes nothing of the kind; if it came here all the same, it would be a request of its own.
        if not head.count("\n") == head.count("\r") == len(lines) or not target.isprintable() or " " in target:
            raise ValueError("neither target nor headers may have line ends in them")
        timeout_s = min(timeout_s, self._settings.gateway_upstream_timeout_s)
        request = Request(method, target, head, body, timeout_s, streams)
        own, other = self.replicas(service, claims)
        try:
            return await self._call(service, own, request)
        except Problem as problem:
            failure = problem.__cause__
            # Without a cause the breaker refused, or the body was refused on its way.
            has_left = not isinstance(failure, NotReached) and (failure is not None or problem.status != 503)
            # Any replica serves any user. What has waited its whole time for an answer does so once only.
            may_be_repeated = method in SAFE_METHODS and not isinstance(failure, TimeoutError)
            if not may_be_repeated and (has_left or own == other):
                raise
        return await self._call(service, other, request)

    async def _call(self, service: str, url: str, request: Request) -> Answer:
        replica = self._replicas.get(url) or self._new_replica(service, url)
        replica.circuit.enter()
        answered: bool | None = None
        try:
            answer = await replica.connections.ask(request)
            answered = True
            return answer
        except (OSError, TimeoutError) as error:
            answered = False
            if request.method in SAFE_METHODS or isinstance(error, NotReached):
                raise _unreachable(service) from error
            raise Problem(
                504, "outcome_unknown", f"The service {service} did not answer; what was asked may have been done."
            ) from error
        finally:
            replica.circuit.leave(answered=answered)

    def _new_replica(self, service: str, url: str) -> _Replica:
        settings = self._settings
        connections = Connections(
            url,
            most=settings.gateway_upstream_connections,
            connect_timeout_s=settings.gateway_connect_timeout_s,
        )
        replica = self._replicas[url] = _Replica(Circuit(service, settings.gateway_upstream_waiting), connections)
        return replica

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
