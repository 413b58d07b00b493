"""Lists in pages: `{"data": [...], "next_cursor": ..., "has_more": ...}`, walked by an opaque cursor."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Sequence
from datetime import MAXYEAR, MINYEAR, datetime
from typing import Annotated, Any, Generic, Self, TypeVar, overload

import msgspec
from fastapi import Query
from pydantic import BaseModel

from .problems import Problem

MAX_LIMIT = 500
DEFAULT_LIMIT = 100
_MAX_CURSOR = 512

T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many items a page has at most.")]
"""`limit: Limit = DEFAULT_LIMIT`"""
Cursor = Annotated[str | None, Query(max_length=_MAX_CURSOR, description="`next_cursor` of the page before.")]
"""`cursor: Cursor = None`"""


class Page(BaseModel, Generic[T]):
    """One page; `next_cursor` is null on the last."""

    data: list[T]
    next_cursor: str | None
    has_more: bool

    @classmethod
    def of(cls, found: Sequence[T], limit: int, place: Callable[[T], Sequence[object]]) -> Self:
        """The page made of up to `limit` + 1 items found: the one too many shows that there are more.

        `place` gives the values of the list's order by which the next page continues after an item.
        """
        data = list(found[:limit])
        has_more = len(found) > limit
        return cls(data=data, next_cursor=encode_cursor(*place(data[-1])) if has_more else None, has_more=has_more)


def encode_cursor(*place: object) -> str:
    """An opaque text of the values (str, int, UUID, datetime, Decimal …) after which the next page begins."""
    return urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode("ascii")


@overload
def decode_cursor(cursor: str, first: type[A], /) -> tuple[A]: ...
@overload
def decode_cursor(cursor: str, first: type[A], second: type[B], /) -> tuple[A, B]: ...
@overload
def decode_cursor(cursor: str, first: type[A], second: type[B], third: type[C], /) -> tuple[A, B, C]: ...
def decode_cursor(cursor: str, /, *shapes: Any) -> tuple[Any, ...]:
    """The values that `encode_cursor` was given, of these types; Problem 400 `bad_cursor` if they are not there."""
    try:
        content = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        place: tuple[Any, ...] = msgspec.json.decode(content, type=tuple[shapes])  # type: ignore[valid-type]
        if not all(_is_place(value) for value in place):
            raise ValueError("no list has such a place")
        return place
    except ValueError as error:  # also binascii.Error, UnicodeError and msgspec's errors
        raise Problem(400, "bad_cursor", "The cursor is not one that this list gave.") from error


def _is_place(value: object) -> bool:
    """Whether a list can have it: a bigint, or a time that can be counted on from in every zone."""
    if isinstance(value, int):
        return -(1 << 63) <= value < 1 << 63
    if isinstance(value, datetime):
        return value.tzinfo is not None and MINYEAR < value.year < MAXYEAR
    return True
