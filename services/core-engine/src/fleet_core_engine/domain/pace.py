"""How fast a deployment raises signals, and which it has raised already."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

RECENT = 256
"""Signals remembered of a deployment: what is raised again after a restart is among its last."""

_MINUTE = timedelta(minutes=1)


@dataclass(slots=True)
class Pace:
    """What was accepted in the minute that began at `minute`, and the signals judged last, oldest first."""

    minute: datetime
    accepted: int
    recent: list[UUID]

    def has_judged(self, signal_id: UUID) -> bool:
        return signal_id in self.recent

    def is_free(self, now: datetime, most: int) -> bool:
        return now - self.minute >= _MINUTE or self.accepted < most

    def judged(self, signal_id: UUID, now: datetime, *, counts: bool) -> None:
        """Remembers it; an order counts."""
        self.recent = [*self.recent[1 - RECENT :], signal_id]
        if now - self.minute >= _MINUTE:
            self.minute, self.accepted = now, 0
        self.accepted += counts
