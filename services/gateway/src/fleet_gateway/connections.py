"""Kept connections to one replica of a service: HTTP/1.1 as our services speak it, one request at a time, nothing sent
twice. Whatever is not understood, not whole or not waited for ends its connection."""

import asyncio
from collections.abc import AsyncGenerator
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from .answers import NOT_PASSED_ON, Answer, Headers
from .bodies import Body, Incoming

IDLE_S = 30
"""Connections are dropped before the services drop them (75 s), so that none is closed just when it is used."""
COLLECTED_BYTES = 262_144
"""Of an answer; what is longer is passed on as it comes."""
MOST_WHOLE_BYTES = 8 * 1_048_576
"""Of an answer that the gateway reads itself."""
MOST_STREAMING_S = 60.0
"""Until the rest of a long answer is taken: whoever reads slower holds a connection that others wait for."""
MOST_HEAD_BYTES = 65_536


class Request(NamedTuple):
    """`headers` are whole lines. With `streams` a long answer is told before it is whole."""

    method: str
    target: str
    headers: str
    body: Body
    timeout_s: float
    streams: bool = False


class NotReached(ConnectionError):
    """Nothing was sent."""


class Lost(ConnectionError):
    """No answer to what was sent: it may have been done."""


class _Rest:
    """Of a long answer what has come and is not taken yet; the service waits meanwhile."""

    def __init__(self, connection: "_Connection") -> None:
        self._connection = connection
        self._parts: list[bytes] = []
        self._more: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._is_ended = False

    def put(self, part: bytes) -> None:
        self._parts.append(part)
        self._connection.transport.pause_reading()
        self._wake()

    def end(self, failure: Exception | None) -> None:
        self._is_ended, self._failure = True, failure
        self._wake()

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)

    async def parts(self) -> AsyncGenerator[bytes, None]:
        """Raises Lost and TimeoutError when it does not come to its end."""
        try:
            while self._failure is None:
                if self._parts:
                    part = b"".join(self._parts)
                    self._parts.clear()
                    yield part
                elif self._is_ended:
                    return
                else:
                    self._more = asyncio.get_running_loop().create_future()
                    if not self._connection.transport.is_closing():
                        self._connection.transport.resume_reading()
                    await self._more
            raise self._failure
        finally:
            if not self._is_ended:
                self._connection.fail(Lost("the rest of the answer is not wanted"))


class _Connection(asyncio.Protocol):
    transport: asyncio.Transport
    _timer: asyncio.TimerHandle
    _headers: Headers
    _parts: list[bytes]
    _size = _head_size = 0
    _is_head = _streams = _is_sent = _is_early = False

    def __init__(self, owner: "Connections") -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        self._told: asyncio.Future[Answer] | None = None
        self._rest: _Rest | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self.idle_since = 0.0

    async def ask(self, head: bytes, body: Body, *, deadline: float, is_head: bool, streams: bool) -> Answer:
        self._headers, self._parts = [], []
        self._size = self._head_size = 0
        self._is_head, self._streams = is_head, streams
        self._is_early = False
        told: asyncio.Future[Answer] = self._loop.create_future()
        self._told = told
        self._timer = self._loop.call_at(deadline, self.fail, TimeoutError("no answer in time"))
        pouring = None
        if isinstance(body, bytes):
            self._is_sent = True
            self.transport.write(head + body)
        else:
            self._is_sent = False
            self.transport.write(head)
            pouring = self._loop.create_task(self._pour(body, told, deadline))
        try:
            return await told
        except asyncio.CancelledError:
            # It may have ended at the same moment, and serve another request by now.
            if self._told is told:
                self.fail(Lost("the caller gave up"))
            raise
        finally:
            if pouring is not None:
                pouring.cancel()

    async def _pour(self, body: Incoming, told: asyncio.Future[Answer], deadline: float) -> None:
        """A long body as it comes and as the service takes it, until that has answered. The time that the client takes
        is not the service's."""
        try:
            while not told.done() and not self._is_sent:
                self._timer.cancel()
                began = self._loop.time()
                part, is_more = await body.framed_part()
                if told.done():
                    return
                deadline += self._loop.time() - began
                self._timer = self._loop.call_at(deadline, self.fail, TimeoutError("no answer in time"))
                self.transport.write(part)
                self._is_sent = not is_more
                await self._writable.wait()
        except Exception as failure:
            # Whatever it is belongs to the request.
            self.fail(failure)

    def fail(self, failure: Exception) -> None:
        """Ends the connection and what is under way on it."""
        self.transport.abort()
        self._done(failure)

    def _done(self, failure: Exception | None = None) -> None:
        told, rest, self._told, self._rest = self._told, self._rest, None, None
        if told is None:
            return
        self._timer.cancel()
        if self._is_early:
            # Of the request the service may not have read the end, or not even have got it.
            self.transport.abort()
        if rest is not None:
            rest.end(failure)
            if not self.transport.is_closing():
                self.transport.resume_reading()
        elif told.done():
            # The caller has just given up.
            self.transport.close()
        elif failure is not None:
            told.set_exception(failure)
        else:
            told.set_result(Answer(self._parser.get_status_code(), self._headers, b"".join(self._parts)))
        self._owner.give_back(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._done(Lost("the connection has ended"))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.fail(Lost(f"the answer is not understood: {error!r}"))

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # What the parser calls; whatever is raised here ends the connection.

    def on_message_begin(self) -> None:
        if self._told is None or self._told.done():
            raise ValueError("an answer that nobody asked for")
        self._is_early = not self._is_sent

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._head_size += len(name) + len(value)
        if self._head_size > MOST_HEAD_BYTES:
            raise ValueError("the head is too long")
        if name not in NOT_PASSED_ON:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._parser.get_status_code() < 200:
            raise ValueError("no answer yet")
        if self._is_head:
            # The parser would wait for a body that does not come.
            self.transport.close()
            self._done()

    def on_body(self, part: bytes) -> None:
        if self._rest is not None:
            self._rest.put(part)
            return
        self._parts.append(part)
        self._size += len(part)
        if self._streams and self._size > COLLECTED_BYTES:
            self._begin_rest()
        elif self._size > MOST_WHOLE_BYTES:
            raise ValueError("the answer is too long")

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive():
            self.transport.close()
        self._done()

    def _begin_rest(self) -> None:
        told, self._rest = self._told, _Rest(self)
        self._timer.cancel()
        late = TimeoutError("the answer was not taken in time")
        self._timer = self._loop.call_later(MOST_STREAMING_S, self.fail, late)
        self.transport.pause_reading()
        if told is not None and not told.done():
            status, begun = self._parser.get_status_code(), b"".join(self._parts)
            told.set_result(Answer(status, self._headers, begun, rest=self._rest.parts()))


class Connections:
    """At most `most` at once; what is more waits for one to come free."""

    def __init__(self, url: str, *, most: int, connect_timeout_s: float) -> None:
        parsed = urlsplit(url)
        if parsed.scheme != "http" or parsed.hostname is None:
            raise ValueError(f"a service is at http://host:port, was {url}")
        self._host, self._port = parsed.hostname, parsed.port or 80
        self._named = f" HTTP/1.1\r\nHost: {parsed.netloc}\r\n"
        self._connect_timeout_s = connect_timeout_s
        self._free = asyncio.Semaphore(most)
        self._idle: list[_Connection] = []

    async def ask(self, request: Request) -> Answer:
        """Raises NotReached, Lost, TimeoutError, and what a body raises that goes on as it comes."""
        deadline = asyncio.get_running_loop().time() + request.timeout_s
        head = f"{request.method} {request.target}{self._named}{request.headers}\r\n"
        connection = await self._take(deadline)
        return await connection.ask(
            head.encode("latin-1"),
            request.body,
            deadline=deadline,
            is_head=request.method == "HEAD",
            streams=request.streams,
        )

    def give_back(self, connection: _Connection) -> None:
        self._free.release()
        if not connection.transport.is_closing():
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)

    def close(self) -> None:
        """Closes what is idle; what is under way is its caller's."""
        while self._idle:
            self._idle.pop().transport.close()

    async def _take(self, deadline: float) -> _Connection:
        if self._free.locked():
            try:
                async with asyncio.timeout_at(deadline):
                    await self._free.acquire()
            except TimeoutError as error:
                raise NotReached("no connection came free in time") from error
        else:
            await self._free.acquire()
        try:
            return self._kept() or await self._opened(deadline)
        except BaseException:
            self._free.release()
            raise

    def _kept(self) -> _Connection | None:
        oldest = asyncio.get_running_loop().time() - IDLE_S
        while self._idle:
            connection = self._idle.pop()
            if not connection.transport.is_closing() and connection.idle_since > oldest:
                return connection
            connection.transport.close()
        return None

    async def _opened(self, deadline: float) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(deadline, loop.time() + self._connect_timeout_s)):
                _, connection = await loop.create_connection(lambda: _Connection(self), self._host, self._port)
        except (OSError, TimeoutError) as error:
            raise NotReached(f"nobody answers at {self._host}:{self._port}") from error
        return connection
