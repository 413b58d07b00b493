"""Calls to the services' /internal/* as `cli`, whose key lies in the state folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fleet_bus.rest import RestVerdict, asking, observing
from fleet_chassis.assertions import AssertionSigner
from fleet_chassis.calls import CallFailed, ServiceClient
from fleet_chassis.instances import Instances
from fleet_launcher.control import description
from fleet_launcher.environment import topic_prefix
from fleet_launcher.keys import COMMAND_KEY
from fleet_launcher.places import StateDir
from fleet_launcher.services import SERVICES

from fleet_cli.console import fail


@asynccontextmanager
async def service_client(state: StateDir) -> AsyncIterator[ServiceClient]:
    """A client that signs as `cli`. LaunchFailure when no fleet runs there."""
    description(state)
    signer = AssertionSigner(COMMAND_KEY, state.private_key(COMMAND_KEY))
    async with ServiceClient(signer, Instances(state.instances_json)) as client:
        yield client


async def parked_keys(state: StateDir) -> list[tuple[str, dict[str, Any]]]:
    """Replicas share their database, so the first of each service tells."""
    rows: list[tuple[str, dict[str, Any]]] = []
    async with service_client(state) as client:
        for name in (known.name for known in SERVICES if known.has_database):
            answer = await _call(client, name, "GET", "/internal/parked")
            rows += [(name, row) for row in answer["data"]]
    return rows


async def release(state: StateDir, name: str, what: str, body: dict[str, str]) -> bool:
    async with service_client(state) as client:
        answer = await _call(client, name, "POST", f"/internal/parked/{what}", body)
    return bool(answer["is_released"])


async def _call(client: ServiceClient, name: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
    try:
        answer = await client.request(name, 0, method, path, json=body, timeout_s=30.0)
    except CallFailed as failed:
        fail(str(failed), "See `fleet status`")
    content: dict[str, Any] = answer.decode(dict)
    if not answer.is_success:
        fail(f"{name}: {content.get('detail') or content.get('title')}")
    return content


async def observe_rest(state: StateDir, timeout_s: float) -> RestVerdict:
    bootstrap = description(state)["kafka"]["bootstrap"]
    async with (
        service_client(state) as client,
        observing(
            bootstrap, "fleet-rest", asking(client), client.instances.all, topic_prefix=topic_prefix()
        ) as observer,
    ):
        return await observer.wait_at_rest(timeout_s)
