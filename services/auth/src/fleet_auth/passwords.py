"""Which passwords may be used; argon2id in threads of its own, so many at a time as there is memory and CPU for."""

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError
from prometheus_client import Counter
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from .settings import AuthSettings

T = TypeVar("T")


MIN_LENGTH_WITH_MFA = 8
MAX_PASSWORD_LENGTH = 128
"""A bound on what is hashed for a stranger; all of it counts."""
_COMMON = frozenset(FREQUENCY_LISTS["passwords"])
"""The 30,000 most frequent of what has leaked, in lower case."""
_HASHED = Counter("fleet_auth_passwords_hashed_total", "Passwords hashed or compared with a hash.")


class PasswordRefused(ValueError):
    """What is wrong with a password, as a person is told; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TooBusy(Exception):
    """More passwords wait to be checked than a caller would wait for."""


def check_password(password: str, *, shortest: int, email: str = "") -> str:
    """The password, if it may be used: NIST SP 800-63B-4, 3.1.1.2. Raises PasswordRefused.

    Length counts and a list of those that are tried first; what it is composed of does not.
    """
    spelled = normalised(password)
    if not shortest <= len(spelled) <= MAX_PASSWORD_LENGTH:
        message = f"must have {shortest} to {MAX_PASSWORD_LENGTH} characters, was {len(spelled)}"
        raise PasswordRefused("password_length", message)
    folded = spelled.lower()
    if folded in _COMMON or len(set(folded)) == 1 or (email and folded in {email, email.partition("@")[0]}):
        raise PasswordRefused("password_common", "is among the first that are tried")
    return password


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

    async def hash(self, password: str) -> str:
        return await self._in_thread(self._hasher.hash, normalised(password))

    async def is_correct(self, password: str, password_hash: str | None) -> bool:
        """Whether the password is the one behind the hash; never, and as slowly, when there is no hash."""
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

    async def _in_thread(self, call: Callable[..., T], *arguments: str) -> T:
        self.require_place()
        self._places -= 1
        _HASHED.inc()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
        finally:
            self._places += 1
