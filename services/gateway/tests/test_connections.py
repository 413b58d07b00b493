"""Kept connections to services: an answer is whole and its own, or there is none."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from fleet_gateway.answers import Answer
from fleet_gateway.connections import COLLECTED_BYTES, Connections, Lost, NotReached, Request
from fleet_testkit.eventually import eventually

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Told: yes\r\n\r\nhi"
Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def connected_to(handle: Handle, most: int = 1) -> AsyncIterator[Connections]:
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connections = Connections(f"http://127.0.0.1:{port}", most=most, connect_timeout_s=5)
    yield connections
    connections.close()
    server.close()


class Service:
    """Answers each request with what `answers` says next, cut into pieces; what is after None is never sent."""

    def __init__(self) -> None:
        self.answers: list[list[bytes | None]] = []
        self.asked: list[tuple[int, bytes]] = []
        self.connections = self.open = 0

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        number = self.connections
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                self.asked.append((number, await reader.readuntil(b"\r\n\r\n")))
                for piece in self.answers.pop(0) if self.answers else [OK]:
                    if piece is None:
                        await reader.read()
                        break
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
                else:
                    continue
                break
        self.open -= 1
        writer.close()


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
async def connections(service: Service) -> AsyncIterator[Connections]:
    async with connected_to(service.handle, most=2) as connections:
        yield connections


async def ask(connections: Connections, method: str = "GET", timeout_s: float = 10, streams: bool = False) -> Answer:
    return await connections.ask(Request(method, "/x?y=1", "X-A: b\r\n", b"", timeout_s, streams))


@pytest.mark.parametrize(
    ("answer", "status", "body", "is_kept"),
    [
        ([OK], 200, b"hi", True),
        ([bytes([byte]) for byte in OK], 200, b"hi", True),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], 204, b"", True),
        (
            [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", b"1\r\n!\r\n0\r\n\r\n"],
            200,
            b"hi!",
            True,
        ),
        ([b"HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 1\r\n\r\n", b"x"], 503, b"x", False),
    ],
)
async def test_whole_answers(
    service: Service, connections: Connections, answer: list[Any], status: int, body: bytes, is_kept: bool
) -> None:
    service.answers = [answer]
    told = await ask(connections)
    assert (told.status, told.body) == (status, body)
    assert service.asked[0][1].startswith(b"GET /x?y=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nX-A: b\r\n" in service.asked[0][1]
    again = await ask(connections)
    assert (again.status, again.body, again.headers) == (200, b"hi", [(b"x-told", b"yes")])
    assert service.connections == (1 if is_kept else 2)


async def test_the_answer_to_a_head_has_no_body(service: Service, connections: Connections) -> None:
    service.answers = [[b"HTTP/1.1 405 No\r\nContent-Length: 99\r\n\r\n"]]
    told = await ask(connections, "HEAD")
    assert (told.status, told.body) == (405, b"")
    assert (await ask(connections)).body == b"hi"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"",
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_what_is_no_whole_answer_is_none(answer: bytes) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with connected_to(hang_up) as rude:
        for _ in range(2):
            with pytest.raises(Lost):
                await ask(rude)


async def test_what_nobody_asked_for_answers_nobody(service: Service, connections: Connections) -> None:
    service.answers = [[OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong"]]
    for _ in range(2):
        assert (await ask(connections)).body == b"hi"
    assert service.connections == 2


async def test_who_is_late_answers_nobody(service: Service, connections: Connections) -> None:
    service.answers = [[None]]
    with pytest.raises(TimeoutError):
        await ask(connections, timeout_s=0.05)
    await eventually(lambda: service.open == 0)
    assert (await ask(connections)).body == b"hi"
    assert service.connections == 2


async def test_who_gives_up_leaves_nothing_behind(service: Service, connections: Connections) -> None:
    for _ in range(5):
        service.answers = [[None]]
        asked = asyncio.create_task(ask(connections))
        service.asked.clear()
        await eventually(lambda: service.asked)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
    await eventually(lambda: service.open == 0)
    assert (await ask(connections)).body == b"hi"


async def test_only_so_many_at_once(service: Service, connections: Connections) -> None:
    service.answers = [[None], [None]]
    hanging = [asyncio.create_task(ask(connections)) for _ in range(2)]
    await eventually(lambda: len(service.asked) == 2)
    with pytest.raises(NotReached):
        await ask(connections, timeout_s=0.05)
    waiting = asyncio.create_task(ask(connections))
    hanging[0].cancel()
    assert (await waiting).body == b"hi"
    hanging[1].cancel()
    await asyncio.gather(*hanging, return_exceptions=True)
    assert service.connections == 3


async def test_nobody_there() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        nowhere = Connections(f"http://127.0.0.1:{nobody.getsockname()[1]}", most=1, connect_timeout_s=5)
        for _ in range(2):
            with pytest.raises(NotReached):
                await ask(nowhere)


async def test_a_long_answer_comes_as_it_is_taken() -> None:
    part, parts, sent, ended = b"x" * 65_536, 500, 0, 0

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent, ended
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (parts * len(part)))
                for sent in range(1, parts + 1):  # noqa: B007 - looked at below
                    writer.write(part)
                    await writer.drain()
        ended += 1
        writer.close()

    async with connected_to(tell) as connections:
        for _ in range(2):
            told = await ask(connections, streams=True)
            assert told.rest is not None
            assert COLLECTED_BYTES < len(told.body) < 4 * COLLECTED_BYTES
            # The service waits meanwhile; what it has sent more is in the buffers of two sockets.
            before = -1
            while before < sent:
                before = sent
                for _ in range(50):
                    await asyncio.sleep(0)
            assert sent < parts
            size = len(told.body) + sum([len(one) async for one in told.rest])
            assert (size, ended) == (parts * len(part), 0)
        told = await ask(connections, streams=True)
        assert told.rest is not None
        assert await anext(told.rest)
        await told.rest.aclose()
        await eventually(lambda: ended == 1)
        with pytest.raises(Lost):
            await ask(connections)


async def test_a_long_answer_that_breaks_off() -> None:
    go_on = asyncio.Event()

    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n" + b"x" * 2 * COLLECTED_BYTES)
        await go_on.wait()
        writer.close()

    async with connected_to(tell) as connections:
        told = await ask(connections, streams=True)
        assert told.rest is not None
        go_on.set()
        with pytest.raises(Lost):
            async for _ in told.rest:
                pass
