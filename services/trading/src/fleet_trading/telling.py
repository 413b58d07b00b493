"""Direct calls to the last gates, all at once and each with a short deadline: none waits for another's silence."""

import asyncio
import time
from typing import Literal

import msgspec
from fleet_chassis.calls import CallFailed, ServiceClient
from fleet_chassis.instances import Instance
from fleet_contracts.trading import CancelAfterSet

LAST_GATES = ("execution", "exchange-connector", "matching-engine")
"""Who cancels by itself when an account's deadline has come."""


class InstanceTold(msgspec.Struct, frozen=True):
    """`ok`: the instance keeps it; `unreachable` and `error`: it hears it by Kafka, when it can."""

    instance: str
    result: Literal["ok", "unreachable", "error"]
    ms: int
    detail: str | None


class LastGates:
    def __init__(self, client: ServiceClient, *, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def tell(self, deadline: CancelAfterSet) -> list[InstanceTold]:
        """Tells every instance, besides the record on Kafka that may be late."""
        instances = (instance for service in LAST_GATES for instance in self._client.instances.of(service))
        return list(await asyncio.gather(*(self._tell(instance, deadline) for instance in instances)))

    async def _tell(self, instance: Instance, deadline: CancelAfterSet) -> InstanceTold:
        started = time.perf_counter()
        result: Literal["ok", "unreachable", "error"] = "ok"
        detail: str | None = None
        try:
            answer = await self._client.request(
                instance.name,
                instance.ordinal,
                "POST",
                "/internal/cancel-after",
                json=deadline,
                timeout_s=self._timeout_s,
            )
            if not answer.is_success:
                result, detail = "error", f"status {answer.status}"
        except CallFailed as error:
            result, detail = "unreachable", str(error)
        ms = round((time.perf_counter() - started) * 1000)
        return InstanceTold(f"{instance.name}-{instance.ordinal}", result, ms, detail)
