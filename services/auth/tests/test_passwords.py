"""Which passwords may be used, and how they are compared."""

import asyncio
import threading

import pytest
from fleet_auth.passwords import MAX_PASSWORD_LENGTH, PasswordRefused, Passwords, TooBusy, check_password
from fleet_auth.settings import AuthSettings
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("short14 chars!", "password_length"),
        ("x" * (MAX_PASSWORD_LENGTH + 1), "password_length"),
        # Seven letters, each typed as two code points.
        ("e\u0301" * 7, "password_length"),
        ("QWERTY123456789", "password_common"),
        ("AAAAAAAAAAAAAAAA", "password_common"),
        ("ada.lovelace@example.com", "password_common"),
        # As other keyboards type them.
        ("e\u0301" * 15, "password_common"),
        ("ame\u0301lie.poulain@example.com", "password_common"),
    ],
)
def test_what_is_refused(password: str, code: str) -> None:
    email = "amélie.poulain@example.com" if "poulain" in password else "ada.lovelace@example.com"
    with pytest.raises(PasswordRefused) as refused:
        check_password(password, shortest=15, email=email)
    assert refused.value.code == code


def test_the_list_holds_whatever_the_operator_allows() -> None:
    for common in ("password", "Password1", "12345678", "QWERTYUIOP"):
        with pytest.raises(PasswordRefused):
            check_password(common, shortest=8)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=20, max_size=40).filter(lambda t: len(set(t)) > 15))
def test_no_rule_asks_what_it_is_composed_of(password: str) -> None:
    assert check_password(password, shortest=8) == password


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
