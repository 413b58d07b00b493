"""Calls to the instances of the fleet, all at once and each with a short deadline: none waits for another's silence."""

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from fleet_chassis.calls import Answer, CallFailed, ServiceClient
from fleet_chassis.instances import Instance
from fleet_contracts.rest import Behind

LOOK_S = 1.0
"""So long a look at the fleet is good for whoever asks."""
_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """An instance as it told itself: readiness with the reason of each failed check, and what waits in it. `behind` None: it
    does not tell."""

    service: str
    ordinal: int
    is_ready: bool
    checks: dict[str, str]
    outbox: int | None
    parked: int | None
    behind: Mapping[str, Behind | None] | None
    ms: int


@dataclass(frozen=True, slots=True)
class GroupLag:
    """How far a consumer group is behind. `group` None: nobody of the service tells which it has; the others None: what some
    replica would have to tell is missing."""

    service: str
    group: str | None
    records: int | None
    seconds: float | None


def lag_of(instances: Sequence[InstanceStatus]) -> list[GroupLag]:
    """By service and group, the replicas together."""
    replicas: dict[str, list[Mapping[str, Behind | None] | None]] = {}
    for instance in instances:
        replicas.setdefault(instance.service, []).append(instance.behind)
    return [one for service, told in sorted(replicas.items()) for one in _lag_of_service(service, told)]


def _lag_of_service(service: str, replicas: Sequence[Mapping[str, Behind | None] | None]) -> Iterator[GroupLag]:
    is_whole = None not in replicas
    groups = sorted({group for told in replicas if told is not None for group in told})
    if not groups and not is_whole:
        yield GroupLag(service, None, None, None)
    for group in groups:
        parts = [told[group] for told in replicas if told is not None and group in told]
        known = [part for part in parts if part is not None]
        if is_whole and len(known) == len(parts):
            ages = [part.seconds for part in known]
            oldest = None if None in ages else max(age for age in ages if age is not None)
            yield GroupLag(service, group, sum(part.records for part in known), oldest)
        else:
            yield GroupLag(service, group, None, None)


class _Readiness(msgspec.Struct):
    ready: bool
    checks: dict[str, str]


class _Rest(msgspec.Struct):
    """As it is, that of a process that has no part in rest."""

    outbox: int | None = None
    parked: list[Any] | None = None
    behind: dict[str, Behind | None] = msgspec.field(default_factory=dict)


class Fleet:
    """The other processes, as far as core-engine calls them."""

    def __init__(self, client: ServiceClient, *, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._look: asyncio.Task[Sequence[InstanceStatus]] | None = None
        self._looked_at = 0.0

    async def status(self) -> Sequence[InstanceStatus]:
        """How every instance of the fleet is, core-engine among them: one look a second, however many ask."""
        if self._look is None or time.monotonic() - self._looked_at > LOOK_S:
            self._looked_at = time.monotonic()
            self._look = asyncio.create_task(self._look_at_all())
        return await asyncio.shield(self._look)

    async def _look_at_all(self) -> Sequence[InstanceStatus]:
        return await asyncio.gather(*(self._status(instance) for instance in self._client.instances.all()))

    async def _status(self, instance: Instance) -> InstanceStatus:
        started = time.perf_counter()
        rest_call = asyncio.create_task(self._rest(instance))
        try:
            answer = await self._call(instance, "GET", "/health/ready")
            readiness = answer.decode(_Readiness)
        except CallFailed as error:
            readiness = _Readiness(False, {"call": str(error)})
        except msgspec.MsgspecError:
            readiness = _Readiness(False, {"call": f"the answer was not understood, status {answer.status}"})
        rest = await rest_call
        return InstanceStatus(
            service=instance.name,
            ordinal=instance.ordinal,
            is_ready=readiness.ready,
            checks=readiness.checks,
            outbox=None if rest is None else rest.outbox,
            parked=None if rest is None or rest.parked is None else len(rest.parked),
            behind=None if rest is None else rest.behind,
            ms=_ms(started),
        )

    async def _rest(self, instance: Instance) -> _Rest | None:
        """None where none was told in time, or not so that it is understood: by another version."""
        try:
            answer = await self._call(instance, "GET", "/internal/rest")
            if answer.status == _NOT_FOUND:  # a gateway has no outbox and works nothing off
                return _Rest()
            return answer.decode(_Rest) if answer.is_success else None
        except (CallFailed, msgspec.MsgspecError):
            return None

    async def _call(self, instance: Instance, method: str, path: str) -> Answer:
        return await self._client.request(instance.name, instance.ordinal, method, path, timeout_s=self._timeout_s)


def _ms(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
