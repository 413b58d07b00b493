"""uvicorn's socket protocol as sockets with many readers need it. It writes at once what is encoded already, ends whatever
its reader does or leaves undone, and knows that a handshake which was refused with a whole answer is over.

ASGI takes text, which is encoded for each socket anew, by a task of the socket's own. And uvicorn closes a connection once
the reader has taken what was sent before, which one that does not read never does; and it answers as many pings as come.
"""

import asyncio
import struct
from collections.abc import Callable
from typing import cast

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame
from websockets.http11 import Request
from websockets.protocol import State

OUTLET = "fleet.outlet"
"""The extension of the ASGI scope under which an accepted socket finds its protocol."""
_TEXT = 0x81
"""FIN, and the opcode of text."""


class SocketProtocol(WebSocketsSansIOProtocol):
    """For `uvicorn.Config(ws=SocketProtocol)`. `on_writable` is called when a slow reader has caught up, `on_frame` for
    what comes besides messages: pings, pongs, and messages in parts."""

    cut_after_s = 5.0
    """Between the last word and the end of the connection, whether or not it was taken."""

    on_writable: Callable[[], None] | None = None
    on_frame: Callable[[], None] | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_complete:
            # What websockets refuses by itself, uvicorn neither writes nor ends.
            self.handshake_complete = True
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            cast(dict[str, object], self.scope["extensions"])[OUTLET] = self

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            # Otherwise uvicorn logs an error for everybody who comes with a bad token.
            self.handshake_complete = True

    def eof_received(self) -> None:
        # The transport closes by itself, once what was sent is taken.
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        super().on_task_complete(task)
        if not self.disconnected:
            self.loop.call_later(self.cut_after_s, self.transport.abort)

    def keepalive_timeout(self) -> None:
        self.hang_up(1011, "no answer to a ping")

    def handle_ping(self) -> None:
        pong = b"".join(self.conn.data_to_send())
        self._count_frame()
        if self.handshake_complete and not self.close_sent:
            self.transport.write(pong)

    def handle_pong(self, event: Frame) -> None:
        self._count_frame()
        super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        self._count_frame()
        super().handle_cont(event)

    def _count_frame(self) -> None:
        if self.on_frame is not None:
            self.on_frame()

    @property
    def is_writable(self) -> bool:
        """Whether the reader keeps up: less than 64 KiB wait in the transport."""
        return self.writable.is_set()

    @property
    def unsent_bytes(self) -> int:
        """What waits in the transport."""
        return self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.on_writable is not None:
            self.on_writable()

    def write_text(self, *parts: bytes) -> None:
        """Writes one message, whose parts are UTF-8, as a frame; nothing once the socket is being closed."""
        if self.conn.state is State.OPEN and not self.transport.is_closing():
            self.transport.write(b"".join((head_of_text(sum(map(len, parts))), *parts)))

    def hang_up(self, code: int, reason: str) -> None:
        """Queues the close frame behind what was written, waits a moment for an answer, then cuts the connection.

        To the application the client has left."""
        if self.conn.state is not State.OPEN or self.close_sent or self.transport.is_closing():
            return  # it has its end already, or will be told of it by the client's own close
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.stop_keepalive()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.cut_after_s, self.transport.abort)


def head_of_text(size: int) -> bytes:
    """Of a server's frame with one whole message of text (RFC 6455, 5.2)."""
    if size < 126:
        return bytes((_TEXT, size))
    if size < 65_536:
        return struct.pack("!BBH", _TEXT, 126, size)
    return struct.pack("!BBQ", _TEXT, 127, size)
