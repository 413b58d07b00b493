"""A supervisor over sketches instead of the real services: `fleet_of_sketches.py OPTIONS`, its events on stdout."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from fleet_launcher.failure import LaunchFailure
from fleet_launcher.instance import RestartPolicy
from fleet_launcher.options import FleetOptions
from fleet_launcher.services import Service
from fleet_launcher.supervisor import Supervisor


@dataclass(frozen=True)
class Sketch(Service):
    @property
    def package(self) -> str:
        return "fleet_sketch"

    def migration_folders(self) -> list[Path]:
        return [Path(__file__).parent / "migrations"]


SERVICES = (
    Sketch("trading"),
    Sketch("gateway", has_database=False, uses_redis=True, fixed_port=8000),
)


def report(event: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


try:
    options = FleetOptions.from_json(sys.argv[1])
    limit = int(os.environ.get("SKETCH_DEATHS", "10"))
    asyncio.run(Supervisor(options, report, services=SERVICES, policy=lambda: RestartPolicy(limit)).run())
except LaunchFailure as failure:
    report({"event": "failed", "problem": failure.problem, "remedy": failure.remedy})
    sys.exit(1)
