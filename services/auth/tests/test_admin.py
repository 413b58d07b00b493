"""`python -m fleet_auth.admin`, as the fleet command runs it."""

import json
from typing import Any

import jwt
import pyotp
import pytest
from fleet_auth.settings import AuthSettings
from fleet_chassis.clock import SystemClock
from pydantic import SecretStr


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


async def test_without_postgresql_it_says_so_in_a_line(auth_settings: AuthSettings, run_admin: Any) -> None:
    nobody = auth_settings.model_copy(update={"database_url": SecretStr("postgresql://auth:x@127.0.0.1:9/auth")})
    for arguments in (("create-user", "--email", "ops@example.com", "--generate"), ("rotate-keys",)):
        code, out, err = await run_admin(nobody, *arguments)
        assert (code, out) == (1, "")
        assert "Traceback" not in err
        assert "error: PostgreSQL does not answer: " in err


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


async def test_who_has_lost_his_second_factor_gets_in_by_an_operator(
    auth: Any, auth_settings: AuthSettings, run_admin: Any
) -> None:
    """enrolled → reset → sessions ended, in with the password alone, mailed, audited → nothing to reset any more"""
    # The command runs by the clock of the machine, and sessions that are over are not ended.
    auth.clock.advance(seconds=(SystemClock().now() - auth.clock.now()).total_seconds())
    user = await auth.registered()
    claims = jwt.decode((await auth.logged_in(user))["access_token"], options={"verify_signature": False})
    caller = {name: claims[name] for name in ("sub", "sid", "roles", "scopes")}
    begun = await auth.call("POST", "/mfa/totp", user=caller)
    code = pyotp.TOTP(begun.body["secret"]).at(auth.clock.now())
    assert (await auth.call("POST", "/mfa/totp/verify", json={"code": code}, user=caller)).status == 200
    assert "mfa_token" in await auth.logged_in(user)

    arguments = ("reset-mfa", "--email", user["email"])
    code, out, err = await run_admin(auth_settings, *arguments)
    assert code == 0, err
    assert json.loads(out)["user_id"] == user["user_id"]
    auth.clock.advance(seconds=60)
    assert (await auth.call("GET", "/sessions", user=caller)).body["data"] == []
    assert "access_token" in await auth.logged_in(user)
    assert (await auth.mailed(user["email"], 2))["subject"] == "An operator removed your second factor"
    admin = caller | {"scopes": ["audit"]}
    acts = (await auth.call("GET", "", prefix="/api/v1/audit", user=admin)).body["data"]
    (act,) = [one for one in acts if one["action"] == "second_factor.reset"]
    assert (act["target"], act["actor"].startswith("cli:")) == (user["user_id"], True)

    assert (await run_admin(auth_settings, *arguments))[0::2] == (
        1,
        f"error: there is no second factor of {user['email']}\n",
    )
    nobody = await run_admin(auth_settings, "reset-mfa", "--email", "nobody@example.com")
    assert nobody[0::2] == (1, "error: no user has the address nobody@example.com\n")
