"""The references of open orders, in their order, page by page: a page costs what it holds, not what the book holds."""

from collections.abc import Iterable
from typing import Final

_PREFIX: Final = 2
_BUCKETS: Final = 16**_PREFIX
"""A page of a million orders looks at 4,000 of them."""


class References:
    """32 hexadecimal digits each. They are hashes (RFC 9562, version 5), so that each first two digits begin as many."""

    def __init__(self, refs: Iterable[str] = ()) -> None:
        self._buckets: list[set[str]] = [set() for _ in range(_BUCKETS)]
        for ref in refs:
            self.add(ref)

    def add(self, ref: str) -> None:
        self._buckets[int(ref[:_PREFIX], 16)].add(ref)

    def discard(self, ref: str) -> None:
        self._buckets[int(ref[:_PREFIX], 16)].discard(ref)

    def above(self, after: str | None, most: int) -> list[str]:
        """The first `most` above `after`, rising; None: from the first on."""
        found: list[str] = []
        for bucket in self._buckets[0 if after is None else int(after[:_PREFIX], 16) :]:
            if len(found) >= most:
                break
            found += sorted(ref for ref in bucket if after is None or ref > after)
        return found[:most]
