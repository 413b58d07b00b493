"""Direct calls to gates, all at once and each with a short deadline: none waits for another's silence."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from fleet_chassis.calls import Answer, CallFailed, ServiceClient
from fleet_chassis.instances import Instance


class InstanceTold(msgspec.Struct, frozen=True):
    """`ok`: the instance obeys and keeps it; `unreachable` and `error`: it hears it by Kafka, when it can."""

    instance: str
    result: Literal["ok", "unreachable", "error"]
    ms: int
    detail: str | None


class Gates:
    """The instances of some services, each of which is told besides the record on Kafka that may be late."""

    def __init__(self, client: ServiceClient, services: Sequence[str], *, timeout_s: float) -> None:
        self._client = client
        self._services = services
        self._timeout_s = timeout_s

    def instances(self) -> list[Instance]:
        return [instance for service in self._services for instance in self._client.instances.of(service)]

    async def tell(self, path: str, body: Any) -> list[tuple[InstanceTold, Answer | None]]:
        """What became of it at each, with the answer of who took it."""
        return list(await asyncio.gather(*(self._tell(instance, path, body) for instance in self.instances())))

    async def _tell(self, instance: Instance, path: str, body: Any) -> tuple[InstanceTold, Answer | None]:
        started = time.perf_counter()
        taken: Answer | None = None
        result: Literal["ok", "unreachable", "error"] = "ok"
        detail: str | None = None
        try:
            answer = await self._client.request(
                instance.name, instance.ordinal, "POST", path, json=body, timeout_s=self._timeout_s
            )
            if answer.is_success:
                taken = answer
            else:
                result, detail = "error", f"status {answer.status}"
        except CallFailed as error:
            result, detail = "unreachable", str(error)
        ms = round((time.perf_counter() - started) * 1000)
        return InstanceTold(f"{instance.name}-{instance.ordinal}", result, ms, detail), taken
