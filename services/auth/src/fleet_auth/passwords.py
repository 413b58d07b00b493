"""Which passwords may be used; argon2id in threads of its own, so many at a time as there is memory and CPU for."""

import asyncio
import re
import threading
import unicodedata
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from prometheus_client import Counter
from zxcvbn import zxcvbn

from .settings import AuthSettings

T = TypeVar("T")


MIN_LENGTH_WITH_MFA = 8
MAX_PASSWORD_LENGTH = 128
"""A bound on what is hashed for a stranger; all of it counts."""
FEWEST_GUESSES = 10_000_000
"""Who has about a hundred a day (guessing/) needs centuries; eight characters drawn by chance stand above it."""
_LOOKED_AT = 32
"""Of a password, so that the slowest takes a third of a second: what is good so far gets no worse behind."""
_SERVICE_NAME = "tradefleet"
_ZXCVBN = threading.Lock()
"""It keeps the words of its caller in a table that all its callers share."""
_HASHED = Counter("fleet_auth_passwords_hashed_total", "Passwords hashed or compared with a hash.")


class PasswordRefused(ValueError):
    """What is wrong with a password, as a person is told; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TooBusy(Exception):
    """More passwords wait to be checked than a caller would wait for."""


def fewest_guesses(password: str, words: Iterable[str] = ()) -> float:
    """How many guesses find the password, at the least, for who knows these words (zxcvbn: frequent passwords, names, words of
    English, keyboards, dates, sequences, repeats, and what they are joined to). Takes up to a third of a second."""
    with _ZXCVBN:
        return float(zxcvbn(password[:_LOOKED_AT], user_inputs=[_SERVICE_NAME, *words])["guesses"])


def words_about(email: str, name: str | None) -> list[str]:
    """What is known of a person and would be tried: address and name, whole, without what separates, and each word."""
    found: dict[str, None] = {}
    for text in (email, email.partition("@")[0], name or ""):
        parts = [part for part in re.split(r"[\W_]+", normalised(text).lower()) if part]
        found |= dict.fromkeys((normalised(text).lower()[:_LOOKED_AT], "".join(parts)[:_LOOKED_AT], *parts))
    return [word for word in found if len(word) > 2]


def normalised(password: str) -> str:
    """One spelling for what looks the same and is typed differently on another keyboard (NFC)."""
    return unicodedata.normalize("NFC", password)


class Passwords:
    """Hashes and checks passwords. A check of an unknown user costs the same as of a known one."""

    def __init__(self, settings: AuthSettings) -> None:
        self._hasher = PasswordHasher(
            time_cost=settings.auth_argon2_time_cost,
            memory_cost=settings.auth_argon2_memory_kib,
            parallelism=settings.auth_argon2_parallelism,
            type=Type.ID,
        )
        self._dummy_hash = self._hasher.hash("no user has this password")
        self._threads = ThreadPoolExecutor(settings.auth_password_threads, "argon2")
        self._places = settings.auth_password_threads + settings.auth_password_queue

    def require_place(self) -> None:
        """Raises TooBusy if a password given now would be refused."""
        if self._places <= 0:
            raise TooBusy

    async def check(self, password: str, *, shortest: int, email: str, name: str | None = None) -> None:
        """Whether it may be the password of this person: NIST SP 800-63B-4, 3.1.1.2. Raises PasswordRefused, TooBusy.

        Length counts and how soon it would be tried; what it is composed of does not.
        """
        spelled = normalised(password)
        if not shortest <= len(spelled) <= MAX_PASSWORD_LENGTH:
            message = f"must have {shortest} to {MAX_PASSWORD_LENGTH} characters, was {len(spelled)}"
            raise PasswordRefused("password_length", message)
        if await self._in_thread(fewest_guesses, spelled, words_about(email, name)) < FEWEST_GUESSES:
            raise PasswordRefused("password_common", "is among the first that are tried")

    async def hash(self, password: str) -> str:
        _HASHED.inc()
        return await self._in_thread(self._hasher.hash, normalised(password))

    async def is_correct(self, password: str, password_hash: str | None) -> bool:
        """Whether the password is the one behind the hash; never, and as slowly, when there is no hash."""
        _HASHED.inc()
        matches = await self._in_thread(self._matches, password_hash or self._dummy_hash, normalised(password))
        return matches and password_hash is not None

    def needs_rehash(self, password_hash: str) -> bool:
        """Whether the hash was made with other parameters than today's."""
        return self._hasher.check_needs_rehash(password_hash)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _matches(self, password_hash: str, password: str) -> bool:
        try:
            return self._hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _in_thread(self, call: Callable[..., T], *arguments: object) -> T:
        self.require_place()
        self._places -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
        finally:
            self._places += 1
