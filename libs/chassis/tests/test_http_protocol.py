"""How often the server writes for one answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fleet_chassis.http_protocol import OneWriteProtocol
from fleet_testkit.http import served
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route


class Counting(OneWriteProtocol):
    """Notes what is written to the connection."""

    written: list[bytes] = []  # noqa: RUF012 - the test's own, emptied by it

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self.transport = Noting(transport)  # type: ignore[assignment]


class Noting:
    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        Counting.written.append(data)
        self._transport.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


async def whole(request: Request) -> Response:
    return PlainTextResponse(await request.body() or b"hello")


async def nothing(_request: Request) -> Response:
    return Response(status_code=204)


async def parts(_request: Request) -> Response:
    async def told() -> AsyncIterator[bytes]:
        for part in (b"one", b"two", b"three"):
            yield part

    return StreamingResponse(told())


APP = Starlette(
    routes=[Route("/whole", whole, methods=["GET", "POST"]), Route("/nothing", nothing), Route("/parts", parts)]
)


@pytest.mark.parametrize(
    ("request_head", "writes", "ends_with"),
    [
        (b"GET /whole", 1, b"\r\n\r\nhello"),
        (b"HEAD /whole", 1, b"\r\n\r\n"),
        (b"GET /nothing", 1, b"\r\n\r\n"),
        (b"GET /parts", 4, b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n"),
        (b"GET /nowhere", 1, b"\r\n\r\nNot Found"),
    ],
)
async def test_head_and_body_are_one_write(request_head: bytes, writes: int, ends_with: bytes) -> None:
    async with served(APP, http=Counting) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        for _ in range(2):
            Counting.written.clear()
            writer.write(request_head + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(ends_with):
                answer += await asyncio.wait_for(reader.read(65_536), 10)
            assert len(Counting.written) == writes
        writer.close()


async def test_whoever_waits_to_be_told_to_go_on_is_told_so() -> None:
    async with served(APP, http=Counting) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        writer.write(b"POST /whole HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hi")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\nhi"), 10)).startswith(b"HTTP/1.1 200 OK\r\n")
        writer.close()
