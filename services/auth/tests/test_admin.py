"""`python -m fleet_auth.admin`, as the fleet command runs it."""

import asyncio
import json
import os
import sys
from typing import Any

from fleet_auth.settings import AuthSettings


async def run_admin(settings: AuthSettings, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
    environment = {
        f"FLEET_{name.upper()}": str(value)
        for name, value in settings.model_dump(exclude={"database_url"}).items()
        if value is not None
    } | {"FLEET_DATABASE_URL": settings.database_url.get_secret_value(), "PATH": os.environ["PATH"]}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "fleet_auth.admin",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    out, err = await process.communicate(stdin.encode())
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def test_an_admin_is_made_and_can_log_in(auth: Any, auth_settings: AuthSettings) -> None:
    arguments = ("create-user", "--email", "Root@example.com", "--role", "admin")
    code, out, err = await run_admin(auth_settings, *arguments, stdin="correct horse\n")
    assert code == 0, err
    assert json.loads(out)["roles"] == ["admin"]
    assert "correct horse" not in out + err
    await auth.logged_in({"email": "root@example.com", "password": "correct horse"})

    code, out, err = await run_admin(auth_settings, *arguments, stdin="correct horse\n")
    assert (code, out) == (1, "")
    assert "exists" in err


async def test_a_password_is_generated_on_request(auth: Any, auth_settings: AuthSettings) -> None:
    code, out, _ = await run_admin(auth_settings, "create-user", "--email", "ops@example.com", "--generate")
    assert code == 0
    await auth.logged_in(json.loads(out))
    code, _, err = await run_admin(auth_settings, "create-user", "--email", "x@example.com", stdin="short\n")
    assert (code, "password" in err) == (1, True)


async def test_keys_are_rotated_and_nothing_but_json_is_printed(auth_settings: AuthSettings) -> None:
    code, out, err = await run_admin(auth_settings, "rotate-keys")
    assert code == 0, err
    assert set(json.loads(out)) == {"kid"}
