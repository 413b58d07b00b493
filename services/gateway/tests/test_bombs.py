"""What is long, does not end, or is small to send and large to serve: within bounds, refused within two seconds, in 64 MB.

The seconds are this process's CPU time, the sender's included, so that a busy machine does not matter."""

import asyncio
import contextlib
import functools
import gc
import gzip
import json
import os
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import brotli
import psutil
import pytest
from fleet_gateway.http_protocol import HEAD_BYTES, REQUEST_BYTES, HttpProtocol
from fleet_gateway.routes import find
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served
from prometheus_client import REGISTRY
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

MOST_S, MOST_BYTES = 2.0, 64 * 1_048_576
GIGABYTE = 1 << 30
PART = b"x" * 65_536


class Connection:
    """Sends until it is answered; `sent` counts the bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer, self.sent = writer, 0
        self.answer = asyncio.create_task(self._answered(reader))
        self._began, self._memory = time.process_time(), psutil.Process(os.getpid()).memory_info().rss
        self.growth, self.took_s = 0, 0.0
        self.answer.add_done_callback(self._note)

    def _note(self, _answer: object) -> None:
        self.took_s = time.process_time() - self._began

    async def send(self, part: bytes) -> bool:
        """Whether more may be sent."""
        if self.answer.done():
            return False
        try:
            self._writer.write(part)
            async with asyncio.timeout(10):
                await self._writer.drain()
        except (OSError, TimeoutError):
            return False
        self.sent += len(part)
        self.growth = max(self.growth, psutil.Process(os.getpid()).memory_info().rss - self._memory)
        return True

    async def status(self) -> int:
        """Of the answer, which was there in time and space."""
        answer = await asyncio.wait_for(self.answer, 10)
        assert self.took_s < MOST_S
        assert self.growth < MOST_BYTES
        return int(answer.split(b" ", 2)[1])

    @staticmethod
    async def _answered(reader: asyncio.StreamReader) -> bytes:
        return await reader.readuntil(b"\r\n\r\n")


def post(token: str, *headers: str) -> bytes:
    lines = ["POST /api/v1/orders HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.fixture
async def connect(fleet: Any) -> AsyncIterator[Callable[[], Awaitable[Connection]]]:
    writers: list[asyncio.StreamWriter] = []

    async def open_one() -> Connection:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(fleet.url.rsplit(":", 1)[1]))
        writers.append(writer)
        return Connection(reader, writer)

    yield open_one
    for writer in writers:
        writer.transport.abort()


async def test_a_gigabyte_in_chunks(fleet: Any, connect: Any) -> None:
    user = await fleet.new_user()
    connection = await connect()
    await connection.send(post(user.token, "Transfer-Encoding: chunked"))
    chunk = b"%x\r\n" % len(PART) + PART + b"\r\n"
    while connection.sent < GIGABYTE and await connection.send(chunk):
        pass
    assert await connection.status() == 413
    assert connection.sent < REQUEST_BYTES + 16 * 1_048_576


@pytest.mark.parametrize("head", [b"GET /", b"GET / HTTP/1.1\r\nX-Long: ", b"GET / HTTP/1.1\r\nX-", b"X"])
async def test_a_head_without_end(connect: Any, head: bytes) -> None:
    connection = await connect()
    await connection.send(head)
    while connection.sent < GIGABYTE and await connection.send(PART):
        pass
    assert await connection.status() == (431 if head != b"X" else 400)


async def test_headers_without_end(connect: Any) -> None:
    connection = await connect()
    await connection.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
    while connection.sent < GIGABYTE and await connection.send(b"X-Many: 1\r\n" * 500):
        pass
    assert await connection.status() == 431


async def test_a_head_that_comes_at_once_is_measured_too(connect: Any) -> None:
    connection = await connect()
    await connection.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * HEAD_BYTES + b"\r\n\r\n")
    assert await connection.status() == 431


async def test_trailers_without_end(fleet: Any, connect: Any) -> None:
    user = await fleet.new_user()
    connection = await connect()
    await connection.send(post(user.token, "Transfer-Encoding: chunked") + b"0\r\nX-Trailer: ")
    while connection.sent < GIGABYTE and await connection.send(PART):
        pass
    assert connection.sent < REQUEST_BYTES + 16 * 1_048_576
    assert connection.growth < MOST_BYTES


async def test_bodies_have_bounds(fleet: Any) -> None:
    user = await fleet.new_user()
    large = b"x" * (fleet.settings.body_limit_bytes + 1)

    async def chunks() -> Any:
        for _ in range(5):
            yield large[: len(large) // 4]

    for data in (large, chunks()):
        reply = await fleet.call("POST", "/api/v1/strategies", token=user.token, data=data)
        reply.assert_problem(413, "body_too_large")
    exact, strategies = b"x" * 262_144, ("POST", "/api/v1/strategies")
    assert (await fleet.call(*strategies, token=user.token, data=exact)).status == 200
    (await fleet.call(*strategies, token=user.token, data=exact + b"x")).assert_problem(413, "body_too_large")
    (await fleet.call("POST", "/api/v1/orders", token=user.token, data=exact)).assert_problem(413, "body_too_large")
    assert (await fleet.call("POST", "/api/v1/orders/batch", token=user.token, data=exact)).status == 200


@pytest.mark.parametrize(("coding", "pack"), [("gzip", gzip.compress), ("br", brotli.compress), ("identity", bytes)])
async def test_bodies_are_unpacked(fleet: Any, coding: str, pack: Any) -> None:
    user = await fleet.new_user()
    body = json.dumps({"client_order_id": "c-1", "note": "what shrinks well " * 50}).encode()
    packed = pack(body)
    headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
    order = functools.partial(fleet.call, "POST", "/api/v1/orders", token=user.token, headers=headers)
    assert (await order(data=packed)).status == 200
    seen = fleet.services["trading"].seen[-1]
    assert (seen.body, "content-encoding" in seen.headers) == (body, False)
    assert seen.headers["content-length"] == str(len(body))
    if coding == "identity":
        return
    limit = 65_536
    assert (await order(data=pack(secrets.token_hex(limit // 2).encode()))).status == 200
    reached = len(fleet.services["trading"].seen)
    for too_large in (secrets.token_hex(limit // 2 + 1).encode(), bytes(limit)):
        (await order(data=pack(too_large))).assert_problem(413, "body_too_large")
    for broken in (packed[:-1], body, packed + packed, b""):
        (await order(data=broken)).assert_problem(400, "bad_request")
    assert len(fleet.services["trading"].seen) == reached


@pytest.mark.parametrize("coding", ["deflate", "gzip, br", "zstd"])
async def test_bodies_packed_otherwise_are_refused(fleet: Any, coding: str) -> None:
    user = await fleet.new_user()
    headers = {"Content-Encoding": coding}
    reply = await fleet.call("POST", "/api/v1/strategies", token=user.token, data=b"x", headers=headers)
    reply.assert_problem(415, "unsupported_media_type")
    assert reply.headers["Accept-Encoding"] == "br, gzip"


async def test_long_bodies_have_room_together(fleet: Any, second_gateway: Any) -> None:
    """Four that do not come to their end leave no room for a fifth, until they leave; short ones go on."""
    user, most = await fleet.new_user(), 4 * 60_000
    async with second_gateway(gateway_bodies_bytes=most) as gateway:
        port = int(gateway.url.rsplit(":", 1)[1])
        halves = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        for _, writer in halves:
            writer.write(post(user.token, "Content-Length: 60000") + b"x" * 30_000)

        async def fifth() -> int:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            half = b" " * 30_000
            writer.write(post(user.token, "Content-Length: 60000") + half)
            try:
                # Refused at once, or waited for.
                status = await asyncio.wait_for(reader.readline(), 0.5)
            except TimeoutError:
                writer.write(half)
                status = await reader.readline()
            writer.close()
            return int(status.split(b" ")[1])

        async def is_refused() -> bool:
            return await fifth() == 503

        async def is_taken() -> bool:
            return await fifth() == 200

        await eventually(is_refused)
        assert (await gateway.call("POST", "/api/v1/orders", token=user.token, json={})).status == 200
        for _, writer in halves:
            writer.close()
        await eventually(is_taken)


@pytest.mark.parametrize("framing", ["Content-Length: {size}", "Transfer-Encoding: chunked"])
async def test_ten_gigabytes_in_ten_megabytes(fleet: Any, connect: Any, framing: str) -> None:
    user = await fleet.new_user()
    bomb = gzip.compress(bytes(10 * 1_048_576)) * 1_000
    connection = await connect()
    await connection.send(post(user.token, "Content-Encoding: gzip", framing.format(size=len(bomb))))
    for at in range(0, len(bomb), len(PART)):
        part = bomb[at : at + len(PART)]
        if not await connection.send(b"%x\r\n%b\r\n" % (len(part), part) if "chunked" in framing else part):
            break
    assert await connection.status() == 413


@pytest.mark.parametrize("pack", [gzip.compress, functools.partial(brotli.compress, quality=1)])
@pytest.mark.parametrize("megabytes", [5, 50])
async def test_a_body_that_would_grow(fleet: Any, connect: Any, pack: Any, megabytes: int) -> None:
    """Small enough to be taken; never unpacked beyond what a body may have."""
    user = await fleet.new_user()
    bomb = pack(bytes(megabytes * 1_048_576))
    coding = "gzip" if pack is gzip.compress else "br"
    connection = await connect()
    headers = (f"Content-Encoding: {coding}", f"Content-Length: {len(bomb)}")
    await connection.send(post(user.token, *headers) + bomb)
    assert await connection.status() == 413


@pytest.fixture
def no_collector() -> Iterator[None]:
    """What it finalises at the bottom of a recursion has no depth left, which pytest takes for a failure of the test."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    "path", ["/api/v1/orders", "/api/v1/orders/batch", "/api/v1/deployments", "/api/v1/auth/login"]
)
@pytest.mark.parametrize("deeper", ["[", '{"a":', '{"orders":['])
@pytest.mark.usefixtures("no_collector")
async def test_json_as_deep_as_a_body_can_be(fleet: Any, path: str, deeper: str) -> None:
    user = await fleet.new_user()
    route = find(path.encode())
    assert route is not None
    deep = deeper[:-1] + deeper[-1] * 100_000 if deeper.endswith("[") else deeper * 100_000
    began = time.process_time()
    for data in (deep, deep[: route.body_bytes]):
        headers = {"Content-Type": "application/json"}
        reply = await fleet.call("POST", path, token=user.token, data=data, headers=headers)
        if len(data) > route.body_bytes:
            assert reply.status == 413
        elif path in ("/api/v1/auth/login", "/api/v1/deployments"):
            assert (reply.status, reply.body["code"]) in ((400, "malformed_json"), (422, "invalid_request"))
        else:
            # For trading to say so; what the gateway looks for in an order it did not find.
            assert reply.status == 200
    assert time.process_time() - began < MOST_S


class HastyProtocol(HttpProtocol):
    request_timeout_s = answer_timeout_s = 0.2


async def echo(request: Request) -> Response:
    return Response(await request.body())


async def whole(_request: Request) -> Response:
    return Response(PART * 500)


async def endless(_request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield PART
            await asyncio.sleep(0)

    return StreamingResponse(parts())


ECHO = Starlette(
    routes=[
        Route("/", echo, methods=["GET", "POST"]),
        Route("/whole", whole),
        Route("/endless", endless),
    ]
)


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\nHost", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123"],
    ids=["nothing", "half a head", "half a body"],
)
async def test_a_request_that_does_not_end(sent: bytes) -> None:
    async with served(ECHO, http=HastyProtocol) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        writer.write(sent)
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_a_connection_that_rests_between_requests_is_kept() -> None:
    async with served(ECHO, http=HastyProtocol) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 200 ")
            with contextlib.suppress(TimeoutError):
                assert await asyncio.wait_for(reader.read(1), 3 * HastyProtocol.request_timeout_s) != b""
        writer.close()


async def test_empty_lines_after_an_answer_keep_no_connection() -> None:
    async with served(ECHO, http=HastyProtocol) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).startswith(b"HTTP/1.1 200 ")
        writer.write(b"\r\n")
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def hasty_connection(url: str, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """With a request for this on its way, and little room for the answer."""
    taker = socket.socket()
    taker.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    taker.setblocking(False)
    await asyncio.get_running_loop().sock_connect(taker, ("127.0.0.1", int(url.rsplit(":", 1)[1])))
    reader, writer = await asyncio.open_connection(sock=taker)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return reader, writer


@pytest.mark.parametrize("path", ["/whole", "/endless"])
async def test_who_stops_reading_his_answer_is_cut_off(path: str) -> None:
    def cut_off() -> float:
        return REGISTRY.get_sample_value("fleet_gateway_answers_not_taken_total") or 0

    async with served(ECHO, http=HastyProtocol) as url:
        before = cut_off()
        reader, writer = await hasty_connection(url, path)
        await eventually(lambda: cut_off() == before + 1)
        taken = 0
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(len(PART)):
                taken += len(part)
        assert taken < 500 * len(PART)
        writer.close()


async def test_who_reads_slowly_has_his_answer() -> None:
    async with served(ECHO, http=HastyProtocol) as url:
        reader, writer = await hasty_connection(url, "/whole")
        await reader.readuntil(b"\r\n\r\n")
        taken, never = 0, asyncio.Event()
        while taken < 500 * len(PART):
            taken += len(await reader.readexactly(len(PART) * 50))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(never.wait(), HastyProtocol.answer_timeout_s / 2)
        writer.close()


async def test_an_answer_under_way_is_not_mixed_with_another() -> None:
    async with served(ECHO, http=HttpProtocol) as url:
        reader, writer = await hasty_connection(url, "/endless")
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"no HTTP\r\n\r\n")
        come = b""
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(len(PART)):
                come = come[-20:] + part
                assert b"HTTP/1.1 400" not in come
        writer.close()
