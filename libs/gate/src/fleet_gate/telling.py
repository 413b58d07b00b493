"""Direct calls to gates, all at once and each with a short deadline: none waits for another's silence."""

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
from fleet_chassis.calls import Answer, CallFailed, ServiceClient
from fleet_chassis.instances import Instance
from fleet_contracts.core_engine import TradingStateChanged

from .gate import GATES
from .states import States

_STATE = "/internal/state"


class InstanceTold(msgspec.Struct, frozen=True):
    """`ok`: the instance obeys and keeps it; `unreachable` and `error`: it hears it by Kafka, when it can."""

    instance: str
    result: Literal["ok", "unreachable", "error"]
    ms: int
    detail: str | None


@dataclass(frozen=True, slots=True)
class StateTold:
    """What became of telling a state. `ok`: the instance obeys this one or a later one, `other`, and keeps it.

    `is_known`: whether there is such a target, where the instance can tell."""

    instance: InstanceTold
    other: TradingStateChanged | None = None
    is_known: bool | None = None


class _Known(msgspec.Struct, frozen=True):
    is_known: bool | None = None


class Gates:
    """The instances of some services, each of which is told besides the record on Kafka that may be late."""

    def __init__(self, client: ServiceClient, services: Sequence[str], *, timeout_s: float) -> None:
        self._client = client
        self._services = services
        self._timeout_s = timeout_s

    async def tell(self, path: str, body: Any) -> list[tuple[InstanceTold, Answer | None]]:
        """What became of it at each, with the answer of who took it."""
        return await self._all("POST", path, body)

    async def _all(self, method: str, path: str, body: Any = None) -> list[tuple[InstanceTold, Answer | None]]:
        instances = [instance for service in self._services for instance in self._client.instances.of(service)]
        return list(await asyncio.gather(*(self._call(instance, method, path, body) for instance in instances)))

    async def _call(self, instance: Instance, method: str, path: str, body: Any) -> tuple[InstanceTold, Answer | None]:
        started = time.perf_counter()
        taken: Answer | None = None
        result: Literal["ok", "unreachable", "error"] = "ok"
        detail: str | None = None
        try:
            answer = await self._client.request(
                instance.name, instance.ordinal, method, path, json=body, timeout_s=self._timeout_s
            )
            if answer.is_success:
                taken = answer
            else:
                result, detail = "error", f"status {answer.status}"
        except CallFailed as error:
            result, detail = "unreachable", str(error)
        ms = round((time.perf_counter() - started) * 1000)
        return InstanceTold(f"{instance.name}-{instance.ordinal}", result, ms, detail), taken


class StateGates(Gates):
    """Every instance that obeys a trading state, asked and told it directly."""

    def __init__(self, client: ServiceClient, *, timeout_s: float) -> None:
        super().__init__(client, GATES, timeout_s=timeout_s)

    async def obeyed(self) -> Sequence[TradingStateChanged]:
        """The newest state of each scope and target that any of them obeys, of those that answer."""
        states = States()
        for _, answer in await self._all("GET", _STATE):
            # Who answers something else is of another version, and asked again.
            with contextlib.suppress(msgspec.MsgspecError):
                for change in () if answer is None else answer.decode(list[TradingStateChanged]):
                    states.obey(change)
        return states.all()

    async def tell_state(self, change: TradingStateChanged) -> list[StateTold]:
        """Answered by each once it is kept there."""
        return [_obeying(told, answer, change) for told, answer in await self.tell(_STATE, change)]


def _obeying(told: InstanceTold, answer: Answer | None, change: TradingStateChanged) -> StateTold:
    if answer is None:
        return StateTold(told)
    try:
        held, is_known = answer.decode(TradingStateChanged), answer.decode(_Known).is_known
    except msgspec.MsgspecError:
        return StateTold(msgspec.structs.replace(told, result="error", detail="the answer was not understood"))
    if (held.epoch, held.version) < (change.epoch, change.version):
        detail = f"obeys version {held.version} of epoch {held.epoch}"
        return StateTold(msgspec.structs.replace(told, result="error", detail=detail))
    return StateTold(told, None if held == change else held, is_known)
