"""Which passwords may be used, and how they are compared."""

import asyncio
import dataclasses
import random
import string
import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from argon2 import extract_parameters
from fleet_auth.app import create_app
from fleet_auth.passwords import (
    FEWEST_GUESSES,
    MAX_PASSWORD_LENGTH,
    PasswordRefused,
    Passwords,
    TooBusy,
    fewest_guesses,
)
from fleet_auth.settings import AuthSettings
from fleet_testkit.http import served
from hypothesis import given
from hypothesis import strategies as st

LEET = "4@8({[<3691!|0$5+7%2" * 6
"""What the library that guesses has most to look at."""


@pytest.fixture
def passwords(auth_settings: AuthSettings) -> Iterator[Passwords]:
    made = Passwords(auth_settings)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("short14 chars!", "password_length"),
        ("x" * (MAX_PASSWORD_LENGTH + 1), "password_length"),
        # Seven letters, each typed as two code points.
        ("e\u0301" * 7, "password_length"),
        ("QWERTY123456789", "password_common"),
        ("AAAAAAAAAAAAAAAA", "password_common"),
        ("123456789012345", "password_common"),
        ("passwordpassword", "password_common"),
        ("password12345678", "password_common"),
        ("iloveyouiloveyou", "password_common"),
        ("qwertyuiopasdfgh", "password_common"),
        ("summer2026summer2026", "password_common"),
        ("password" * 16, "password_common"),
        # What belongs to the service and to the person.
        ("tradefleettradefleet", "password_common"),
        ("ilovetradefleet", "password_common"),
        ("ada.lovelace@example.com", "password_common"),
        ("lovelacelovelace", "password_common"),
        ("Countess of Deep Thought", "password_common"),
        ("countessofdeepthought", "password_common"),
        # As other keyboards type them.
        ("e\u0301" * 15, "password_common"),
        ("ame\u0301lie.poulain@example.com", "password_common"),
    ],
)
async def test_what_is_refused(passwords: Passwords, password: str, code: str) -> None:
    email = "amélie.poulain@example.com" if "poulain" in password else "ada.lovelace@example.com"
    with pytest.raises(PasswordRefused) as refused:
        await passwords.check(password, shortest=15, email=email, name="Countess of Deep Thought")
    assert refused.value.code == code


async def test_what_is_tried_first_is_refused_whatever_length_the_operator_allows(passwords: Passwords) -> None:
    for common in ("password", "Password1", "12345678", "QWERTYUIOP"):
        with pytest.raises(PasswordRefused):
            await passwords.check(common, shortest=8, email="ada@example.com")


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "mein hund frisst gerne",
        "blue kettle sings loudly",
        "a different horse",
        "слон идёт домой",
        "vT4kPq9sLw2xZc7",
        LEET,
    ],
)
async def test_what_nobody_tries_first_is_taken(passwords: Passwords, password: str) -> None:
    await passwords.check(password, shortest=15, email="ada.lovelace@example.com", name="Ada")


@given(
    st.sampled_from([string.digits, string.ascii_lowercase, string.ascii_letters, "абвгдежзиклмнопрст", "+-/=&% #"]),
    st.integers(min_value=0),
)
def test_no_rule_asks_what_it_is_composed_of(alphabet: str, seed: int) -> None:
    password = "".join(random.Random(seed).choices(alphabet, k=24))
    assert fewest_guesses(password) >= FEWEST_GUESSES


async def test_names_of_one_person_are_not_held_against_another(passwords: Passwords) -> None:
    """However many are judged at once: the library keeps what it is told of the person for all its callers."""
    theirs = "quixoticzanzibarquixotic"
    asked = [
        passwords.check(theirs, shortest=15, email=f"{'quixotic.zanzibar' if n % 2 else 'ada'}@example.com")
        for n in range(40)
    ]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [isinstance(result, PasswordRefused) for result in results] == [bool(n % 2) for n in range(40)]


async def test_however_many_come_at_once_a_few_are_hashed_and_those_beyond_the_queue_are_refused(
    auth_settings: AuthSettings,
) -> None:
    """Each that is hashed takes its memory: 64 that come at once take that of two."""
    before = set(threading.enumerate())
    passwords = Passwords(auth_settings)
    hashed = await passwords.hash("correct horse battery")
    begun = [asyncio.ensure_future(passwords.is_correct("wrong horse", hashed)) for _ in range(70)]
    results = await asyncio.gather(*begun, return_exceptions=True)
    assert 0 < len(set(threading.enumerate()) - before) <= auth_settings.auth_password_threads
    places = auth_settings.auth_password_threads + auth_settings.auth_password_queue
    assert [isinstance(result, TooBusy) for result in results] == [False] * places + [True] * (70 - places)
    assert await passwords.is_correct("correct horse battery", hashed)
    passwords.close()


async def test_the_whole_password_counts_in_one_spelling(auth_settings: AuthSettings) -> None:
    passwords = Passwords(auth_settings)
    long = "correct horse battery staple " * 4
    kept = await passwords.hash(long + "é")
    assert await passwords.is_correct(long + "e\u0301", kept)
    assert not await passwords.is_correct(long + "e", kept)
    assert not await passwords.is_correct(long, kept)
    passwords.close()


async def test_a_login_moves_the_hash_to_the_parameters_of_today(auth: Any, auth_settings: AuthSettings) -> None:
    """registered under one cost → served with another → logs in → the hash is of argon2id and the new cost → stays"""
    user = await auth.registered()

    async def kept() -> str:
        connection = await asyncpg.connect(auth_settings.database_url.get_secret_value())
        try:
            found: str = await connection.fetchval(
                "SELECT password_hash FROM users WHERE user_id = $1", UUID(user["user_id"])
            )
            return found
        finally:
            await connection.close()

    before = await kept()
    assert extract_parameters(before).time_cost == 1
    costlier = auth_settings.model_copy(update={"auth_argon2_time_cost": 3, "auth_argon2_memory_kib": 128})
    async with served(create_app(costlier, clock=auth.clock)) as url:
        other = dataclasses.replace(auth, url=url)
        await other.logged_in(user)
        after = await kept()
        assert after.startswith("$argon2id$")
        made = extract_parameters(after)
        assert (made.time_cost, made.memory_cost) == (3, 128)
        await other.logged_in(user)
    assert await kept() == after
    await auth.logged_in(user)
