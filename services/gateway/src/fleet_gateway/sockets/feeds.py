"""What one socket has seen of one account channel: a snapshot first, then only what is newer."""

from dataclasses import dataclass, field
from typing import Protocol

from .updates import AccountSnapshot, AccountUpdate, joined


class BehindSnapshot(Exception):
    """More came while the snapshot was read than is kept for a reader."""


class Emit(Protocol):
    """Sends a message of the feed's channel."""

    def __call__(self, kind: str, data: bytes, *, is_truncated: bool = False) -> None: ...


@dataclass(slots=True)
class AccountFeed:
    """Updates that come before the snapshot wait for it."""

    channel: str
    emit: Emit
    most_waiting: int
    _waiting: list[AccountUpdate] | None = field(default_factory=list)
    _versions: dict[str, int] = field(default_factory=dict)
    _known: dict[str, int] = field(default_factory=dict)

    def begin(self, snapshot: AccountSnapshot) -> None:
        waiting, self._waiting = self._waiting or [], None
        self._versions = dict(snapshot.versions)
        self._known = dict(snapshot.known)
        self.emit("snapshot", snapshot.data, is_truncated=snapshot.is_truncated)
        for update in waiting:
            self.take(update)

    def take(self, update: AccountUpdate) -> None:
        """Sends what is newer than the snapshot. Raises BehindSnapshot."""
        if self._waiting is not None:
            if len(self._waiting) >= self.most_waiting:
                raise BehindSnapshot
            self._waiting.append(update)
            return
        if update.version <= self._versions.get(update.account_id, -1):
            return
        parts = update.parts(self.channel)
        if self._known:
            newer = [part for part in parts if part.version > self._known.get(part.key, -1)]
            for part in newer:
                # From here on the topic's own order does what the snapshot's versions did.
                self._known.pop(part.key, None)
            if len(newer) < len(parts):
                if newer:
                    self.emit("update", joined(newer))
                return
        if parts:
            self.emit("update", update.whole(self.channel))
