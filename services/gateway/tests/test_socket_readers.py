"""Sockets whose reader does not read: they end all the same, and what is no message is counted too."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from fleet_gateway.identity import Principal
from fleet_gateway.sockets.connection import MOST_QUEUED_BYTES, Connection
from fleet_gateway.sockets.protocol import OUTLET, SocketProtocol
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served
from websockets.frames import Close, Frame, Opcode

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
CLOSE = Frame(Opcode.CLOSE, Close(1000, "").serialize()).serialize(mask=True)
FLOODED = Frame(Opcode.CLOSE, Close(1008, "too many messages").serialize()).serialize(mask=False)
PING = Frame(Opcode.PING, b"x" * 125).serialize(mask=True)
PART = Frame(Opcode.TEXT, b"", fin=False).serialize(mask=True)
NEXT_PART = Frame(Opcode.CONT, b"", fin=False).serialize(mask=True)


class HastySocket(SocketProtocol):
    cut_after_s = 0.2


class Talker:
    """Says more to whoever comes than the network holds, and then what it is told to."""

    def __init__(self, much: int) -> None:
        self.outlet: SocketProtocol | None = None
        self.connection: Connection | None = None
        self._much = much

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        await receive()
        await send({"type": "websocket.accept"})
        user = uuid4()
        principal = Principal(user, "session", frozenset(), float("inf"), {}, str(user))
        self.outlet = scope["extensions"][OUTLET]
        connection = Connection(principal, "x", self.outlet, most_queued=1_000, messages_per_s=20)
        if self._much:
            connection.answer(b"x" * self._much)
        self.connection = connection
        while (await receive())["type"] != "websocket.disconnect":
            pass

    @property
    def unsent(self) -> int:
        assert self.outlet is not None
        return self.outlet.transport.get_write_buffer_size()


async def mute(url: str) -> socket.socket:
    """A client that has opened a socket and reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", int(url.rsplit(":", 1)[1])))
    await loop.sock_sendall(client, HANDSHAKE)
    return client


@pytest.fixture
async def talker() -> AsyncIterator[tuple[Talker, str]]:
    app = Talker(16 * 1_048_576)
    async with served(app, ws=HastySocket, ws_ping_interval=0.2, ws_ping_timeout=0.2) as url:
        yield app, url


@pytest.mark.parametrize(
    "ending", ["the client says so", "we say so, and he too", "he answers no ping", "he hangs up half"]
)
async def test_a_socket_ends_though_its_reader_does_not_read(talker: Any, ending: str) -> None:
    app, url = talker
    with await mute(url) as client:
        await eventually(lambda: app.connection and app.unsent)
        if ending.startswith("we"):
            app.connection.close((4401, "over"))
        if ending.endswith(("so", "too")):
            await asyncio.get_running_loop().sock_sendall(client, CLOSE)
        if ending.endswith("half"):
            client.shutdown(socket.SHUT_WR)
        await eventually(lambda: app.outlet.disconnected)


@pytest.mark.parametrize("flood", [PING * 5_000, PART + NEXT_PART * 5_000], ids=["pings", "parts"])
async def test_a_flood_of_frames_that_are_no_messages(flood: bytes) -> None:
    app = Talker(0)
    async with served(app, ws=SocketProtocol) as url:
        with await mute(url) as client:
            await eventually(lambda: app.connection)
            await asyncio.get_running_loop().sock_sendall(client, flood)
            await eventually(lambda: app.connection and app.connection.is_closing)
            assert (await _until_hung_up(client)).endswith(FLOODED)


async def test_a_flood_that_ends_with_a_close_is_nothing_unusual(caplog: pytest.LogCaptureFixture) -> None:
    """All of it comes at once: the socket is being closed already when its pings are counted."""
    app = Talker(0)
    async with served(app, ws=SocketProtocol) as url:
        with await mute(url) as client:
            await eventually(lambda: app.connection)
            await asyncio.get_running_loop().sock_sendall(client, PING * 200 + CLOSE)
            assert (await _until_hung_up(client)).endswith(
                Frame(Opcode.CLOSE, Close(1000, "").serialize()).serialize(mask=False)
            )
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def _until_hung_up(client: socket.socket) -> bytes:
    """All that comes."""
    come = b""
    while part := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 65_536), 10):
        come += part
    return come


async def test_what_waits_for_a_reader_is_bounded_in_bytes_too() -> None:
    """With what waits in the transport."""
    app = Talker(8 * 1_048_576)
    async with served(app, ws=HastySocket) as url:
        with await mute(url):
            await eventually(lambda: app.connection and app.unsent)
            assert app.connection is not None
            large = b"x" * 1_048_576
            taken = -1
            while not app.connection.is_closing:
                app.connection.answer(large)
                taken += 1
            waiting = app.unsent + taken * len(large)
            assert MOST_QUEUED_BYTES - len(large) < waiting <= MOST_QUEUED_BYTES
            await eventually(lambda: app.outlet and app.outlet.disconnected)
