"""Wait for a condition instead of for a time."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast, overload

T = TypeVar("T")

_LONGEST_PAUSE_S = 0.1


@overload
async def eventually(condition: Callable[[], Awaitable[T]], timeout_s: float = ..., *, what: str | None = ...) -> T: ...


@overload
async def eventually(condition: Callable[[], T], timeout_s: float = ..., *, what: str | None = ...) -> T: ...


async def eventually(
    condition: Callable[[], T | Awaitable[T]], timeout_s: float = 10.0, *, what: str | None = None
) -> T:
    """The first truthy value of `condition` (sync or async), asked again and again, ever less often up to 10 times a second.

    AssertionError with the last value, or the last AssertionError of the condition itself, after `timeout_s`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    pause = 0.002
    while True:
        value: T | None = None
        failed: AssertionError | None = None
        try:
            answer = condition()
            value = cast("T", await answer if inspect.isawaitable(answer) else answer)
        except AssertionError as error:
            failed = error
        if value and failed is None:
            return value
        if loop.time() >= deadline:
            said = what or getattr(condition, "__name__", "the condition")
            raise AssertionError(f"{said} did not come true within {timeout_s} s, last value was {value!r}") from failed
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_S)
