"""The API's socket: subscribe to channels, iterate over their messages."""

from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import aiohttp
import msgspec

from fleet_sdk.problems import SocketClosed, problem

Message = dict[str, Any]

SILENCE_S = 10.0
"""The server says something at least every second; after ten without a word the connection counts as lost."""
_BUFFERED = 1_000  # messages that may come before a subscription's answer: as many as the server queues for a reader


class Socket:
    """Made by `FleetClient.socket()`. One task reads it."""

    def __init__(self, connection: aiohttp.ClientWebSocketResponse, *, silence_s: float) -> None:
        self._connection = connection
        self._silence_s = silence_s
        self._last_request = 0
        self._waiting: deque[Message] = deque()

    async def subscribe(self, channel: str, symbols: Sequence[str] = ()) -> None:
        """Returns when the server has confirmed; raises ApiError when it refuses.

        Messages that come meanwhile are kept for the iteration.
        """
        params: dict[str, Any] = {"channel": channel, **({"symbols": list(symbols)} if symbols else {})}
        self._last_request += 1
        request = {"method": "subscribe", "params": params, "req_id": self._last_request}
        await self._connection.send_str(msgspec.json.encode(request).decode())
        answers = max(1, len(symbols))
        while answers:
            message = await self._receive()
            if message.get("req_id") != self._last_request:
                self._keep(message)
            elif message["success"]:
                answers -= 1
            else:
                raise problem(400, message.get("problem", {}))

    async def __aiter__(self) -> AsyncIterator[Message]:
        """Messages of channels, `{channel, type, sequence, data}`, without heartbeats. Ends with SocketClosed only.

        A snapshot with `truncated: True` does not hold all of an account's open orders or positions: read the rest over
        HTTP, and keep of each object the highest version."""
        while True:
            message = self._waiting.popleft() if self._waiting else await self._receive()
            if _is_of_channel(message):
                yield message

    async def close(self) -> None:
        await self._connection.close()

    def _keep(self, message: Message) -> None:
        if not _is_of_channel(message):
            return
        if len(self._waiting) >= _BUFFERED:
            raise SocketClosed(1013, f"more than {_BUFFERED} messages before the answer to a subscription")
        self._waiting.append(message)

    async def _receive(self) -> Message:
        try:
            received = await self._connection.receive(timeout=self._silence_s)
        except TimeoutError:
            await self._connection.close()
            raise SocketClosed(1006, f"nothing received for {self._silence_s} s") from None
        if received.type is aiohttp.WSMsgType.TEXT:
            message: Message = msgspec.json.decode(received.data)
            return message
        code = self._connection.close_code or 1006
        raise SocketClosed(code, str(received.extra or self._connection.exception() or received.type.name.lower()))


def _is_of_channel(message: Mapping[str, Any]) -> bool:
    return "channel" in message and message["channel"] != "heartbeat"
