"""The migrations of all databases, by one process."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence

from fleet_launcher.failure import LaunchFailure
from fleet_launcher.places import StateDir
from fleet_launcher.processes import last_lines
from fleet_launcher.services import Service


async def migrate(state: StateDir, services: Sequence[Service], urls: Mapping[str, str]) -> dict[str, list[str]]:
    """Apply what is new; per database the revisions that were. LaunchFailure with what went wrong."""
    order = {
        service.name: {"url": urls[service.name], "folders": [str(folder) for folder in service.migration_folders()]}
        for service in services
        if service.has_database
    }
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fleet_chassis.migrations", stdin=pipe, stdout=pipe, stderr=pipe
    )
    try:
        told, errors = await process.communicate(json.dumps(order).encode())
    finally:
        if process.returncode is None:
            process.kill()
    log = state.log("migrations")
    log.write_bytes(told + errors)
    if process.returncode != 0:
        raise LaunchFailure(f"The migrations failed: {last_lines(log, 1)}", f"See {log}")
    applied: dict[str, list[str]] = json.loads(told)
    return applied
