"""What limits must know of an account's past."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

ZERO = Decimal(0)


VIOLATION_COUNTS = timedelta(days=365)
MOST_VIOLATIONS = 100
"""Brokers restrict after the third to fifth; more need not be told apart."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A good faith violation: on this day of the market the order sold what unsettled proceeds had bought."""

    order_id: UUID
    day: date


@dataclass(frozen=True, slots=True)
class RiskState:
    """Kept with the account as one value. Only what a limit asks for is counted, from when it is set."""

    minute: int = 0
    """Since 1970, in which `orders` were accepted."""
    orders: int = 0
    last_order: str = ""
    """What the last accepted order asked for; `repeats` of it in a row, the last one at `repeated_at`."""
    repeats: int = 0
    repeated_at: datetime | None = None
    sized: int = 0
    average_notional: Decimal = ZERO
    """Of the last orders, of which `sized` are counted."""
    peak_equity: Decimal | None = None
    violations: tuple[Violation, ...] = ()
    """The last good faith violations, counted whether there is a limit or not: they are facts."""
    told: Mapping[str, int] = field(default_factory=dict)
    """The percentage of each limit's use that was told last, by limit, and symbol if it counts per symbol."""

    def violated(self, order_id: UUID, day: date) -> "RiskState":
        """An order violates once, however many fills it has."""
        if any(one.order_id == order_id for one in self.violations):
            return self
        return replace(self, violations=(*self.violations, Violation(order_id, day))[-MOST_VIOLATIONS:])

    def violations_by(self, day: date) -> int:
        """Those that count on this day: of the year before."""
        return sum(day - one.day < VIOLATION_COUNTS for one in self.violations)


NO_RISK = RiskState()
