"""The words and frozen values that trading's decisions are made of."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from fleet_calendars import ROUND_THE_CLOCK

ZERO = Decimal(0)


class Stand(StrEnum):
    """Where an order stands. What is pending on it is another thing (`Pending`)."""

    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    DENIED = "denied"
    REJECTED = "rejected"


TERMINAL = frozenset({Stand.FILLED, Stand.CANCELED, Stand.EXPIRED, Stand.DENIED, Stand.REJECTED})


class Pending(StrEnum):
    """What the venue has been asked for and has not answered."""

    NONE = "none"
    NEW = "new"
    CANCEL = "cancel"
    REPLACE = "replace"


class AccountStatus(StrEnum):
    """`reduce_only`: something happened that acceptance had not allowed for; only sells are accepted, and buys of what
    the account is short of.
    `resetting`: its open orders are cancelled first, and no new ones are accepted."""

    ACTIVE = "active"
    REDUCE_ONLY = "reduce_only"
    RESETTING = "resetting"


class TradingState(StrEnum):
    """What the gate allows: `reducing` takes sells only, `halted` no order at all."""

    ACTIVE = "active"
    REDUCING = "reducing"
    HALTED = "halted"


@dataclass(frozen=True, slots=True)
class Reason:
    """A stable code and a sentence for people, which says ", was X"."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Restriction:
    """Why an account may only reduce, and since when."""

    code: str
    detail: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Instrument:
    symbol: str
    base: str
    quote: str
    tick: Decimal
    lot: Decimal
    min_quantity: Decimal
    min_notional: Decimal
    highest_fee: Decimal
    venues: tuple[str, ...]
    venue: str
    """Where an order goes that names none."""
    calendar: str = ROUND_THE_CLOCK


@dataclass(frozen=True, slots=True)
class Reference:
    """The prices a market order is measured by. A buy is reserved at the ask, a sell protected from the bid."""

    bid: Decimal
    ask: Decimal
    last: Decimal
    market_at: datetime
    is_stale: bool


@dataclass(frozen=True, slots=True)
class Twap:
    """Execution sends it in `slices` parts, evenly over `duration_s`."""

    duration_s: int
    slices: int


@dataclass(frozen=True, slots=True)
class User:
    """An owner of accounts. Version 0 is what an assertion said, before auth's own event came."""

    user_id: UUID
    roles: tuple[str, ...]
    status: str
    version: int

    @property
    def may_trade(self) -> bool:
        return self.status == "active" and not {"trader", "admin"}.isdisjoint(self.roles)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a deployment may do with an account; its id is the deployment's."""

    deployment_id: UUID
    account_id: UUID
    user_id: UUID
    symbols: tuple[str, ...]
    max_order_notional: Decimal | None
    expires_at: datetime | None
    is_active: bool
    version: int
