"""Files that others rewrite while we run: public keys, instances."""

from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Generic, TypeVar

from .logging import get_logger

LOOK_EVERY_S = 1.0

T = TypeVar("T")

log = get_logger(__name__)


class WatchedFile(Generic[T]):
    """The parsed content of a file, read again within a second of its change.

    What cannot be read or parsed while we run leaves the last good content in place and is logged; at the first
    reading it raises.
    """

    def __init__(self, path: Path, parse: Callable[[bytes], T]) -> None:
        self._path = path
        self._parse = parse
        self._value: T | None = None
        self._seen: tuple[int, int, int] | None = None
        self._look_at = 0.0

    def get(self, *, at_once: bool = False) -> T:
        """The content as it is now; `at_once`: also if it changed within this second."""
        now = monotonic()
        if self._value is None or at_once or now >= self._look_at:
            self._look_at = now + LOOK_EVERY_S
            self._value = self._read(self._value)
        return self._value

    def _read(self, last: T | None) -> T:
        try:
            stat = self._path.stat()
            mark = (stat.st_mtime_ns, stat.st_ino, stat.st_size)
            if last is not None and mark == self._seen:
                return last
            value = self._parse(self._path.read_bytes())
        except (OSError, ValueError) as error:
            if last is None:
                raise
            log.warning("file_not_read_again", path=str(self._path), error=type(error).__name__)
            return last
        self._seen = mark
        return value
