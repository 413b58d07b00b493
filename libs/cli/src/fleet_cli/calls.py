"""Calls to the services' /internal/* as `cli`, whose key lies in the state folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

from fleet_bus.kafka import errors
from fleet_bus.rest import RestVerdict, asking, observing
from fleet_chassis.assertions import AssertionSigner
from fleet_chassis.calls import Answer, CallFailed, ServiceClient
from fleet_chassis.instances import Instances
from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.rest import RestPart
from fleet_contracts.vocabulary import StateScope, TradingStateWord
from fleet_gate import StateGates, StateTold
from fleet_launcher.admin import described_endpoints
from fleet_launcher.control import description
from fleet_launcher.environment import kafka_url, topic_prefix
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


async def parked_keys(state: StateDir) -> tuple[list[tuple[str, dict[str, Any]]], list[str]]:
    """What each service has set aside, and why some did not tell. Replicas share their database: the first tells."""
    rows: list[tuple[str, dict[str, Any]]] = []
    silent: list[str] = []
    async with service_client(state) as client:
        for name in (known.name for known in SERVICES if known.has_database):
            try:
                answer = await client.request(name, 0, "GET", "/internal/parked", timeout_s=_TIMEOUT_S)
            except CallFailed as failed:
                silent.append(str(failed))
                continue
            if not answer.is_success:
                silent.append(_problem(name, answer))
                continue
            rows += [(name, row) for row in answer.decode(dict)["data"]]
    return rows, silent


async def answer_of(
    state: StateDir,
    name: str,
    method: str,
    path: str,
    body: dict[str, str] | None = None,
    *,
    remedy: str = "See `fleet status`",
) -> Any:
    """What a service answers, as JSON. Its refusal ends the command; so does its silence, with `remedy`."""
    async with service_client(state) as client:
        try:
            answer = await client.request(name, 0, method, path, json=body, timeout_s=_TIMEOUT_S)
        except CallFailed as failed:
            fail(str(failed), remedy)
    if not answer.is_success:
        fail(_problem(name, answer))
    return answer.decode(object)


_TIMEOUT_S = 30.0
HALT_TIMEOUT_S = 0.5
"""For each of the two calls to a gate: who does not answer within it hears the state from core-engine, later."""


async def tell_state(
    state: StateDir, scope: StateScope, target: str | None, word: TradingStateWord, *, by: str, reason: str
) -> tuple[list[tuple[str, str]], bool]:
    """Tells every gate a state that is newer than all they obey; (instance, `ok` or what went wrong), and whether there is
    such a target as far as they can tell.

    Needs the files of the state folder and the gates themselves. core-engine takes the state over when it finds it."""
    async with service_client(state) as client:
        gates = StateGates(client, timeout_s=HALT_TIMEOUT_S)
        newest = max(((one.epoch, one.version) for one in await gates.obeyed()), default=(0, 0))
        change = TradingStateChanged(
            scope=scope,
            target=target,
            state=word,
            epoch=newest[0],
            version=newest[1] + 1,
            by=by,
            reason=reason,
            changed_at=datetime.now(UTC),
        )
        told = await gates.tell_state(change)
        known = {one.is_known for one in told}
        return [(one.instance.instance, _obeys(one, change)) for one in told], True in known or False not in known


def _obeys(told: StateTold, change: TradingStateChanged) -> str:
    if told.other is not None and told.other.state is not change.state:
        return f"obeys {told.other.state}, version {told.other.version}"
    return told.instance.detail or told.instance.result


def _problem(name: str, answer: Answer) -> str:
    content: dict[str, Any] = answer.decode(dict)
    return f"{name}: {content.get('detail') or content.get('title')}"


async def rest_parts(state: StateDir) -> dict[str, RestPart]:
    """What each process with a part in rest tells of itself, by its name; who does not answer is left out."""
    async with service_client(state) as client:
        ask = asking(client)
        with_part = {known.name for known in SERVICES if known.has_database}
        asked = [instance for instance in client.instances.all() if instance.name in with_part]
        told = await asyncio.gather(*(ask(instance, 0, -1) for instance in asked), return_exceptions=True)
    return {
        f"{instance.name}-{instance.ordinal}": part
        for instance, part in zip(asked, told, strict=True)
        if isinstance(part, RestPart)
    }


async def observe_rest(state: StateDir, timeout_s: float) -> RestVerdict:
    url = kafka_url(state, described_endpoints(state), COMMAND_KEY, topic_prefix())
    try:
        async with (
            service_client(state) as client,
            observing(url, "fleet-rest", asking(client), client.instances.all, topic_prefix=topic_prefix()) as observer,
        ):
            return await observer.wait_at_rest(timeout_s)
    except errors.KafkaError as error:
        fail(f"Kafka does not answer: {error}", "See `fleet status`")
