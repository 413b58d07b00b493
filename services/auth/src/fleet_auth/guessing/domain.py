"""How often one may fail, and how long whoever fails too often has to wait."""

import dataclasses
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Standing(StrEnum):
    """What is known of an address beforehand."""

    ALLOWED = "allowed"
    DENIED = "denied"
    UNKNOWN = "unknown"


class TooManyFailedLogins(Exception):
    """More attempts failed than are taken without a wait."""

    def __init__(self, wait: timedelta) -> None:
        super().__init__(wait)
        self.retry_after_s = whole_seconds(wait)


def whole_seconds(wait: timedelta) -> int:
    """Of a wait that is not over, rounded up: whoever waits as long is not sent away again."""
    return -(-wait // timedelta(seconds=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """So many failures are free, the last of them and each after it costs a wait, twice as long each time.

    One is forgotten for every `longest_wait`, which bounds the waits too: whoever never gives up has one attempt in
    that time, and no `first_wait` ever has more than `allowed`.
    """

    allowed: int
    first_wait: timedelta
    longest_wait: timedelta

    def wait(self, failures: int) -> timedelta | None:
        if failures < self.allowed:
            return None
        doubled: int = 2 ** min(failures - self.allowed, 20)
        return min(self.first_wait * doubled, self.longest_wait)


@dataclass(frozen=True, slots=True)
class Failures:
    """Attempts under one key that are not known to have succeeded, told by the time when all are forgotten (GCRA)."""

    forgotten_at: datetime
    blocked_until: datetime | None = None

    def count(self, now: datetime, budget: Budget) -> int:
        return max(0, -(-(self.forgotten_at - now) // budget.longest_wait))

    def wait(self, now: datetime) -> timedelta | None:
        """How long no attempt is taken; None if one is."""
        return None if self.blocked_until is None or self.blocked_until <= now else self.blocked_until - now

    def one_more(self, now: datetime, budget: Budget) -> "Failures":
        """With an attempt that is taken, before it is known how it ends."""
        counted = Failures(max(self.forgotten_at, now) + budget.longest_wait)
        wait = budget.wait(counted.count(now, budget))
        return counted if wait is None else dataclasses.replace(counted, blocked_until=now + wait)

    def one_less(self, budget: Budget) -> "Failures":
        """Without one that has succeeded. A wait that stands counts it in: none is begun during a wait."""
        return Failures(self.forgotten_at - budget.longest_wait)
