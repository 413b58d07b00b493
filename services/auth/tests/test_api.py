"""auth through its routes, as the gateway calls them."""

import asyncio
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import jwt
import pytest
from fleet_auth.app import create_app
from fleet_auth.settings import AuthSettings
from fleet_bus import Bus
from fleet_chassis.assertions import AssertionSigner
from fleet_chassis.health import Health
from fleet_contracts.auth import SessionRevoked, User
from fleet_contracts.topics import AUTH_SESSIONS, AUTH_USERS
from fleet_launcher.keys import new_field_keys
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served


def claims_of(tokens: dict[str, Any]) -> dict[str, Any]:
    return jwt.decode(tokens["access_token"], options={"verify_signature": False})


async def test_register_login_me(auth: Any) -> None:
    reply = await auth.call(
        "POST", "/register", json={"email": "Ada@Example.com", "password": "correct horse", "display_name": "Ada"}
    )
    assert reply.status == 201
    assert reply.body["email"] == "ada@example.com"
    assert reply.body["roles"] == ["trader"]
    assert reply.body["created_at"].endswith("Z")
    assert "password" not in str(reply.body)

    tokens = (await auth.call("POST", "/login", json={"email": "ADA@example.com", "password": "correct horse"})).body
    assert tokens["token_type"] == "Bearer"
    assert tokens["expires_in"] == 300

    key_set = (await auth.call("GET", "/.well-known/jwks.json")).body
    kid = jwt.get_unverified_header(tokens["access_token"])["kid"]
    key = jwt.PyJWKSet.from_dict(key_set)[kid]
    claims = jwt.decode(
        tokens["access_token"],
        key,
        algorithms=["EdDSA"],
        audience="tradefleet",
        issuer="auth",
        options={"verify_exp": False, "verify_iat": False},
    )
    assert claims["sub"] == reply.body["user_id"]
    assert claims["exp"] - claims["iat"] == 300
    assert claims["scopes"] == ["read", "strategy", "trade", "transfer"]

    me = await auth.call("GET", "/me", user=assertion_of(tokens))
    assert me.status == 200
    assert me.body["user_id"] == claims["sub"]
    assert me.body["mfa_enabled"] is False


def assertion_of(tokens: dict[str, Any]) -> dict[str, Any]:
    claims = claims_of(tokens)
    return {name: claims[name] for name in ("sub", "sid", "roles", "scopes")}


@pytest.mark.parametrize(
    "body",
    [
        {"email": "nobody", "password": "correct horse"},
        {"email": "eve@example.com", "password": "short"},
        {"email": "eve@example.com", "password": "x" * 200},
        {"email": "eve@example.com", "password": "correct horse", "roles": ["admin"]},
        {"password": "correct horse"},
    ],
)
async def test_registration_refuses_what_is_wrong(auth: Any, body: dict[str, Any]) -> None:
    reply = await auth.call("POST", "/register", json=body)
    assert reply.status == 422
    assert reply.body["code"] == "invalid_request"
    assert reply.body["errors"]
    assert "correct horse" not in str(reply.body)


async def test_an_address_is_registered_once(auth: Any) -> None:
    user = await auth.registered()
    body = {"email": user["email"].upper(), "password": "another horse"}
    replies = await asyncio.gather(*(auth.call("POST", "/register", json=body) for _ in range(3)))
    assert {(reply.status, reply.body["code"]) for reply in replies} == {(409, "email_taken")}


async def test_register_again_with_the_same_idempotency_key(auth: Any) -> None:
    body = {"email": "idem@example.com", "password": "correct horse"}
    key = {"Idempotency-Key": "once"}
    replies = await asyncio.gather(*(auth.call("POST", "/register", json=body, headers=key) for _ in range(4)))
    assert [reply.status for reply in replies] == [201] * 4
    assert len({reply.body["user_id"] for reply in replies}) == 1
    assert sorted(reply.headers.get("Idempotent-Replayed", "") for reply in replies) == ["", "true", "true", "true"]

    other = await auth.call("POST", "/register", json=body | {"password": "other horse"}, headers=key)
    assert (other.status, other.body["code"]) == (409, "idempotency_key_reused")


async def test_a_wrong_password_and_an_unknown_user_look_the_same(auth: Any) -> None:
    user = await auth.registered()
    wrong = await auth.call("POST", "/login", json={"email": user["email"], "password": "wrong horse"})
    unknown = await auth.call("POST", "/login", json={"email": "no-such@example.com", "password": "wrong horse"})
    assert wrong.status == unknown.status == 401
    for reply in (wrong, unknown):
        reply.body.pop("request_id")
    assert wrong.body == unknown.body
    assert wrong.body["code"] == "invalid_credentials"


async def test_ten_failed_logins_a_minute_for_an_account(auth: Any) -> None:
    user = await auth.registered()
    wrong = {"email": user["email"], "password": "wrong horse"}
    right = {"email": user["email"], "password": user["password"]}
    replies = await asyncio.gather(*(auth.call("POST", "/login", json=wrong) for _ in range(14)))
    assert sorted(reply.status for reply in replies) == [401] * 10 + [429] * 4
    refused = await auth.call("POST", "/login", json=right)
    assert (refused.status, refused.body["code"]) == (429, "too_many_failed_logins")
    assert 0 < int(refused.headers["Retry-After"]) <= 60

    auth.clock.advance(seconds=61)
    await auth.logged_in(user)
    for _ in range(12):
        await auth.logged_in(user)


async def test_refresh_rotates_and_reuse_ends_the_session(auth: Any) -> None:
    tokens = await auth.logged_in(await auth.registered())
    sid = claims_of(tokens)["sid"]
    auth.clock.advance(seconds=200)
    second = await auth.call("POST", "/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert second.status == 200
    assert second.body["refresh_token"] != tokens["refresh_token"]
    assert claims_of(second.body)["sid"] == sid

    stolen = await auth.call("POST", "/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert (stolen.status, stolen.body["code"]) == (401, "refresh_token_reused")
    owner = await auth.call("POST", "/refresh", json={"refresh_token": second.body["refresh_token"]})
    assert (owner.status, owner.body["code"]) == (401, "session_revoked")


async def test_of_two_refreshes_at_once_one_is_reuse(auth: Any) -> None:
    tokens = await auth.logged_in(await auth.registered())
    body = {"refresh_token": tokens["refresh_token"]}
    replies = await asyncio.gather(*(auth.call("POST", "/refresh", json=body) for _ in range(5)))
    assert sorted(reply.status for reply in replies) == [200, 401, 401, 401, 401]


async def test_who_is_refused_is_counted_by_what_he_was_told(auth: Any) -> None:
    user = await auth.registered()
    tokens = await auth.logged_in(user)
    before = await refused(auth)
    wrong = {"email": user["email"], "password": "wrong horse"}
    assert (await auth.call("POST", "/login", json=wrong)).status == 401
    for status in (200, 401):
        reply = await auth.call("POST", "/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert reply.status == status
    unknown = {"mfa_token": "invented", "code": "123456"}
    assert (await auth.call("POST", "/login/mfa", json=unknown)).status == 401
    after = await refused(auth)
    for code in ("invalid_credentials", "refresh_token_reused", "mfa_token_unknown"):
        assert after[code] == before.get(code, 0) + 1


async def refused(auth: Any) -> dict[str, float]:
    """How many were, by code."""
    async with auth.http.get(f"{auth.url}/metrics") as response:
        text = await response.text()
    return {code: float(count) for code, count in re.findall(r'fleet_auth_refused_total{code="(\w+)"} (\S+)', text)}


async def test_refresh_tokens_end_and_cannot_be_invented(auth: Any) -> None:
    tokens = await auth.logged_in(await auth.registered())
    invented = await auth.call("POST", "/refresh", json={"refresh_token": "invented"})
    assert (invented.status, invented.body["code"]) == (401, "refresh_token_unknown")
    auth.clock.advance(seconds=31 * 86_400)
    late = await auth.call("POST", "/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert (late.status, late.body["code"]) == (401, "refresh_token_expired")


async def test_users_and_revocations_are_told_and_forgotten(auth: Any, auth_settings: AuthSettings) -> None:
    bus = Bus(auth_settings.model_copy(update={"service": "gateway"}), None)
    users, revoked = bus.table(AUTH_USERS, User), bus.table(AUTH_SESSIONS, SessionRevoked)
    async with bus.running(Health()):
        user = await auth.registered()
        told = await eventually(lambda: users.get(user["user_id"]))
        assert told == User(user_id=UUID(user["user_id"]), roles=("trader",), status="active", version=1)

        tokens = await auth.logged_in(user)
        sid = claims_of(tokens)["sid"]
        for _ in range(2):
            assert (await auth.call("POST", "/logout", user=assertion_of(tokens))).status == 204
        message = await eventually(lambda: revoked.get(sid))
        assert message is not None
        assert message.last_token_expires_at.timestamp() == claims_of(tokens)["exp"]
        refused = await auth.call("POST", "/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert refused.body["code"] == "session_revoked"

        auth.clock.advance(seconds=300 + 61)
        await eventually(lambda: revoked.get(sid) is None)


async def test_a_ticket_is_redeemed_once_and_in_time(auth: Any) -> None:
    async def ticket() -> str:
        reply = await auth.call("POST", "/ws-tickets", user=claims)
        assert reply.status == 201
        return str(reply.body["ticket"])

    async def redeem(ticket: str) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {auth.signer.sign('auth')}"}
        url = f"{auth.url}/internal/ws-tickets/redeem"
        async with auth.http.post(url, json={"ticket": ticket}, headers=headers) as response:
            return response.status, await response.json()

    claims = assertion_of(await auth.logged_in(await auth.registered()))
    good = await ticket()
    replies = await asyncio.gather(*(redeem(good) for _ in range(3)))
    assert sorted(status for status, _ in replies) == [200, 404, 404]
    told = next(body for status, body in replies if status == 200)
    assert {name: told[name] for name in claims} == claims
    assert told["exp"] == int(auth.clock.now().timestamp()) + 300

    # A socket lives on when the access tokens have ended: a revocation must be told for as long as it may.
    auth.clock.advance(seconds=29)
    aged = await ticket()
    auth.clock.advance(seconds=20)
    _, told = await redeem(aged)
    connection = await asyncpg.connect(auth.settings.database_url.get_secret_value())
    ends_at = await connection.fetchval(
        "SELECT last_token_expires_at FROM sessions WHERE session_id = $1", UUID(str(claims["sid"]))
    )
    await connection.close()
    assert int(ends_at.timestamp()) == told["exp"]

    late, revoked = await ticket(), await ticket()
    auth.clock.advance(seconds=30)
    assert (await redeem(late))[0] == 404
    assert (await auth.call("POST", "/logout", user=claims)).status == 204
    auth.clock.advance(seconds=-30)
    assert (await redeem(revoked))[0] == 404


async def test_only_the_gateway_is_let_in(auth: Any, auth_keys: Path) -> None:
    user = await auth.registered()
    claims = assertion_of(await auth.logged_in(user))
    trading = AssertionSigner("trading", auth_keys / "trading.pem")
    gateway = AssertionSigner("gateway", auth_keys / "gateway.pem")
    for token, status in (
        ("nonsense", 401),
        (gateway.sign("trading", claims), 401),
        (trading.sign("auth", claims), 401),
        (gateway.sign("auth"), 401),
        (gateway.sign("auth", claims), 200),
    ):
        reply = await auth.call("GET", "/me", headers={"Authorization": f"Bearer {token}"})
        assert reply.status == status
    login = await auth.call("POST", "/login", json={}, headers={"Authorization": f"Bearer {trading.sign('auth')}"})
    assert login.status == 403


async def test_replicas_and_restarts_sign_with_one_key(auth: Any, auth_settings: AuthSettings) -> None:
    first = (await auth.call("GET", "/.well-known/jwks.json")).body
    async with served(create_app(auth_settings, clock=auth.clock)) as url:
        headers = {"Authorization": f"Bearer {auth.signer.sign('auth')}"}
        async with auth.http.get(f"{url}/api/v1/auth/.well-known/jwks.json", headers=headers) as response:
            assert await response.json() == first
    connection = await asyncpg.connect(auth_settings.database_url.get_secret_value())
    try:
        rows = await connection.fetch("SELECT public_key, encrypted_private_key FROM signing_keys")
    finally:
        await connection.close()
    assert len(rows) == 1
    sealed = rows[0]["encrypted_private_key"]
    assert len(sealed) == 1 + sealed[0] + 12 + 32 + 16


async def test_lost_field_keys_mean_another_signing_key(auth: Any, auth_settings: AuthSettings, tmp_path: Path) -> None:
    first = (await auth.call("GET", "/.well-known/jwks.json")).body["keys"]
    (tmp_path / "fields.json").write_text(new_field_keys())
    moved = auth_settings.model_copy(update={"auth_field_keys_file": tmp_path / "fields.json"})
    async with served(create_app(moved)) as url:
        headers = {"Authorization": f"Bearer {auth.signer.sign('auth')}"}
        async with auth.http.get(f"{url}/api/v1/auth/.well-known/jwks.json", headers=headers) as response:
            keys = (await response.json())["keys"]
    assert len(keys) == 2
    assert first[0] in keys
