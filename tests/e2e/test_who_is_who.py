"""Inside the fleet: who may call whom over HTTP, and what of the state folder others on the machine may read."""

import os
import re
import stat
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import get_type_hints
from unittest.mock import patch
from uuid import uuid4

import aiohttp
import pytest
from fastapi.routing import iter_route_contexts
from fleet_chassis.assertions import AssertionSigner
from fleet_launcher.admin import described_endpoints, described_feed
from fleet_launcher.environment import service_environment
from fleet_launcher.keys import COMMAND_KEY
from fleet_launcher.places import StateDir
from fleet_launcher.services import SERVICES, Service
from fleet_routes import PUBLIC_ROUTES
from whole_fleet import User, WholeFleet

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

# The gateway serves people only: what is internal is not there (test_edge).
INSIDE = [service for service in SERVICES if service.name != "gateway"]


def internal_routes(state: StateDir, service: Service) -> Iterator[tuple[str, str]]:
    """Method and path of each, out of the application that the service's process runs."""
    create_app = import_module(f"{service.package}.app").create_app
    settings = get_type_hints(create_app)["settings"]
    endpoints = described_endpoints(state)
    with patch.dict(os.environ, service_environment(state, endpoints, service, feed=described_feed(state))):
        app = create_app(settings())
    for route in iter_route_contexts(app.routes):
        if route.path and route.path.startswith("/internal"):
            for method in route.methods or ():
                yield method, _filled_in(route.path)


def _filled_in(path: str) -> str:
    return re.sub(r"\{[^}]+\}", str(uuid4()), path)


@pytest.mark.parametrize("service", INSIDE, ids=lambda service: service.name)
async def test_routes_take_only_a_services_assertion_made_for_them(
    fleet: WholeFleet, user: User, service: Service
) -> None:
    """Internal or public, by the service itself: what has come round the gateway gets nothing."""
    routes = list(internal_routes(fleet.state, service))
    assert ("GET", "/internal/rest") in routes
    routes += [(route.method, _filled_in(route.path)) for name, route in PUBLIC_ROUTES if name == service.name]
    elsewhere = next(other.name for other in INSIDE if other is not service)
    signer = AssertionSigner("gateway", fleet.state.private_key("gateway"))
    # Signed by a service, but in another's name.
    liar = AssertionSigner("gateway", fleet.state.private_key(elsewhere))
    refused = {
        "nothing": {},
        "made for another service": {"Authorization": f"Bearer {signer.sign(elsewhere)}"},
        "in another's name": {"Authorization": f"Bearer {liar.sign(service.name)}"},
        "a user's token": await user.client._authorization(),
    }
    async with aiohttp.ClientSession(fleet.instance_url(service.name)) as session:
        for what, headers in refused.items():
            for method, path in routes:
                async with session.request(method, path, headers=headers) as response:
                    assert response.status == 401, f"{method} {path} with {what}"
        taken = AssertionSigner(COMMAND_KEY, fleet.state.private_key(COMMAND_KEY)).sign(service.name)
        async with session.get("/internal/rest", headers={"Authorization": f"Bearer {taken}"}) as response:
            assert response.status == 200


def test_nobody_else_on_the_machine_can_read_what_is_secret(fleet: WholeFleet) -> None:
    """So neither can a strategy that is run as another user."""
    state = fleet.state
    told = re.findall(r"[\w-]{24,}", (state.path / "secrets.json").read_text())
    assert len(told) > 2 * len(INSIDE)  # a database's, Kafka's …
    for file in _readable_by_others(state.path):
        assert file == state.instances_json or file.suffix == ".lock", file
        assert not any(secret in file.read_text() for secret in told)


def _readable_by_others(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_symlink() or not stat.S_IMODE(path.stat().st_mode) & 0o077:
            continue
        if path.is_dir():
            yield from _readable_by_others(path)
        else:
            yield path
