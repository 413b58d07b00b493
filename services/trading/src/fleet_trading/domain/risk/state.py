"""What limits must know of an account's past."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

ZERO = Decimal(0)


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
    told: Mapping[str, int] = field(default_factory=dict)
    """The percentage of each limit's use that was told last, by limit, and symbol if it counts per symbol."""


NO_RISK = RiskState()
