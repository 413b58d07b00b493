"""Second factors: RFC 6238's own codes, logins in two steps, recovery codes, and a fresh factor."""

import asyncio
import dataclasses
import functools
import hashlib
from base64 import b32encode
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import jwt
import pyotp
import pytest
from fleet_auth.app import create_app
from fleet_auth.mfa.domain import WRONG_CODES, Totp, hash_recovery_code, new_recovery_codes
from fleet_testkit.clock import FakeClock
from fleet_testkit.http import served
from hypothesis import given
from hypothesis import strategies as st

WRONG = "12345"
"""One digit short: never a code."""


def a_totp(**changes: Any) -> Totp:
    secret = b32encode(b"12345678901234567890").decode()
    told: dict[str, Any] = {
        "secret": secret,
        "is_confirmed": True,
        "last_step": 0,
        "failures": 0,
        "blocked_until": None,
    } | changes
    return Totp(user_id=UUID(int=1), **told)


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (59, "94287082"),
        (1111111109, "07081804"),
        (1111111111, "14050471"),
        (1234567890, "89005924"),
        (2000000000, "69279037"),
        (20000000000, "65353130"),
    ],
)
def test_codes_are_those_of_rfc_6238(at: int, code: str) -> None:
    now = datetime.fromtimestamp(at, UTC)
    assert a_totp().step_of(code[-6:], now) == at // 30


@given(made_at_s=st.integers(10**9, 4 * 10**9), late_s=st.integers(-200, 200))
def test_a_code_is_good_for_its_step_and_one_beside_it_and_once(made_at_s: int, late_s: int) -> None:
    made_at = datetime.fromtimestamp(made_at_s, UTC)
    shown_at = made_at + timedelta(seconds=late_s)
    made, shown = (int(at.timestamp()) // 30 for at in (made_at, shown_at))
    code = pyotp.TOTP(a_totp().secret).generate_otp(made)
    found = a_totp().step_of(code, shown_at)
    if abs(made - shown) <= 1:
        assert found is not None
        assert a_totp(last_step=found).step_of(code, shown_at) != found
    elif found is not None:  # The same six digits in another step: one in 300,000.
        assert pyotp.TOTP(a_totp().secret).generate_otp(found) == code


def test_who_guesses_waits_longer_each_time() -> None:
    now = datetime(2026, 1, 5, tzinfo=UTC)
    waits = [a_totp().blocked_after(failures, now) for failures in range(1, 14)]
    assert waits[:4] == [None] * 4
    seconds = [(wait - now).total_seconds() for wait in waits[4:] if wait is not None]
    assert seconds[:3] == [30, 60, 120]
    assert seconds == sorted(seconds)
    assert seconds[-1] == WRONG_CODES.longest_wait.total_seconds()


def test_recovery_codes_are_read_however_they_are_typed() -> None:
    codes, user = new_recovery_codes(), UUID(int=1)
    assert len(set(codes)) == 10
    typed = codes[0].lower().replace("-", " ")
    assert hash_recovery_code(user, typed) == hash_recovery_code(user, codes[0])
    assert hash_recovery_code(UUID(int=2), codes[0]) != hash_recovery_code(user, codes[0])


class Person:
    """A user with a session, and perhaps an authenticator."""

    def __init__(self, auth: Any, user: dict[str, Any], tokens: dict[str, Any]) -> None:
        self.auth, self.user, self.tokens = auth, user, tokens
        self.secret, self.recovery_codes = "", list[str]()

    @classmethod
    async def new(cls, auth: Any, *, enrolled: bool = True, **fields: str) -> "Person":
        user = await auth.registered(**fields)
        person = cls(auth, user, await auth.logged_in(user))
        if enrolled:
            begun = await person.call("/mfa/totp")
            assert begun.status == 201, begun.body
            person.secret = begun.body["secret"]
            done = await person.call("/mfa/totp/verify", person.code())
            assert done.status == 200, done.body
            person.recovery_codes = done.body["recovery_codes"]
        return person

    def code(self) -> str:
        clock: FakeClock = self.auth.clock
        return pyotp.TOTP(self.secret).at(clock.now())

    def next_code(self) -> str:
        self.auth.clock.advance(seconds=30)
        return self.code()

    async def call(
        self,
        path: str,
        code: str | None = None,
        method: str = "POST",
        body: Any = None,
        factor_age_s: int | None = None,
    ) -> Any:
        claims = {name: decoded(self.tokens)[name] for name in ("sub", "sid", "roles", "scopes")}
        if factor_age_s is not None:
            claims["mfa_at"] = int(self.auth.clock.now().timestamp()) - factor_age_s
        return await self.auth.call(method, path, json=body if code is None else {"code": code}, user=claims)

    async def sets_password(self, password: str) -> Any:
        body = {"current_password": self.user["password"], "new_password": password}
        self.user["password"] = password
        return await self.call("/password", body=body)

    async def begin_login(self) -> Any:
        credentials = {"email": self.user["email"], "password": self.user["password"]}
        reply = await self.auth.call("POST", "/login", json=credentials)
        assert (reply.status, set(reply.body)) == (200, {"mfa_required", "mfa_token"})
        return reply.body["mfa_token"]

    async def answer(self, token: str, code: str) -> Any:
        return await self.auth.call("POST", "/login/mfa", json={"mfa_token": token, "code": code})


def decoded(tokens: dict[str, Any]) -> dict[str, Any]:
    return jwt.decode(tokens["access_token"], options={"verify_signature": False})


async def rows(auth: Any, statement: str, *arguments: Any) -> Any:
    connection = await asyncpg.connect(auth.settings.database_url.get_secret_value())
    try:
        return await connection.fetch(statement, *arguments)
    finally:
        await connection.close()


async def test_a_login_with_a_second_factor_takes_two_steps(auth: Any) -> None:
    """enrol → login → mfa_token → code → tokens that say when; the token and the code are used up"""
    person = await Person.new(auth, enrolled=False)
    assert not (await person.call("/me", method="GET")).body["mfa_enabled"]
    person = await Person.new(auth)
    assert (await person.call("/me", method="GET")).body["mfa_enabled"]
    assert (await person.call("/mfa/totp")).body["code"] == "mfa_enabled"
    token, code = await person.begin_login(), person.next_code()
    reply = await person.answer(token, code)
    assert reply.status == 200
    assert decoded(reply.body)["mfa_at"] == int(auth.clock.now().timestamp())
    assert reply.headers["Cache-Control"] == "no-store"
    assert (await person.answer(token, person.next_code())).body["code"] == "mfa_token_unknown"
    assert (await person.answer(await person.begin_login(), code)).body["code"] == "invalid_code"
    late = await person.begin_login()
    auth.clock.advance(seconds=300)
    assert (await person.answer(late, person.code())).body["code"] == "mfa_token_unknown"


async def test_a_factor_is_set_up_just_after_a_login_only(auth: Any) -> None:
    person = await Person.new(auth, enrolled=False)
    auth.clock.advance(seconds=901)
    late = await person.call("/mfa/totp")
    assert (late.status, late.body["code"]) == (403, "login_required")
    person.tokens = (await auth.call("POST", "/refresh", json={"refresh_token": person.tokens["refresh_token"]})).body
    assert (await person.call("/mfa/totp")).status == 403
    person.tokens = await auth.logged_in(person.user)
    assert (await person.call("/mfa/totp")).status == 201


async def test_the_picture_holds_the_uri_and_the_secret_is_sealed_and_the_codes_are_hashed(auth: Any) -> None:
    person = await Person.new(auth, enrolled=False)
    told = (await person.call("/mfa/totp")).body
    assert told["qr_svg"].startswith("<svg")
    assert told["otpauth_uri"].startswith("otpauth://totp/Tradefleet:")
    assert f"secret={told['secret']}" in told["otpauth_uri"]
    person.secret = told["secret"]
    codes = (await person.call("/mfa/totp/verify", person.code())).body["recovery_codes"]
    user_id = UUID(person.user["user_id"])
    (totp,) = await rows(auth, "SELECT secret FROM totp WHERE user_id = $1", user_id)
    assert told["secret"].encode() not in totp["secret"]
    kept = {
        row["code_hash"] for row in await rows(auth, "SELECT code_hash FROM recovery_codes WHERE user_id = $1", user_id)
    }
    assert len(kept) == 10
    assert not kept & {hashlib.sha256(code.encode()).digest() for code in codes}


async def test_new_recovery_codes_take_the_place_of_the_old(auth: Any) -> None:
    """no fresh factor: 403 → one used: 9 left → new ones, mailed: the old count no more, 10 left"""
    person = await Person.new(auth)
    left = functools.partial(person.call, "/mfa/recovery-codes", method="GET")
    assert (await person.call("/mfa/step-up", person.recovery_codes[0])).status == 200
    assert (await left()).body == {"left": 9}
    for age_s in (None, 301):
        stale = await person.call("/mfa/recovery-codes", factor_age_s=age_s)
        assert (stale.status, stale.body["code"]) == (403, "mfa_required")
    renewed = await person.call("/mfa/recovery-codes", factor_age_s=0)
    assert (renewed.status, renewed.headers["Cache-Control"]) == (201, "no-store")
    codes = renewed.body["recovery_codes"]
    assert (await left()).body == {"left": 10}
    old = await person.call("/mfa/step-up", person.recovery_codes[1])
    assert (old.status, old.body["code"]) == (401, "invalid_code")
    assert (await person.call("/mfa/step-up", codes[0])).status == 200
    told = {(await auth.mailed(person.user["email"], n))["text"].partition(", at ")[0] for n in range(1, 5)}
    assert {"New recovery codes were made", "A recovery code was used: 9 are left"} <= told
    without = await Person.new(auth, enrolled=False)
    none = await without.call("/mfa/recovery-codes", factor_age_s=0)
    assert (none.status, none.body["code"]) == (409, "mfa_not_enabled")


async def test_a_recovery_code_counts_once(auth: Any) -> None:
    person = await Person.new(auth)
    assert len(set(person.recovery_codes)) == 10
    first = person.recovery_codes[0].lower()
    assert (await person.answer(await person.begin_login(), first)).status == 200
    assert (await person.answer(await person.begin_login(), first)).body["code"] == "invalid_code"
    assert (await person.call("/mfa/step-up", person.recovery_codes[1])).status == 200


async def test_a_code_tried_many_times_at_once_counts_once(auth: Any) -> None:
    person = await Person.new(auth)
    code = person.next_code()
    replies = await asyncio.gather(*(person.call("/mfa/step-up", code) for _ in range(5)))
    assert sorted(reply.status for reply in replies) == [200, 401, 401, 401, 401]


async def test_guesses_are_bounded_for_an_account_however_many_logins_they_come_through(auth: Any) -> None:
    """5 wrong codes through 5 logins → wait, the right code too → wait over → right"""
    person = await Person.new(auth)
    for _ in range(5):
        assert (await person.answer(await person.begin_login(), WRONG + "x")).status == 401
    blocked = await person.answer(await person.begin_login(), person.code())
    assert (blocked.status, blocked.body["code"]) == (429, "too_many_codes")
    assert 0 < int(blocked.headers["Retry-After"]) <= 30
    assert (await person.call("/mfa/step-up", person.code())).status == 429
    assert (await person.answer(await person.begin_login(), person.next_code())).status == 200


async def test_another_password_ends_a_login_that_waits_for_its_code(auth: Any) -> None:
    person = await Person.new(auth)
    token = await person.begin_login()
    assert (await person.sets_password("another horse")).status == 204
    late = await person.answer(token, person.next_code())
    assert (late.status, late.body["code"]) == (401, "mfa_token_unknown")
    assert (await person.answer(await person.begin_login(), person.next_code())).status == 200


async def test_a_factor_stays_while_the_password_is_too_short_without(auth: Any) -> None:
    settings = auth.settings.model_copy(update={"auth_password_min_length": 15, "ordinal": 1})
    async with served(create_app(settings, clock=auth.clock)) as url:
        person = await Person.new(dataclasses.replace(auth, url=url), password="fifteen or more")
        assert (await person.sets_password("vk7 tulip")).status == 204
        kept = await person.call("/mfa/totp/disable", person.next_code())
        assert (kept.status, kept.body["code"]) == (409, "password_too_short")
        assert (await person.sets_password("fifteen again, or more")).status == 204
        assert (await person.call("/mfa/totp/disable", person.code())).status == 204


async def test_a_short_password_and_the_end_of_the_factor_at_once_are_not_both_done(auth: Any) -> None:
    settings = auth.settings.model_copy(update={"auth_password_min_length": 15, "ordinal": 1})
    async with served(create_app(settings, clock=auth.clock)) as url:
        person = await Person.new(dataclasses.replace(auth, url=url), password="fifteen or more")
        code = person.next_code()
        replies = await asyncio.gather(person.sets_password("vk7 tulip"), person.call("/mfa/totp/disable", code))
        assert sorted(reply.status for reply in replies) in ([204, 409], [204, 422])
        told = next(str(reply.body) for reply in replies if reply.body is not None)
        assert "password_too_short" in told or "password_length" in told


async def test_a_step_up_makes_the_token_fresh_and_a_refresh_keeps_when_it_was(auth: Any) -> None:
    person = await Person.new(auth)
    enrolled_at = int(auth.clock.now().timestamp())
    assert "mfa_at" not in decoded(person.tokens)
    refreshed = (await auth.call("POST", "/refresh", json={"refresh_token": person.tokens["refresh_token"]})).body
    assert decoded(refreshed)["mfa_at"] == enrolled_at
    stepped = await person.call("/mfa/step-up", person.next_code())
    assert set(stepped.body) == {"access_token", "token_type", "expires_in"}
    claims = decoded(stepped.body)
    assert claims["mfa_at"] == enrolled_at + 30
    assert claims["exp"] == enrolled_at + 30 + auth.settings.auth_access_token_s
    assert (await person.call("/logout")).status == 204
    assert (await person.call("/mfa/step-up", person.next_code())).body["code"] == "session_revoked"


async def test_without_a_factor_there_is_none_to_show_and_disabling_takes_one(auth: Any) -> None:
    person = await Person.new(auth, enrolled=False)
    for path in ("/mfa/step-up", "/mfa/totp/disable", "/mfa/totp/verify"):
        reply = await person.call(path, WRONG + "6")
        assert (reply.status, reply.body["code"]) == (409, "mfa_not_enabled")
    person = await Person.new(auth)
    assert (await person.call("/mfa/totp/disable", WRONG + "x")).status == 401
    assert (await person.call("/mfa/totp/disable", person.next_code())).status == 204
    await auth.logged_in(person.user)
    user_id = UUID(person.user["user_id"])
    assert await rows(auth, "SELECT 1 FROM recovery_codes WHERE user_id = $1", user_id) == []
    assert await rows(auth, "SELECT 1 FROM sessions WHERE user_id = $1 AND mfa_at IS NOT NULL", user_id) == []


async def test_the_owner_is_told_what_became_of_his_second_factor(auth: Any) -> None:
    person = await Person.new(auth)
    assert (await person.answer(await person.begin_login(), person.recovery_codes[0])).status == 200
    assert (await person.call("/mfa/totp/disable", person.next_code())).status == 204
    email = person.user["email"]
    told = {(await auth.mailed(email, number))["subject"] for number in (1, 2, 3)}
    assert told == {"A second factor was set up", "A recovery code was used", "Your second factor was removed"}
    assert len(auth.mails(email)) == 3
