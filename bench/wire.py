"""HTTP/1.1 over kept connections for as little CPU as a sender can do with, since it shares the cores with the fleet."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Self


class Wire:
    """To one address, over at most so many connections at once. `async with Wire("127.0.0.1", 8000, most=200) as wire:`"""

    def __init__(self, host: str, port: int, *, most: int) -> None:
        self._host, self._port = host, port
        self._free = asyncio.Semaphore(most)
        self._kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        for _, writer in self._kept:
            writer.close()

    async def post(self, path: str, headers: str, body: bytes) -> tuple[int, bytes]:
        """Status and body of the answer. `headers` are lines that end with CRLF. Raises OSError, EOFError."""
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        )
        async with self._connection() as (reader, writer):
            writer.write(head.encode() + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
            return int(answer[9:12]), await reader.readexactly(length)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        async with self._free:
            # What has idled long was closed at the other end.
            while self._kept and self._kept[-1][0].at_eof():
                self._kept.pop()[1].close()
            connection = self._kept.pop() if self._kept else await asyncio.open_connection(self._host, self._port)
            try:
                yield connection
            except BaseException:
                connection[1].close()
                raise
            self._kept.append(connection)
