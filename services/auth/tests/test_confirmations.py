"""Registration confirmed by mail, passwords changed and set anew, and that none of it tells who is registered."""

import asyncio
import contextlib
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import jwt
import pytest_asyncio
from fleet_auth.app import create_app
from fleet_auth.settings import AuthSettings
from fleet_testkit.databases import waiting_for_locks
from fleet_testkit.eventually import eventually
from fleet_testkit.fixtures import MakeDatabase
from fleet_testkit.http import served
from pydantic import SecretStr


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def verifying(auth: Any, auth_settings: AuthSettings) -> AsyncIterator[Any]:
    """The same auth, where addresses are verified."""
    settings = auth_settings.model_copy(update={"auth_email_verification": True, "ordinal": 1})
    async with served(create_app(settings, clock=auth.clock)) as url, aiohttp.ClientSession() as http:
        yield type(auth)(url, settings, auth.clock, auth.signer, http)


def caller_of(tokens: dict[str, Any]) -> dict[str, Any]:
    claims = jwt.decode(tokens["access_token"], options={"verify_signature": False})
    return {name: claims[name] for name in ("sub", "sid", "roles", "scopes")}


def new_address() -> str:
    return f"{secrets.token_hex(6)}@example.com"


async def test_a_user_is_there_once_the_address_is_confirmed(verifying: Any) -> None:
    body = {"email": new_address(), "password": "correct horse"}
    asked = await verifying.call("POST", "/register", json=body)
    assert (asked.status, asked.body) == (202, {"email": body["email"], "verification": "sent"})
    assert (await verifying.call("POST", "/login", json=body)).status == 401

    token = (await verifying.mailed(body["email"]))["token"]
    confirmed = await verifying.call("POST", "/email/verify", json={"token": token, "password": body["password"]})
    assert (confirmed.status, confirmed.body["email"], confirmed.body["roles"]) == (201, body["email"], ["trader"])
    assert (await verifying.call("POST", "/login", json=body)).status == 200
    again = await verifying.call("POST", "/email/verify", json={"token": token, "password": body["password"]})
    assert (again.status, again.body["code"]) == (404, "token_unknown")


async def test_nobody_confirms_the_registration_of_another(verifying: Any) -> None:
    # An attacker registers the address before its owner does, who takes the wrong one of two mails.
    email = new_address()
    for password in ("attacker horse", "owner's horse"):
        await verifying.call("POST", "/register", json={"email": email, "password": password})
        await verifying.mailed(email, 1 if password.startswith("attacker") else 2)
    first, second = (
        {"token": verifying.mails(email)[number]["token"], "password": "owner's horse"} for number in range(2)
    )
    wrong = await verifying.call("POST", "/email/verify", json=first)
    assert (wrong.status, wrong.body["code"]) == (401, "invalid_credentials")
    assert (await verifying.call("POST", "/email/verify", json=second)).status == 201
    for password, status in (("attacker horse", 401), ("owner's horse", 200)):
        login = await verifying.call("POST", "/login", json={"email": email, "password": password})
        assert login.status == status
    late = await verifying.call("POST", "/email/verify", json=first | {"password": "attacker horse"})
    assert late.status == 404


async def test_a_taken_address_looks_like_a_free_one_and_costs_the_same(verifying: Any, auth: Any) -> None:
    taken, free = (await auth.registered())["email"], new_address()
    replies, works = [], []
    for email in (taken, free):
        before = await work_of(verifying)
        reply = await verifying.call("POST", "/register", json={"email": email, "password": "correct horse"})
        works.append(await work_of(verifying) - before)
        reply.body.pop("email")
        replies.append((reply.status, reply.body))
    assert replies[0] == replies[1]
    assert works == [1, 1]
    assert (await verifying.mailed(taken))["token"] is None
    assert (await verifying.mailed(free))["token"]


async def test_login_and_reset_do_not_tell_who_is_registered(auth: Any) -> None:
    user, nobody = await auth.registered(), new_address()
    for path, extra, hashed in (("/login", {"password": "wrong horse"}, 1), ("/password/forgot", {}, 0)):
        replies, works = [], []
        for email in (user["email"], nobody):
            before = await work_of(auth)
            reply = await auth.call("POST", path, json={"email": email} | extra)
            works.append(await work_of(auth) - before)
            (reply.body or {}).pop("request_id", None)
            replies.append((reply.status, reply.body))
        assert replies[0] == replies[1]
        assert works == [hashed, hashed]
    assert (await auth.mailed(user["email"]))["token"]
    assert auth.mails(nobody) == []


async def work_of(auth: Any) -> float:
    """Passwords hashed so far: all that takes time enough to be felt."""
    async with auth.http.get(f"{auth.url}/metrics") as response:
        text = await response.text()
    line = next(line for line in text.splitlines() if line.startswith("fleet_auth_passwords_hashed_total "))
    return float(line.split()[1])


async def test_a_password_set_anew_ends_all_sessions(auth: Any) -> None:
    user = await auth.registered()
    tokens = await auth.logged_in(user)
    reply = await auth.call("POST", "/password/forgot", json={"email": user["email"]})
    document = (await auth.call("GET", "/openapi.json", prefix="")).body
    told = document["paths"]["/api/v1/auth/password/forgot"]["post"]["responses"]["202"]
    assert (reply.status, reply.body, "content" in told) == (202, None, False)
    token = (await auth.mailed(user["email"]))["token"]
    for common in ("password1", user["email"]):
        refused = await auth.call("POST", "/password/reset", json={"token": token, "new_password": common})
        (error,) = refused.body["errors"]
        assert (refused.status, error["field"], error["code"]) == (422, "new_password", "password_common")
    done = await auth.call("POST", "/password/reset", json={"token": token, "new_password": "another horse"})
    assert done.status == 204
    refused = await auth.call("POST", "/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert refused.body["code"] == "session_revoked"
    assert (await auth.call("POST", "/login", json={"email": user["email"], "password": "correct horse"})).status == 401
    await auth.logged_in(user | {"password": "another horse"})
    again = await auth.call("POST", "/password/reset", json={"token": token, "new_password": "a third horse"})
    assert again.body["code"] == "token_unknown"


async def test_what_is_told_once_is_kept_hashed(auth: Any) -> None:
    user = await auth.registered()
    tokens = await auth.logged_in(user)
    await auth.call("POST", "/password/forgot", json={"email": user["email"]})
    ticket = (await auth.call("POST", "/ws-tickets", user=caller_of(tokens))).body["ticket"]
    secret = (await auth.mailed(user["email"]))["token"]
    connection = await asyncpg.connect(auth.settings.database_url.get_secret_value())
    for table, column, told in (
        ("refresh_tokens", "token_hash", tokens["refresh_token"]),
        ("ws_tickets", "ticket_hash", ticket),
        ("confirmations", "token_hash", secret),
    ):
        digest = hashlib.sha256(told.encode()).digest()
        (row,) = await connection.fetch(f"SELECT t::text FROM {table} t WHERE {column} = $1", digest)
        assert told not in row["t"] and told.encode().hex() not in row["t"]
    await connection.close()


async def test_a_token_ends_after_an_hour(auth: Any) -> None:
    user = await auth.registered()
    await auth.call("POST", "/password/forgot", json={"email": user["email"]})
    token = (await auth.mailed(user["email"]))["token"]
    auth.clock.advance(seconds=3601)
    late = await auth.call("POST", "/password/reset", json={"token": token, "new_password": "another horse"})
    assert late.status == 404


async def test_a_changed_password_ends_the_other_sessions(auth: Any) -> None:
    user = await auth.registered()
    here, there = await auth.logged_in(user), await auth.logged_in(user)
    caller = caller_of(here)
    wrong = {"current_password": "wrong horse", "new_password": "another horse"}
    assert (await auth.call("POST", "/password", json=wrong, user=caller)).status == 401
    right = wrong | {"current_password": user["password"]}
    assert (await auth.call("POST", "/password", json=right, user=caller)).status == 204
    stays = await auth.call("POST", "/refresh", json={"refresh_token": here["refresh_token"]})
    ended = await auth.call("POST", "/refresh", json={"refresh_token": there["refresh_token"]})
    assert (stays.status, ended.body["code"]) == (200, "session_revoked")
    await auth.logged_in(user | {"password": "another horse"})


async def test_a_login_with_the_password_of_before_opens_nothing_once_it_is_changed(auth: Any) -> None:
    """the old password is found right → another is set, all sessions end → the login goes on: 401"""
    user = await auth.registered()
    caller = caller_of(await auth.logged_in(user))
    old = {"email": user["email"], "password": user["password"]}
    change = {"current_password": user["password"], "new_password": "another horse"}
    async with held(auth, "users WHERE email = $1", user["email"]) as waiting:
        changing = asyncio.create_task(auth.call("POST", "/password", json=change, user=caller))
        await eventually(lambda: waiting(1))
        others = [
            asyncio.create_task(auth.call("POST", "/login", json=old)),
            asyncio.create_task(
                auth.call("POST", "/password", json=change | {"new_password": "thief horse"}, user=caller)
            ),
        ]
        await eventually(lambda: waiting(3))
    assert (await changing).status == 204
    for late in await asyncio.gather(*others):
        assert (late.status, late.body["code"]) == (401, "invalid_credentials")
    await auth.logged_in(user | {"password": "another horse"})


@contextlib.asynccontextmanager
async def held(auth: Any, rows: str, key: object) -> AsyncIterator[Callable[[int], Awaitable[bool]]]:
    """Nobody gets at the rows meanwhile; tells whether so many wait for them, who get them in the order they came."""
    connection = await asyncpg.connect(auth.settings.database_url.get_secret_value())

    async def waiting(count: int) -> bool:
        return len(await waiting_for_locks(connection)) == count

    try:
        async with connection.transaction():
            await connection.execute(f"SELECT FROM {rows} FOR UPDATE", key)
            yield waiting
    finally:
        await connection.close()


async def test_a_changed_password_ends_the_tokens_that_would_set_it_anew(auth: Any) -> None:
    user = await auth.registered()
    caller = caller_of(await auth.logged_in(user))
    await auth.call("POST", "/password/forgot", json={"email": user["email"]})
    token = (await auth.mailed(user["email"]))["token"]
    change = {"current_password": user["password"], "new_password": "another horse"}
    assert (await auth.call("POST", "/password", json=change, user=caller)).status == 204
    late = await auth.call("POST", "/password/reset", json={"token": token, "new_password": "a thief's horse"})
    assert (late.status, late.body["code"]) == (404, "token_unknown")


async def test_of_two_tokens_of_one_user_used_at_once_one_sets_the_password(auth: Any) -> None:
    """three mails → the tokens of the last two are shown at once → each has its own row, and goes for the others'"""
    user = await auth.registered()
    for number in (1, 2, 3):
        await auth.call("POST", "/password/forgot", json={"email": user["email"]})
        await auth.mailed(user["email"], number)
    first, *shown = (mail["token"] for mail in auth.mails(user["email"]))
    digest = hashlib.sha256(first.encode()).digest()
    resets: list[asyncio.Task[Any]] = []
    async with held(auth, "confirmations WHERE token_hash = $1", digest) as waiting:
        for token in reversed(shown):
            reset = {"token": token, "new_password": "another horse"}
            resets.append(asyncio.create_task(auth.call("POST", "/password/reset", json=reset)))
            await eventually(lambda: waiting(len(resets)))
    assert [reply.status for reply in await asyncio.gather(*resets)] == [204, 404]


async def test_a_letter_box_is_not_filled(auth: Any) -> None:
    user = await auth.registered()
    for _ in range(8):
        assert (await auth.call("POST", "/password/forgot", json={"email": user["email"]})).status == 202
    await auth.mailed(user["email"], 5)
    auth.clock.advance(seconds=3601)
    await auth.call("POST", "/password/forgot", json={"email": user["email"]})
    await auth.mailed(user["email"], 6)
    assert len(auth.mails(user["email"])) == 6


async def test_whoever_registers_an_address_again_and_again_keeps_no_owner_from_his_reset(
    verifying: Any, auth: Any
) -> None:
    """six strangers register his address: five mails without a token → he asks for a new password: a mail with one"""
    user = await auth.registered()
    for _ in range(6):
        again = {"email": user["email"], "password": "stranger horse"}
        assert (await verifying.call("POST", "/register", json=again)).status == 202
    assert (await verifying.mailed(user["email"], 5))["token"] is None
    await verifying.call("POST", "/password/forgot", json={"email": user["email"]})
    assert (await verifying.mailed(user["email"], 6))["token"]


async def test_the_owner_is_told_who_changed_his_password_and_from_where(auth: Any) -> None:
    user = await auth.registered()
    caller = caller_of(await auth.logged_in(user))
    change = {"current_password": user["password"], "new_password": "another horse"}
    source = {"X-Client-Address": "203.0.113.7"}
    assert (await auth.call("POST", "/password", json=change, user=caller, headers=source)).status == 204
    mail = await auth.mailed(user["email"])
    assert (mail["subject"], mail["token"]) == ("Your password was changed", None)
    assert f"{auth.clock.now():%Y-%m-%d %H:%M} UTC from the address 203.0.113.7." in mail["text"]
    assert "/api/v1/auth/password/forgot" in mail["text"]
    await auth.call("POST", "/password/forgot", json={"email": user["email"]})
    token = (await auth.mailed(user["email"], 2))["token"]
    reset = {"token": token, "new_password": "a third horse"}
    assert (await auth.call("POST", "/password/reset", json=reset)).status == 204
    assert (await auth.mailed(user["email"], 3))["subject"] == "Your password was set anew by mail"


async def test_nothing_is_left_to_tell_where_no_mail_is_sent(
    auth: Any, auth_settings: AuthSettings, make_database: MakeDatabase
) -> None:
    own = SecretStr(await make_database("auth"))
    settings = auth_settings.model_copy(update={"auth_mail": None, "ordinal": 2, "database_url": own})
    async with served(create_app(settings, clock=auth.clock)) as url:
        silent = type(auth)(url, settings, auth.clock, auth.signer, auth.http)
        user = await silent.registered()
        caller = caller_of(await silent.logged_in(user))
        change = {"current_password": user["password"], "new_password": "another horse"}
        assert (await silent.call("POST", "/password", json=change, user=caller)).status == 204
    connection = await asyncpg.connect(own.get_secret_value())
    try:
        assert await connection.fetchval("SELECT count(*) FROM notices WHERE user_id = $1", UUID(user["user_id"])) == 0
    finally:
        await connection.close()
