"""How each replica behind the gateway is doing: one that hangs costs its own callers a moment, and nobody else anything."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from fleet_chassis.problems import Problem, unavailable
from prometheus_client import Counter

BREAK_AFTER = 5
"""Calls in a row without an answer until the replica is left alone."""
OPEN_S = 1.0
"""How long, before one call looks whether it is back."""

_REFUSED = Counter(
    "fleet_gateway_refused_upstream", "Requests not sent on, by service and reason.", ("service", "reason")
)


@dataclass(slots=True)
class Circuit:
    """Of one replica: a bound on what waits for it, and a breaker (Nygard, Release It!, 2007)."""

    service: str
    most_waiting: int
    clock: Callable[[], float] = time.monotonic
    waiting: int = 0
    _failures: int = 0
    _closed_at: float = field(default=float("-inf"))

    @property
    def is_open(self) -> bool:
        return self._failures >= BREAK_AFTER and self.clock() < self._closed_at

    def enter(self) -> None:
        """Before a call. Raises Problem 503, when nothing was sent."""
        if self.waiting >= self.most_waiting:
            raise self._refused("busy", f"The service {self.service} has more to do than it can; nothing was done.")
        if self._failures >= BREAK_AFTER:
            if self.clock() < self._closed_at:
                raise self._refused("broken", f"The service {self.service} does not answer; nothing was done.")
            # One looks; the others wait for what it finds.
            self._closed_at = self.clock() + OPEN_S
        self.waiting += 1

    def leave(self, *, answered: bool | None) -> None:
        """After a call; None where the caller gave up, which says nothing of the service."""
        self.waiting -= 1
        if answered:
            self._failures = 0
        elif answered is False:
            self._failures += 1
            if self._failures >= BREAK_AFTER:
                self._closed_at = self.clock() + OPEN_S

    def _refused(self, reason: str, detail: str) -> Problem:
        _REFUSED.labels(self.service, reason).inc()
        return unavailable(detail)
