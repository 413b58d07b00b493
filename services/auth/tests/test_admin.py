"""`python -m fleet_auth.admin`, as the fleet command runs it."""

import json
from typing import Any

import pytest
from fleet_auth.settings import AuthSettings


@pytest.fixture
def run_admin(start_admin: Any) -> Any:
    async def run(settings: AuthSettings, *arguments: str, stdin: str = "") -> tuple[int, str, str]:
        process = await start_admin(settings, *arguments)
        out, err = await process.communicate(stdin.encode())
        return process.returncode, out.decode(), err.decode()

    return run


async def test_an_admin_is_made_and_can_log_in(auth: Any, auth_settings: AuthSettings, run_admin: Any) -> None:
    arguments = ("create-user", "--email", "Root@example.com", "--role", "admin")
    code, out, err = await run_admin(auth_settings, *arguments, stdin="correct horse\n")
    assert code == 0, err
    assert json.loads(out)["roles"] == ["admin"]
    assert "correct horse" not in out + err
    await auth.logged_in({"email": "root@example.com", "password": "correct horse"})

    code, out, err = await run_admin(auth_settings, *arguments, stdin="correct horse\n")
    assert (code, out) == (1, "")
    assert "exists" in err


async def test_a_password_is_generated_on_request(auth: Any, auth_settings: AuthSettings, run_admin: Any) -> None:
    code, out, _ = await run_admin(auth_settings, "create-user", "--email", "ops@example.com", "--generate")
    assert code == 0
    await auth.logged_in(json.loads(out))
    code, _, err = await run_admin(auth_settings, "create-user", "--email", "x@example.com", stdin="short\n")
    assert (code, "password" in err) == (1, True)


async def test_keys_are_rotated_and_nothing_but_json_is_printed(auth_settings: AuthSettings, run_admin: Any) -> None:
    code, out, err = await run_admin(auth_settings, "rotate-keys")
    assert code == 0, err
    assert set(json.loads(out)) == {"kid"}
