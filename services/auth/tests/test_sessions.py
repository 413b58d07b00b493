"""A person's sessions, and the keys that sign their tokens."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import jwt
import pytest
from fleet_auth.admin import rotate_keys
from fleet_auth.app import create_app
from fleet_auth.settings import AuthSettings
from fleet_chassis.database import Database
from fleet_testkit.eventually import eventually


def caller_of(tokens: dict[str, Any]) -> dict[str, Any]:
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    return {name: claims[name] for name in ("sub", "sid", "roles", "scopes")}


async def login(auth: Any, user: dict[str, Any], address: str, agent: str) -> dict[str, Any]:
    body = {"email": user["email"], "password": user["password"]}
    headers = {"X-Client-Address": address, "User-Agent": agent}
    tokens: dict[str, Any] = (await auth.call("POST", "/login", json=body, headers=headers)).body
    return tokens


async def test_sessions_are_shown_and_ended_one_by_one(auth: Any) -> None:
    user = await auth.registered()
    here, there = await login(auth, user, "192.0.2.1", "here"), await login(auth, user, "192.0.2.2", "there" * 100)
    caller = caller_of(here)
    shown = (await auth.call("GET", "/sessions", user=caller)).body["data"]
    assert [(one["address"], one["user_agent"][:5], one["is_current"]) for one in shown] == [
        ("192.0.2.2", "there", False),
        ("192.0.2.1", "here", True),
    ]
    other = shown[0]["session_id"]
    assert (await auth.call("DELETE", f"/sessions/{other}", user=caller)).status == 204
    assert (await auth.call("DELETE", f"/sessions/{other}", user=caller)).status == 404
    refused = await auth.call("POST", "/refresh", json={"refresh_token": there["refresh_token"]})
    assert refused.body["code"] == "session_revoked"
    assert [one["is_current"] for one in (await auth.call("GET", "/sessions", user=caller)).body["data"]] == [True]


async def test_another_s_session_is_not_there(auth: Any) -> None:
    mine, his = await auth.logged_in(await auth.registered()), await auth.logged_in(await auth.registered())
    reply = await auth.call("DELETE", f"/sessions/{caller_of(his)['sid']}", user=caller_of(mine))
    unknown = await auth.call("DELETE", f"/sessions/{uuid4()}", user=caller_of(mine))
    assert reply.status == unknown.status == 404
    assert (await auth.call("POST", "/refresh", json={"refresh_token": his["refresh_token"]})).status == 200


async def test_logout_everywhere(auth: Any) -> None:
    user = await auth.registered()
    logins = [await auth.logged_in(user) for _ in range(3)]
    assert (await auth.call("DELETE", "/sessions", user=caller_of(logins[0]))).status == 204
    for tokens in logins:
        refused = await auth.call("POST", "/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert refused.body["code"] == "session_revoked"


async def test_a_session_ends_however_often_it_is_refreshed_and_is_forgotten(auth: Any) -> None:
    """login → refreshed every six days → over after thirty, for sockets too → its rows go"""
    tokens = await auth.logged_in(await auth.registered())
    session_id, caller = caller_of(tokens)["sid"], caller_of(tokens)

    async def refreshed(shown: dict[str, Any]) -> Any:
        return await auth.call("POST", "/refresh", json={"refresh_token": shown["refresh_token"]})

    for _ in range(4):
        auth.clock.advance(timedelta(days=6))
        reply = await refreshed(tokens)
        assert reply.status == 200
        tokens = reply.body
    auth.clock.advance(timedelta(days=6))
    assert (await refreshed(tokens)).body["code"] == "refresh_token_expired"
    assert await redeemed(auth, caller) == 404
    unused = await auth.logged_in(await auth.registered())
    auth.clock.advance(timedelta(days=7))
    assert (await refreshed(unused)).body["code"] == "refresh_token_expired"
    connection = await asyncpg.connect(auth.settings.database_url.get_secret_value())

    async def is_forgotten() -> bool:
        await auth.logged_in(await auth.registered())
        return not await connection.fetchval("SELECT true FROM sessions WHERE session_id = $1", UUID(session_id))

    await eventually(is_forgotten)
    await connection.close()


async def redeemed(auth: Any, caller: dict[str, Any]) -> int:
    """What becomes of a ticket for a socket."""
    body = {"ticket": (await auth.call("POST", "/ws-tickets", user=caller)).body["ticket"]}
    status: int = (await auth.call("POST", "/internal/ws-tickets/redeem", json=body, prefix="")).status
    return status


async def kids(auth: Any) -> list[str]:
    return [key["kid"] for key in (await auth.call("GET", "/.well-known/jwks.json")).body["keys"]]


@pytest.mark.long
async def test_keys_are_rotated_by_hand_and_the_one_before_verifies_for_a_while(
    auth: Any, auth_settings: AuthSettings
) -> None:
    user = await auth.registered()
    before = await kids(auth)
    made = await rotate_keys(auth_settings, auth.clock.now())
    await eventually(lambda: _signs_with(auth, user, made), timeout_s=15)
    assert await kids(auth) == [made, *before]
    auth.clock.advance(timedelta(days=1))
    await eventually(lambda: _are(auth, [made]), timeout_s=15)


async def test_keys_are_rotated_by_age_and_replicas_agree(auth: Any, auth_settings: AuthSettings) -> None:
    (old,) = await kids(auth)
    auth.clock.advance(timedelta(days=90))
    replicas = [create_app(auth_settings.model_copy(update={"ordinal": n}), clock=auth.clock) for n in (2, 3)]
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(_kid_of(replica)) for replica in replicas]
    found = {task.result() for task in running}
    assert len(found) == 1 and old not in found
    (new,) = found
    await eventually(lambda: _are(auth, [new, old]), timeout_s=15)


async def test_private_keys_are_sealed(auth_settings: AuthSettings, auth: Any) -> None:
    async with (
        Database(auth_settings.database_url, application_name="test", max_size=1) as database,
        database.connection() as connection,
    ):
        rows = await connection.fetch("SELECT * FROM signing_keys")
    assert rows
    for row in rows:
        assert row["public_key"] not in row["encrypted_private_key"]
        assert len(row["encrypted_private_key"]) > 32 + 12 + 16


async def _kid_of(app: Any) -> str:
    async with app.router.lifespan_context(app):
        return str(app.state.auth.keys.current.kid)


async def _signs_with(auth: Any, user: dict[str, Any], kid: str) -> bool:
    return str(jwt.get_unverified_header((await auth.logged_in(user))["access_token"])["kid"]) == kid


async def _are(auth: Any, expected: list[str]) -> bool:
    return await kids(auth) == expected
