"""Many clients of `/ws` in one process, as cheap as can be, so that it is the gateway that is timed: `python -m
bench.gateway_sockets`.

Told on a line of JSON where to go (`port`), with which `tokens`, and what each follows (`symbols`). Says on a line when
all have their snapshots; at the next line that it reads it tells the milliseconds from each quote's time to its arrival.
"""

import asyncio
import base64
import json
import secrets
import sys
import time
from array import array
from collections.abc import Iterator
from typing import Any, cast

import uvloop

from bench.orders import percentile

_TEXT, _PING, _PONG = 0x81, 0x89, 0x8A
_CONNECTING_AT_ONCE = 50
_UPDATE = b'"type":"update"'


class Client(asyncio.Protocol):
    """Subscribes to one symbol, and notes how old each quote is when it arrives."""

    def __init__(self, port: int, token: str, symbol: str, ages_ms: "array[float]") -> None:
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        self._handshake = (
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        params = {"channel": "market_data", "symbols": [symbol]}
        self._subscribe = json.dumps({"method": "subscribe", "params": params}).encode()
        self._ages_ms = ages_ms
        self._is_open = False
        self._rest = b""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._handshake.encode())

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(f"the socket was refused: {self._rest[:200]!r}"))

    def data_received(self, data: bytes) -> None:
        now = time.time()
        self._rest += data
        if not self._is_open:
            head, end, rest = self._rest.partition(b"\r\n\r\n")
            if not end or not head.startswith(b"HTTP/1.1 101"):
                return
            self._is_open, self._rest = True, rest
            self._send(_TEXT, self._subscribe)
        for kind, payload in self._frames():
            if kind == _PING:
                self._send(_PONG, payload)
            elif _UPDATE in payload[:60]:
                # The last member of a quote is its version, its market time in µs: …,"version":1767623400000000}]}
                self._ages_ms.append(now * 1000 - int(payload[payload.rindex(b":") + 1 : -3]) / 1000)
            elif b'"type":"snapshot"' in payload[:60]:
                self.ready.set_result(None)

    def _send(self, kind: int, payload: bytes) -> None:
        """A client's frame is masked; with zeros, it is what it was."""
        self._transport.write(bytes((kind, 0x80 | len(payload), 0, 0, 0, 0)) + payload)

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        buffer, at = self._rest, 0
        while len(buffer) - at >= 4 or (len(buffer) - at >= 2 and buffer[at + 1] < 126):
            size, head = buffer[at + 1], 2
            if size == 126:
                size, head = int.from_bytes(buffer[at + 2 : at + 4], "big"), 4
            if len(buffer) - at < head + size:
                break
            yield buffer[at], buffer[at + head : at + head + size]
            at += head + size
        self._rest = buffer[at:]


async def _run() -> dict[str, Any]:
    told = json.loads(await asyncio.to_thread(sys.stdin.readline))
    ages_ms = array("d")
    connecting = asyncio.Semaphore(_CONNECTING_AT_ONCE)

    async def connect(token: str, symbol: str) -> Client:
        async with connecting:
            _, client = await asyncio.get_running_loop().create_connection(
                lambda: Client(told["port"], token, symbol, ages_ms), "127.0.0.1", told["port"]
            )
            await client.ready
            return client

    clients = await asyncio.gather(*map(connect, told["tokens"], told["symbols"]))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    ages = list(ages_ms)
    return {
        "received": len(ages),
        "lost_sockets": sum(client.is_lost for client in clients),
        "p50_ms": percentile(ages, 50),
        "p99_ms": percentile(ages, 99),
        "max_ms": percentile(ages, 100),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(uvloop.run(_run())) + "\n")
