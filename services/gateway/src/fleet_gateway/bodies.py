"""Bodies of requests: short ones are read whole, long ones go on as they come."""

from dataclasses import dataclass
from typing import Union

from fleet_chassis.problems import Problem, unavailable
from starlette.types import Receive

WHOLE_BYTES = 65_536
"""What is longer is passed on as it comes, once so much of it is there."""


class ClientGone(Exception):
    """The client hung up before it had sent its request."""


@dataclass(slots=True)
class Room:
    """For the bodies of all requests under way. One that came in one piece, of 64 KiB at most, takes none of it.

    `streams`: so many more may go on as they come. Each has a connection to a service for as long as its client likes,
    so that others are read whole first."""

    left: int
    streams: int


class Incoming:
    """The body of one request, of `limit` bytes at most; `announced` is its length, 0 where that is not known."""

    def __init__(self, receive: Receive, room: Room, limit: int, announced: int) -> None:
        self._receive, self._room, self._limit, self._announced = receive, room, limit, announced
        self._parts: list[bytes] = []
        self._size = self._taken = self._streams = 0
        self._is_more = True

    @property
    def framing(self) -> str:
        """The header that says where it ends."""
        return f"Content-Length: {self._announced}" if self._announced else "Transfer-Encoding: chunked"

    async def whole(self) -> bytes:
        """However often it is asked for. Raises Problem 413 and 503, ClientGone."""
        while self._is_more:
            await self._read()
        if len(self._parts) != 1:
            self._parts = [b"".join(self._parts)]
        return self._parts[0]

    async def passed_on(self) -> "Body":
        """The same where it is short. A long one as it comes, to be taken by `framed_part`."""
        while self._is_more:
            if self._size > WHOLE_BYTES and self._room.streams:
                self._room.streams -= 1
                self._streams = 1
                return self
            await self._read()
        return await self.whole()

    async def framed_part(self) -> tuple[bytes, bool]:
        """What goes on next, and whether more comes. Raises Problem 413 as soon as it is too long, ClientGone."""
        while self._is_more and not self._parts:
            await self._read()
        part, self._parts = b"".join(self._parts), []
        if not self._announced:
            chunk = b"%x\r\n%b\r\n" % (len(part), part) if part else b""
            part = chunk if self._is_more else chunk + b"0\r\n\r\n"
        return part, self._is_more

    async def _read(self) -> None:
        if self._announced > self._limit:
            raise self._too_large()
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = message.get("body", b"")
        self._size += len(part)
        if self._size > self._limit:
            raise self._too_large()
        if part:
            self._parts.append(part)
        self._is_more = message.get("more_body", False)
        if self._is_more and not self._taken:
            self._take_room()

    def _take_room(self) -> None:
        size = self._announced or self._limit
        if size > self._room.left:
            raise unavailable("The gateway is reading as many long bodies as it can; nothing was done.")
        self._room.left -= size
        self._taken = size

    def leave_room(self) -> None:
        """Once the request is answered."""
        self._room.left += self._taken
        self._room.streams += self._streams
        self._taken = self._streams = 0

    def _too_large(self) -> Problem:
        return too_large(self._limit)


Body = Union[bytes, Incoming]  # noqa: UP007 - evaluated


def too_large(limit: int) -> Problem:
    return Problem(413, "body_too_large", f"The body may have {limit} bytes at most.")
