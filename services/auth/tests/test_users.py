"""What an administrator makes of users."""

import asyncio
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import jwt
import pytest
from fleet_auth.settings import AuthSettings
from fleet_bus import Bus
from fleet_chassis.health import Health
from fleet_contracts.auth import SessionRevoked, User
from fleet_contracts.topics import AUTH_SESSIONS, AUTH_USERS
from fleet_testkit.eventually import eventually


def administrator() -> dict[str, Any]:
    scopes = ["read", "trade", "strategy", "transfer", "admin", "audit"]
    return {"sub": str(uuid4()), "sid": str(uuid4()), "roles": ["admin"], "scopes": scopes}


def trader() -> dict[str, Any]:
    return {"sub": str(uuid4()), "sid": str(uuid4()), "roles": ["trader"], "scopes": ["read", "trade"]}


async def changed(
    auth: Any, user: dict[str, Any], *, by: dict[str, Any] | None = None, factor_age_s: int | None = 0, **body: Any
) -> Any:
    shown = {} if factor_age_s is None else {"mfa_at": int(auth.clock.now().timestamp()) - factor_age_s}
    return await auth.call(
        "PATCH", f"/users/{user['user_id']}", json=body, user=(by or administrator()) | shown, prefix="/api/v1"
    )


async def test_a_disabled_user_is_out_and_told_and_may_come_back(auth: Any, auth_settings: AuthSettings) -> None:
    bus = Bus(auth_settings.model_copy(update={"service": "gateway"}), None)
    users, revoked = bus.table(AUTH_USERS, User), bus.table(AUTH_SESSIONS, SessionRevoked)
    async with bus.running(Health()):
        user = await auth.registered()
        logins = [await auth.logged_in(user) for _ in range(2)]
        reply = await changed(auth, user, status="disabled")
        assert (reply.status, reply.body["status"]) == (200, "disabled")
        for tokens in logins:
            claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
            await eventually(partial(revoked.get, claims["sid"]), timeout_s=5)
            refused = await auth.call("POST", "/refresh", json={"refresh_token": tokens["refresh_token"]})
            assert refused.body["code"] == "session_revoked"
        told = User(user_id=UUID(user["user_id"]), roles=("trader",), status="disabled", version=2)
        await eventually(lambda: users.get(user["user_id"]) == told)
        refused = await auth.call("POST", "/login", json={"email": user["email"], "password": user["password"]})
        assert (refused.status, refused.body["code"]) == (403, "user_disabled")

        assert (await changed(auth, user, status="active")).status == 200
        await auth.logged_in(user)


async def test_other_roles_hold_from_the_next_login_on(auth: Any) -> None:
    user = await auth.registered()
    tokens = await auth.logged_in(user)
    reply = await changed(auth, user, roles=["viewer"])
    assert (reply.body["roles"], reply.body["scopes"]) == (["viewer"], ["read"])
    refused = await auth.call("POST", "/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert refused.body["code"] == "session_revoked"
    claims = jwt.decode((await auth.logged_in(user))["access_token"], options={"verify_signature": False})
    assert (claims["roles"], claims["scopes"]) == (["viewer"], ["read"])


@pytest.mark.parametrize("factor_age_s", [None, 301])
async def test_to_let_somebody_do_more_takes_a_fresh_second_factor_and_to_take_it_away_none(
    auth: Any, factor_age_s: int | None
) -> None:
    user = await auth.registered()

    async def codes(**body: Any) -> list[str | None]:
        """Without a fresh factor, and with one."""
        replies = [await changed(auth, user, factor_age_s=age_s, **body) for age_s in (factor_age_s, 0)]
        return [reply.body.get("code") for reply in replies]

    for more in ({"roles": ["trader", "admin"]}, {"roles": ["compliance"]}):
        assert await codes(**more) == ["mfa_required", None]
        for less in (
            {"roles": ["viewer"]},
            {"status": "disabled", "roles": ["trader", "admin"]},
            {"roles": ["trader"]},
        ):
            assert await codes(**less) == [None, None]
        assert await codes(status="active") == ["mfa_required", None]


async def test_what_changes_nothing_ends_no_session(auth: Any) -> None:
    user = await auth.registered()
    tokens = await auth.logged_in(user)
    assert (await changed(auth, user, roles=["trader"], status="active")).status == 200
    assert (await auth.call("POST", "/refresh", json={"refresh_token": tokens["refresh_token"]})).status == 200


async def test_of_a_login_and_a_change_at_once_no_session_is_left(auth: Any) -> None:
    user = await auth.registered()
    body = {"email": user["email"], "password": user["password"]}
    *logins, _ = await asyncio.gather(
        *(auth.call("POST", "/login", json=body) for _ in range(6)), changed(auth, user, status="disabled")
    )
    for login in logins:
        if login.status == 200:
            shown = {"refresh_token": login.body["refresh_token"]}
            assert (await auth.call("POST", "/refresh", json=shown)).status == 401


async def test_users_are_listed_and_changed_by_administrators_only(auth: Any) -> None:
    made = [(await auth.registered())["user_id"] for _ in range(3)]
    found: list[str] = []
    cursor = ""
    while len(found) < 3:
        page = await auth.call("GET", f"/users?limit=1{cursor}", user=administrator(), prefix="/api/v1")
        found += [user["user_id"] for user in page.body["data"]]
        cursor = f"&cursor={page.body['next_cursor']}"
    assert found == made[::-1]

    for method, path, body in (("GET", "/users", None), ("PATCH", f"/users/{made[0]}", {"roles": ["admin"]})):
        refused = await auth.call(method, path, json=body, user=trader(), prefix="/api/v1")
        assert (refused.status, refused.body["code"]) == (403, "insufficient_scope")
    unknown = await changed(auth, {"user_id": str(uuid4())}, roles=["viewer"])
    assert unknown.status == 404
    assert (await changed(auth, {"user_id": made[0]}, roles=[])).status == 422


async def test_an_administrator_does_not_shut_himself_out(auth: Any) -> None:
    user = await auth.registered()
    assert (await changed(auth, user, roles=["admin", "trader"])).status == 200
    himself = administrator() | {"sub": user["user_id"]}
    for change in ({"roles": ["trader"]}, {"status": "disabled"}):
        refused = await changed(auth, user, by=himself, **change)
        assert (refused.status, refused.body["code"]) == (403, "last_administrator")
    assert (await changed(auth, user, by=himself, roles=["admin"])).status == 200
