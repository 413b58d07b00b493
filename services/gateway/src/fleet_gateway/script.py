"""One script of Redis, asked again and again over one kept connection (RESP2): what redis-py does for a command costs
more than all else that a request's limits do."""

import asyncio
import hashlib
import time
from collections.abc import Sequence
from typing import cast
from urllib.parse import unquote, urlsplit

_UPTIME = b"return {tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))}"


class ScriptFailed(ConnectionError):
    """Redis refused, with this word of it."""


class Script:
    """One call at a time; its answer is a list of integers."""

    def __init__(self, url: str, text: str, *, timeout_s: float) -> None:
        self._url = urlsplit(url)
        self._text = text.encode()
        self._sha = hashlib.sha1(self._text, usedforsecurity=False).hexdigest().encode()
        self._timeout_s = timeout_s
        self._wire: _Wire | None = None
        self.remembers_since = float("inf")
        """By this process's monotonic clock: Redis forgets all when it is started anew. Of one that does not tell, the time
        of our connection."""

    async def __call__(self, keys: Sequence[str], arguments: Sequence[str]) -> list[int]:
        """Raises OSError, of which ScriptFailed and TimeoutError are kinds."""
        words = [b"%d" % len(keys), *(word.encode() for word in (*keys, *arguments))]
        wire, self._wire = self._wire, None
        loop, half_s = asyncio.get_running_loop(), self._timeout_s / 2
        try:
            async with asyncio.timeout(None) as patience:
                # In two halves: if it is this process that was held up, what has come meanwhile is read in the second.
                second = loop.call_later(half_s, lambda: patience.reschedule(loop.time() + half_s))
                try:
                    if wire is None or wire.transport.is_closing():
                        wire = await self._connected()
                    found = await self._run(wire, words)
                finally:
                    second.cancel()
        except BaseException:
            # A late answer must not be taken for that to another question.
            if wire is not None:
                wire.transport.abort()
            raise
        self._wire = wire
        return found

    async def _run(self, wire: "_Wire", words: Sequence[bytes]) -> list[int]:
        try:
            return await wire.ask(b"EVALSHA", self._sha, *words)
        except ScriptFailed as failure:
            if not str(failure).startswith("NOSCRIPT"):
                raise
            return await wire.ask(b"EVAL", self._text, *words)

    def close(self) -> None:
        if self._wire is not None:
            self._wire.transport.close()

    async def _connected(self) -> "_Wire":
        url, loop = self._url, asyncio.get_running_loop()
        _, wire = await loop.create_connection(
            _Wire, url.hostname or "127.0.0.1", url.port or 6379, ssl=url.scheme == "rediss" or None
        )
        if url.password is not None:
            user = [unquote(url.username).encode()] if url.username else []
            await wire.ask(b"AUTH", *user, unquote(url.password).encode())
        if url.path.strip("/0"):
            await wire.ask(b"SELECT", url.path.strip("/").encode())
        now = time.monotonic()
        try:
            (uptime_s,) = await wire.ask(b"EVAL", _UPTIME, b"0")
        except ScriptFailed:
            uptime_s = 0
        self.remembers_since = now - uptime_s
        return wire


class _Wire(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self) -> None:
        self._come = b""
        self._answer: asyncio.Future[list[int]] | None = None

    def ask(self, *words: bytes) -> "asyncio.Future[list[int]]":
        self._come = b""
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(
            b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])
        )
        return self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("Redis has closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._come += data
        if self._answer is None or self._answer.done() or not self._come.endswith(b"\r\n"):
            return
        first, *others = self._come[:-2].split(b"\r\n")
        if first[:1] == b"-":
            self._answer.set_exception(ScriptFailed(first[1:].decode("latin-1")))
        elif first[:1] != b"*":
            self._answer.set_result([])
        elif len(others) == int(first[1:]):
            self._answer.set_result([int(number[1:]) for number in others])
