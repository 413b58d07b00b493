"""Every route of every service, as the services declare them: what tests of the whole interface are generated from."""

from pathlib import Path
from runpy import run_path

from fleet_chassis.permissions import RoutePermission
from fleet_gateway.routes import PREFIX

ROUTES: list[tuple[str, RoutePermission]] = list(
    run_path(str(Path(__file__).resolve().parents[2] / "scripts" / "permissions.py"))["routes"]()
)
PUBLIC_ROUTES = [pair for pair in ROUTES if pair[1].path.startswith(PREFIX.decode())]
"""Those that people reach through the gateway, with the service that answers."""
