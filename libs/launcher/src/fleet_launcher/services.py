"""The services of the fleet as the launcher sees them: what to run, in which order, with which database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fleet_launcher.places import CHECKOUT


@dataclass(frozen=True)
class Service:
    """`name` is folder, database and role; `uses_redis`: it is given Valkey's URL."""

    name: str
    has_database: bool = True
    has_gate: bool = False
    uses_redis: bool = False
    fixed_port: int | None = None

    @property
    def package(self) -> str:
        return "fleet_" + self.name.replace("-", "_")

    @property
    def settings_prefix(self) -> str:
        """What its own settings begin with; they may be secrets, so no other service is given them."""
        return f"FLEET_{self.name.upper().replace('-', '_')}_"

    def migration_folders(self) -> list[Path]:
        """In the order in which they are applied: the bus's tables, the gate's, the service's own."""
        folders = [CHECKOUT / "libs" / "bus" / "src" / "fleet_bus" / "migrations"]
        if self.has_gate:
            folders.append(CHECKOUT / "libs" / "gate" / "src" / "fleet_gate" / "migrations")
        return [*folders, CHECKOUT / "services" / self.name / "migrations"]


# In the order of the flow: whoever comes later reads what the earlier ones publish, and the gateway, which lets
# clients in, comes last. They are started in this order without waiting for one another (each is ready by itself
# and retries what it misses); stopped is the gateway first, then all others at once: each drains by itself.
SERVICES: tuple[Service, ...] = (
    Service("auth", uses_redis=True),
    Service("exchange-connector", has_gate=True),
    Service("matching-engine", has_gate=True),
    Service("data"),
    Service("core-engine"),
    Service("trading", has_gate=True),
    Service("execution", has_gate=True),
    Service("strategy"),
    Service("gateway", has_database=False, uses_redis=True, fixed_port=8000),
)


def service(name: str) -> Service:
    for known in SERVICES:
        if known.name == name:
            return known
    raise KeyError(name)
