"""One socket: what it has subscribed to, and the queue to its reader."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from fleet_gateway.identity import Principal

from .feeds import AccountFeed
from .requests import HEARTBEAT

TOO_SLOW = (1013, "the reader is too slow")
FLOOD = (1008, "too many messages")
TOO_LONG = (1009, "the message is too long")
TOKEN_ENDED = (4401, "the access token counts no more")
FLOOD_BURST = 5


class _Queued(NamedTuple):
    """`sequence` 0: an answer, sent as it is. The shared text is put together with the rest only when it is sent."""

    channel: str
    kind: str
    sequence: int
    data: str

    def text(self) -> str:
        if not self.sequence:
            return self.data
        return f'{{"channel":"{self.channel}","type":"{self.kind}","sequence":{self.sequence},"data":{self.data}}}'


class Connection:
    """Sends through a bounded queue; whoever puts something in never waits. `closing` is why it is to be closed."""

    def __init__(self, principal: Principal, *, most_queued: int, messages_per_s: int) -> None:
        self.principal = principal
        self.symbols: set[str] = set()
        self.feeds: dict[str, AccountFeed] = {}
        self.closing: tuple[int, str] | None = None
        self.ended = asyncio.Event()
        self._most_queued = most_queued
        self._queue: deque[_Queued] = deque()
        self._filled = asyncio.Event()
        self._sequences: dict[str, int] = {}
        self._sent_at = time.monotonic()
        self._messages_per_s = messages_per_s
        self._allowance = float(messages_per_s * FLOOD_BURST)
        self._heard_at = time.monotonic()

    def emit(self, channel: str, kind: str, data: str) -> None:
        """Queues a message of a channel, with the next number of this socket's channel."""
        sequence = self._sequences.get(channel, 0) + 1
        self._sequences[channel] = sequence
        self._put(_Queued(channel, kind, sequence, data))

    def answer(self, text: str) -> None:
        self._put(_Queued("", "", 0, text))

    def beat(self) -> None:
        """Says that the socket is alive, if nothing else has for a second."""
        if not self._queue and time.monotonic() - self._sent_at >= 1.0:
            self.answer(HEARTBEAT)

    def close(self, why: tuple[int, str]) -> None:
        """Has the socket closed; the first reason stays."""
        if self.closing is None:
            self.closing = why
            self.ended.set()

    def hear(self) -> None:
        """Counts a message of the client's; too many close the socket."""
        now = time.monotonic()
        most = self._messages_per_s * FLOOD_BURST
        self._allowance = min(most, self._allowance + (now - self._heard_at) * self._messages_per_s) - 1
        self._heard_at = now
        if self._allowance < 0:
            self.close(FLOOD)

    async def write(self, send_text: Callable[[str], Awaitable[None]]) -> None:
        """Empties the queue, for ever."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            while self._queue:
                await send_text(self._queue[0].text())
                # Taken out only now: what a slow reader holds up counts as waiting.
                self._queue.popleft()
                self._sent_at = time.monotonic()

    def _put(self, queued: _Queued) -> None:
        if self.closing is not None:
            return
        if len(self._queue) >= self._most_queued:
            self.close(TOO_SLOW)
            return
        self._queue.append(queued)
        self._filled.set()
