"""uvicorn's socket protocol with two things more: it can close a socket whose reader has stopped reading, and knows that
a handshake which was refused with a whole answer is over.

ASGI's own `websocket.close` waits until the reader has taken what was sent before, which such a reader never does.
"""

from typing import cast

from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from .server import CLOSE_TIMEOUT_S, HANG_UP


class SocketProtocol(WebSocketsSansIOProtocol):
    """For `uvicorn.Config(ws=SocketProtocol)`."""

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            cast(dict[str, object], self.scope["extensions"])[HANG_UP] = self.hang_up

    async def send(self, message: ASGISendEvent) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body", False):
            # Otherwise uvicorn logs an error for everybody who comes with a bad token.
            self.handshake_complete = True

    def hang_up(self, code: int, reason: str) -> None:
        """Queues the close frame behind what was written, waits a moment for an answer, then cuts the connection."""
        if self.close_sent or self.transport.is_closing():
            return
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.stop_keepalive()
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(CLOSE_TIMEOUT_S, self.transport.abort)
