"""The interface as its own document tells it, tried by Schemathesis: nothing fails, nothing answers in another shape."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fleet_sdk.client import FleetClient
from whole_fleet import User, WholeFleet, until_priced, whole_fleet

pytestmark = [pytest.mark.e2e]

COMMAND = Path(sys.executable).with_name("st")
TOLD = Path(__file__).with_name("schemathesis.toml")
OF_ADMINS = r"^/api/v1/(audit|users|exchanges|executions|risk)"


async def tried(fleet: WholeFleet, client: FleetClient, *options: str) -> None:
    """Fails with what Schemathesis found, and the commands that show it again."""
    async with fleet.user() as leaving:
        tokens = {"TOKEN": client, "TOKEN_OF_WHO_LEAVES": leaving.client}
        environment = {
            name: (await one._authorization())["Authorization"].removeprefix("Bearer ") for name, one in tokens.items()
        }
        arguments = [str(COMMAND), "--config-file", str(TOLD), "--no-color", "run", f"{fleet.url}/api/v1/openapi.json"]
        done = await asyncio.to_thread(
            subprocess.run,
            [*arguments, *options],
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.timeout(300)
async def test_every_operation_answers_as_the_document_says(fleet: WholeFleet, user: User) -> None:
    await until_priced(user.client, "AAPL/USD")
    await tried(fleet, user.client, "--phases", "examples,fuzzing", "-n", "20", "--generation-deterministic")


@pytest.mark.long
@pytest.mark.timeout(3_000)
async def test_every_operation_answers_as_the_document_says_whatever_it_is_asked() -> None:
    """200 examples an operation, every boundary of every schema, and operations one after the other as they follow"""
    with whole_fleet("simulated", port_offset=695, environment={"FLEET_AUTH_ACCESS_TOKEN_S": "7200"}) as fleet:
        async with fleet.user() as user, fleet.admin() as admin:
            await until_priced(user.client, "AAPL/USD")
            await tried(fleet, user.client, "-n", "200")
            await tried(fleet, admin, "-n", "200", "--include-path-regex", OF_ADMINS)
        fleet.verify_books()
        assert [line for line in fleet.noise() if "Traceback" in line] == []
