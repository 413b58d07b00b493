"""argon2id in threads of its own, so many at a time as there is memory and CPU for."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from .settings import AuthSettings

T = TypeVar("T")


class TooBusy(Exception):
    """More passwords wait to be checked than a caller would wait for."""


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
        return await self._in_thread(self._hasher.hash, password)

    async def is_correct(self, password: str, password_hash: str | None) -> bool:
        """Whether the password is the one behind the hash; never, and as slowly, when there is no hash."""
        matches = await self._in_thread(self._matches, password_hash or self._dummy_hash, password)
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
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call, *arguments)
        finally:
            self._places += 1
