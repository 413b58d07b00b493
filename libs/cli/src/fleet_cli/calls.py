"""Calls to the services' /internal/* as `cli`, whose key lies in the state folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fleet_chassis.assertions import AssertionSigner
from fleet_chassis.calls import ServiceClient
from fleet_chassis.instances import Instances
from fleet_launcher.control import description
from fleet_launcher.keys import COMMAND_KEY
from fleet_launcher.places import StateDir


@asynccontextmanager
async def service_client(state: StateDir) -> AsyncIterator[ServiceClient]:
    """A client that signs as `cli`. LaunchFailure when no fleet runs there."""
    description(state)
    signer = AssertionSigner(COMMAND_KEY, state.private_key(COMMAND_KEY))
    async with ServiceClient(signer, Instances(state.instances_json)) as client:
        yield client
