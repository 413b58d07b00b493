"""One socket: what it has subscribed to, and the queue to its reader."""

import time
from collections import deque

from fleet_gateway.identity import Principal

from .feeds import AccountFeed
from .protocol import SocketProtocol
from .requests import HEARTBEAT

TOO_SLOW = (1013, "the reader is too slow")
FLOOD = (1008, "too many messages")
TOO_LONG = (1009, "the message is too long")
TOKEN_ENDED = (4401, "the access token counts no more")
FLOOD_BURST = 5
SYMBOLS_A_MESSAGE = 25
"""Each symbol that a message names is answered by itself; so many count as a message more."""
MOST_QUEUED_BYTES = 16 * 1_048_576
"""Waiting for a slow reader; an update of 500 orders has 350 kB, a snapshot of 10,000 about 7 MB."""


class Connection:
    """Writes at once, or into a bounded queue while the reader is slow; nobody who sends ever waits.

    A message is encoded once and shared: to each socket it goes between a head with the socket's own number and a tail.
    """

    def __init__(
        self, principal: Principal, address: str, outlet: SocketProtocol, *, most_queued: int, messages_per_s: int
    ) -> None:
        self.principal = principal
        self.address = address
        self.symbols: set[str] = set()
        self.feeds: dict[str, AccountFeed] = {}
        self.is_closing = False
        self._outlet = outlet
        self._most_queued = most_queued
        self._queue: deque[tuple[bytes, ...]] = deque()
        self._queued_bytes = 0
        self._sequences: dict[str, int] = {}
        self._sent_at = time.monotonic()
        self._messages_per_s = messages_per_s
        self._allowance = float(messages_per_s * FLOOD_BURST)
        self._heard_at = time.monotonic()
        outlet.on_writable, outlet.on_frame = self._drain, self.hear

    def emit(self, channel: str, kind: str, data: bytes, *, is_truncated: bool = False) -> None:
        """Sends a message of a channel, with the next number of this socket's channel."""
        sequence = self._sequences.get(channel, 0) + 1
        self._sequences[channel] = sequence
        mark = '"truncated":true,' if is_truncated else ""
        head = f'{{"channel":"{channel}","type":"{kind}","sequence":{sequence},{mark}"data":'
        self._put(head.encode(), data, b"}")

    def answer(self, text: bytes) -> None:
        self._put(text)

    def beat(self) -> None:
        """Says that the socket is alive, if nothing else has for a second."""
        if not self._queue and time.monotonic() - self._sent_at >= 1.0:
            self.answer(HEARTBEAT)

    def close(self, why: tuple[int, str]) -> None:
        """Closes the socket; the first reason stays."""
        if not self.is_closing:
            self.is_closing = True
            self._outlet.hang_up(*why)

    def hear(self, weight: float = 1) -> None:
        """Counts a message of the client's; too many close the socket."""
        now = time.monotonic()
        most = self._messages_per_s * FLOOD_BURST
        self._allowance = min(most, self._allowance + (now - self._heard_at) * self._messages_per_s) - weight
        self._heard_at = now
        if self._allowance < 0:
            self.close(FLOOD)

    def _put(self, *parts: bytes) -> None:
        if self.is_closing:
            return
        if self._outlet.is_writable and not self._queue:
            self._write(parts)
            return
        size = sum(map(len, parts))
        waiting = self._outlet.unsent_bytes + self._queued_bytes + size
        if len(self._queue) < self._most_queued and waiting <= MOST_QUEUED_BYTES:
            self._queue.append(parts)
            self._queued_bytes += size
        else:
            self.close(TOO_SLOW)

    def _drain(self) -> None:
        while self._queue and self._outlet.is_writable and not self.is_closing:
            parts = self._queue.popleft()
            self._queued_bytes -= sum(map(len, parts))
            self._write(parts)

    def _write(self, parts: tuple[bytes, ...]) -> None:
        self._outlet.write_text(*parts)
        self._sent_at = time.monotonic()
