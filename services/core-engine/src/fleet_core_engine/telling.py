"""Calls to the instances of the fleet, all at once and each with a short deadline: none waits for another's silence."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from fleet_chassis.calls import Answer, CallFailed, ServiceClient
from fleet_chassis.instances import Instance
from fleet_chassis.logging import get_logger
from fleet_contracts.core_engine import TradingStateChanged
from fleet_gate import GATES, States

log = get_logger("fleet_core_engine")

Result = Literal["ok", "unreachable", "error"]


@dataclass(frozen=True, slots=True)
class Told:
    """What became of a direct call. `ok`: the instance obeys this state or a later one, `other`, and keeps it."""

    instance: str
    result: Result
    ms: int
    detail: str | None
    other: TradingStateChanged | None = None


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """An instance as it told itself: readiness with the reason of each failed check, and what waits in it."""

    service: str
    ordinal: int
    is_ready: bool
    checks: dict[str, str]
    outbox: int | None
    parked: int | None
    ms: int


class _Readiness(msgspec.Struct):
    ready: bool
    checks: dict[str, str]


class _Rest(msgspec.Struct):
    outbox: int
    parked: list[Any]


class Fleet:
    """The other processes, as far as core-engine calls them."""

    def __init__(self, client: ServiceClient, *, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def tell(self, change: TradingStateChanged) -> Sequence[Told]:
        """Tells every instance that is a gate, besides the record on Kafka that may be late."""
        return await asyncio.gather(*(self._tell(instance, change) for instance in self._gates()))

    async def obeyed(self) -> Sequence[TradingStateChanged]:
        """The newest state of each scope and target that any gate obeys, of those that answer."""
        states = States()
        for told in await asyncio.gather(*(self._obeyed(instance) for instance in self._gates())):
            for change in told:
                states.obey(change)
        return states.all()

    def _gates(self) -> Sequence[Instance]:
        return [instance for service in GATES for instance in self._client.instances.of(service)]

    async def _obeyed(self, instance: Instance) -> Sequence[TradingStateChanged]:
        try:
            answer = await self._call(instance, "GET", "/internal/state")
            return answer.decode(list[TradingStateChanged]) if answer.is_success else ()
        except (CallFailed, msgspec.MsgspecError) as error:
            log.info("gate_not_asked", instance=f"{instance.name}-{instance.ordinal}", error=str(error))
            return ()

    async def status(self) -> Sequence[InstanceStatus]:
        """How every instance of the fleet is, core-engine among them."""
        return await asyncio.gather(*(self._status(instance) for instance in self._client.instances.all()))

    async def _tell(self, instance: Instance, change: TradingStateChanged) -> Told:
        started = time.perf_counter()
        result: Result
        detail: str | None = None
        other: TradingStateChanged | None = None
        try:
            answer = await self._call(instance, "POST", "/internal/state", change)
            result, detail, other = _outcome(answer, change)
        except CallFailed as error:
            result, detail = "unreachable", str(error)
        return Told(f"{instance.name}-{instance.ordinal}", result, _ms(started), detail, other)

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
            parked=None if rest is None else len(rest.parked),
            ms=_ms(started),
        )

    async def _rest(self, instance: Instance) -> _Rest | None:
        """None where there is none (a gateway has no outbox) or none was told in time."""
        try:
            answer = await self._call(instance, "GET", "/internal/rest")
        except CallFailed:
            return None
        return answer.decode(_Rest) if answer.is_success else None

    async def _call(self, instance: Instance, method: str, path: str, json: Any = None) -> Answer:
        return await self._client.request(
            instance.name, instance.ordinal, method, path, json=json, timeout_s=self._timeout_s
        )


def _outcome(answer: Answer, change: TradingStateChanged) -> tuple[Result, str | None, TradingStateChanged | None]:
    if not answer.is_success:
        return "error", f"status {answer.status}", None
    obeyed = answer.decode(TradingStateChanged)
    held, told = (obeyed.epoch, obeyed.version), (change.epoch, change.version)
    if held < told:
        return "error", f"obeys version {obeyed.version} of epoch {obeyed.epoch}", None
    return "ok", None, None if obeyed == change else obeyed


def _ms(started: float) -> int:
    return round((time.perf_counter() - started) * 1000)
