"""Long bodies go on as they come: by bytes, since what matters is what is there while the rest is not."""

import asyncio
import contextlib
import functools
import gzip
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from fleet_chassis.problems import Problem
from fleet_gateway.bodies import WHOLE_BYTES, ClientGone, Incoming, Room
from fleet_gateway.connections import Connections, Lost, Request
from fleet_testkit.eventually import eventually

LIMIT = 262_144
"""Of the route that is asked."""
BEGUN, LENGTH = WHOLE_BYTES + 10_000, 200_000
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


@dataclass
class Service:
    """Does with each connection what `serve` says."""

    url: str = ""
    connections: int = 0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]] | None = None

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        assert self.serve is not None
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            await self.serve(reader, writer)
        writer.close()


class Wire:
    """A client's connection."""

    def __init__(self, port: int, token: str) -> None:
        self.port, self.token = port, token

    async def __aenter__(self) -> "Wire":
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    def ask(self, *headers: str, method: str = "POST", body: bytes = b"") -> None:
        lines = [f"{method} /api/v1/strategies HTTP/1.1", "Host: x", f"Authorization: Bearer {self.token}", *headers]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)

    async def status(self) -> int:
        """Of the next answer, which is read to its end."""
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await self.reader.readexactly(int(length.partition(b":")[2]))
        return int(head.split(b" ")[1])


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def service(second_gateway: Any) -> AsyncIterator[tuple[Service, Any]]:
    service = Service()
    server = await asyncio.start_server(service.handle, "127.0.0.1", 0)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with second_gateway(services={"strategy": service.url}) as gateway:
        yield service, gateway
    server.close()


@pytest.fixture
async def strategy(service: tuple[Service, Any]) -> AsyncIterator[tuple[Service, Wire]]:
    behind, gateway = service
    behind.connections = 0
    token = (await gateway.new_user()).token
    async with Wire(int(gateway.url.rsplit(":", 1)[1]), token) as wire:
        yield behind, wire
    while behind.writers:
        behind.writers.pop().transport.abort()


async def chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while size := int(await reader.readline(), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    assert await reader.readline() == b"\r\n"


def chunk(part: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(part), part)


@pytest.mark.parametrize("is_announced", [True, False])
async def test_a_long_body_goes_on_as_it_comes(strategy: tuple[Service, Wire], is_announced: bool) -> None:
    """client half → service half → client the rest → service whole → answer; then the same on the same connections."""
    service, client = strategy
    sent, come, heads = secrets.token_bytes(LENGTH), bytearray(), []
    frame: Any = bytes if is_announced else chunk

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            heads.append((await reader.readuntil(b"\r\n\r\n")).lower())
            if is_announced:
                while len(come) < LENGTH:
                    come.extend(await reader.read(WHOLE_BYTES))
            else:
                async for part in chunks(reader):
                    come.extend(part)
            writer.write(OK)

    service.serve = take
    for _ in range(2):
        come.clear()
        framing = f"Content-Length: {LENGTH}" if is_announced else "Transfer-Encoding: chunked"
        client.ask(framing, body=frame(sent[:BEGUN]))
        await eventually(lambda: len(come) == BEGUN)
        client.writer.write(frame(sent[BEGUN:]) + (b"" if is_announced else chunk(b"")))
        assert await client.status() == 200
        assert come == sent
        framings = [line for line in heads[-1].split(b"\r\n") if b"length" in line or b"encoding" in line]
        assert framings == [framing.lower().encode()]
    assert service.connections == 1


async def test_a_body_is_refused_as_soon_as_it_is_too_long(strategy: tuple[Service, Wire]) -> None:
    service, client = strategy
    come, is_cut = 0, asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal come
        await reader.readuntil(b"\r\n\r\n")
        try:
            async for part in chunks(reader):
                come += len(part)
        except (ConnectionError, asyncio.IncompleteReadError, ValueError):
            is_cut.set()

    service.serve = take
    client.ask(f"Content-Length: {LIMIT + 1}", body=b"x" * BEGUN)
    assert await client.status() == 413
    assert service.connections == 0
    client.writer.write(b"x" * (LIMIT + 1 - BEGUN))

    client.ask("Transfer-Encoding: chunked", body=chunk(b"x" * BEGUN))
    await eventually(lambda: come == BEGUN)
    client.writer.write(chunk(b"x" * (LIMIT - BEGUN + 1)))
    assert await client.status() == 413
    await is_cut.wait()
    assert BEGUN <= come <= LIMIT


@pytest.mark.parametrize("rest", [None, b"no chunk\r\n"])
async def test_half_a_body_never_becomes_a_whole_one(strategy: tuple[Service, Wire], rest: bytes | None) -> None:
    """The client goes, or breaks off in what is no HTTP: the service never sees an end."""
    service, client = strategy
    come, ended = bytearray(), asyncio.Event()

    async def take(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        try:
            while part := await reader.read(WHOLE_BYTES):
                come.extend(part)
        finally:
            ended.set()

    service.serve = take
    client.ask("Transfer-Encoding: chunked", body=chunk(b"x" * BEGUN))
    await eventually(lambda: len(come) > BEGUN)
    if rest is None:
        client.writer.close()
    else:
        client.writer.write(rest)
        assert await client.status() == 400
    await asyncio.wait_for(ended.wait(), 10)
    assert not come.endswith(b"0\r\n\r\n")


async def test_an_answer_before_the_end_of_the_body(strategy: tuple[Service, Wire]) -> None:
    """service answers at once → client is told → both its connection and the next request have answers of their own."""
    service, client = strategy

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            is_reading = (await reader.readuntil(b"\r\n\r\n")).startswith(b"GET ")
            if not is_reading:
                await reader.readexactly(BEGUN)
            writer.write(OK if is_reading else OK.replace(b"200 OK", b"401 No"))

    service.serve = refuse
    client.ask(f"Content-Length: {LENGTH}", body=b"x" * BEGUN)
    assert await client.status() == 401
    client.writer.write(b"x" * (LENGTH - BEGUN))
    client.ask(method="GET")
    assert await client.status() == 200
    assert service.connections == 2


@pytest.mark.parametrize("method", ["POST", "DELETE"])
async def test_a_service_that_dies_over_a_body(strategy: tuple[Service, Wire], method: str) -> None:
    service, client = strategy

    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    service.serve = die
    client.ask(f"Content-Length: {LENGTH}", method=method, body=b"x" * BEGUN)
    assert await client.status() == 504
    assert service.connections == 1


async def test_what_is_repeated_has_no_body(strategy: tuple[Service, Wire]) -> None:
    service, client = strategy
    heard = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write_eof()
        heard.append(await reader.read())

    service.serve = hang_up
    client.ask(f"Content-Length: {LENGTH}", method="GET", body=b"x" * BEGUN)
    assert await client.status() == 503
    heads, bodies = heard[::2], heard[1::2]
    assert (len(heads), bodies) == (2, [b"", b""])
    assert not any(b"content-length" in head.lower() or b"transfer-encoding" in head.lower() for head in heads)


async def test_what_has_to_be_known_is_read_whole(strategy: tuple[Service, Wire]) -> None:
    service, client = strategy
    body, come = secrets.token_hex(LENGTH // 2).encode(), []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"\r\nContent-Length: %d\r\n" % LENGTH in head
        come.append(await reader.readexactly(LENGTH))
        writer.write(OK)

    service.serve = take
    packed = gzip.compress(body)
    client.ask("Content-Encoding: gzip", f"Content-Length: {len(packed)}", body=packed[:BEGUN])
    client.writer.write(packed[BEGUN:])
    assert await client.status() == 200
    assert come == [body]


class Client:
    """Sends 64 KiB whenever it is asked; `limit` and room as given."""

    def __init__(self, parts: int, *, limit: int = 1 << 30, streams: int = 1) -> None:
        self.parts, self.asked = parts, 0
        self.room = Room(1 << 30, streams)
        self.body = Incoming(self._receive, self.room, limit, 0)

    async def _receive(self) -> dict[str, Any]:
        self.asked += 1
        return {"type": "http.request", "body": b"x" * WHOLE_BYTES, "more_body": self.asked < self.parts}


@contextlib.asynccontextmanager
async def connected_to(handle: Any) -> AsyncIterator[Connections]:
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connections = Connections(f"http://127.0.0.1:{port}", most=1, connect_timeout_s=5)
    yield connections
    connections.close()
    server.close()


async def test_nothing_is_read_faster_than_it_is_taken() -> None:
    client, go_on = Client(500), asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await go_on.wait()
        size = sum([len(part) async for part in chunks(reader)])
        writer.write(OK.replace(b"hi", b"%02d" % (size // WHOLE_BYTES // 10)))

    async with connected_to(take) as connections:
        body = await client.body.passed_on()
        asking = asyncio.create_task(connections.ask(Request("POST", "/", body_head(body), body, 10)))
        # What is beyond is in the buffers of two sockets.
        before = -1
        while before < client.asked:
            before = client.asked
            for _ in range(50):
                await asyncio.sleep(0)
        assert client.asked < 200
        go_on.set()
        assert (await asking).body == b"50"
    assert client.room.streams == 0
    client.body.leave_room()
    assert (client.room.streams, client.room.left) == (1, 1 << 30)


def body_head(body: bytes | Incoming) -> str:
    assert isinstance(body, Incoming)
    return body.framing + "\r\n"


async def test_the_service_has_its_time_and_the_client_its_own() -> None:
    ended = asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await ended.wait()
        writer.close()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        async for _ in chunks(reader):
            pass
        writer.write(OK)

    class Slow(Client):
        async def _receive(self) -> dict[str, Any]:
            if self.asked >= 2:
                ready = asyncio.Event()
                asyncio.get_running_loop().call_later(0.2, ready.set)
                await ready.wait()
            return await super()._receive()

    async with connected_to(hang) as connections:
        body = await Client(500).body.passed_on()
        with pytest.raises(TimeoutError):
            await connections.ask(Request("POST", "/", body_head(body), body, 0.1))
        ended.set()
    async with connected_to(answer) as connections:
        body = await Slow(3).body.passed_on()
        assert (await connections.ask(Request("POST", "/", body_head(body), body, 0.1))).status == 200


async def test_whatever_ends_a_body_ends_the_connection() -> None:
    async def take(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    class Gone(Client):
        async def _receive(self) -> dict[str, Any]:
            return await super()._receive() if self.asked < 3 else {"type": "http.disconnect"}

    async with connected_to(take) as connections:
        ask: Any = functools.partial(Request, "POST", "/")
        for client, failure in ((Gone(9), ClientGone), (Client(9, limit=3 * WHOLE_BYTES), Problem)):
            body = await client.body.passed_on()
            with pytest.raises(failure):
                await connections.ask(ask(body_head(body), body, 10))
        body = await Client(500).body.passed_on()
        asking = asyncio.create_task(connections.ask(ask(body_head(body), body, 10)))
        await asyncio.sleep(0)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        with pytest.raises((Lost, TimeoutError)):
            await connections.ask(ask("", b"", 0.05))


async def test_where_there_is_no_room_for_one_more_it_is_read_whole() -> None:
    client = Client(4, streams=0)
    assert await client.body.passed_on() == b"x" * 4 * WHOLE_BYTES
    assert await client.body.whole() == b"x" * 4 * WHOLE_BYTES
    client = Client(3, streams=1)
    assert isinstance(await client.body.passed_on(), Incoming)
    assert isinstance(await Client(1).body.passed_on(), bytes)
