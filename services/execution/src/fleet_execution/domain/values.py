"""The words and frozen values of venue orders: terms, what a venue says, what it is told."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID, uuid5

Why = tuple[str, str]
"""The code of a reason, and a sentence."""
REQUESTED: Why = ("requested", "canceled on request")
CANCEL_AFTER: Why = ("cancel_after", "the account's time to cancel all had come")


class Stand(StrEnum):
    """Where a venue order stands. `sent`: not answered yet; `refused`: by us, no venue has seen it."""

    SENT = "sent"
    WORKING = "working"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REFUSED = "refused"

    @property
    def is_terminal(self) -> bool:
        return self not in (Stand.SENT, Stand.WORKING)


@lru_cache(maxsize=65_536)
def venue_order_ref(order_id: UUID) -> UUID:
    """The idempotency key at the venue: one venue order for each order, its id known without asking anyone.

    Remembered, for it is asked for about ten times in the life of an order and costs as much as a store's row."""
    return uuid5(order_id, "venue-order:1")


@dataclass(frozen=True, slots=True)
class OrderKey:
    order_id: UUID
    account_id: UUID
    user_id: UUID
    symbol: str
    venue: str
    named: UUID | None = None
    """The venue order's reference where it does not follow from the order's id: of one that was adopted, or a child."""

    @property
    def ref(self) -> UUID:
        return self.named or venue_order_ref(self.order_id)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What more than price, quantity and time an order may ask of its venue; most orders have none."""

    stop_price: Decimal | None = None
    trail_amount: Decimal | None = None
    trail_percent: Decimal | None = None
    display_quantity: Decimal | None = None
    minimum_quantity: Decimal | None = None
    expires_at: datetime | None = None
    post_only: bool = False
    reduce_only: bool = False
    self_trade: str | None = None


NO_CONDITIONS = Conditions()


@dataclass(frozen=True, slots=True)
class Terms:
    side: str
    order_type: str
    quantity: Decimal
    limit_price: Decimal | None
    protection_price: Decimal | None
    time_in_force: str
    send_by: datetime | None
    conditions: Conditions = NO_CONDITIONS


@dataclass(frozen=True, slots=True)
class Trigger:
    """Of an order whose type its venue does not have: prices are watched for it, and it is placed when they trigger it.

    `since`: prices after that market time count, and the one that stands then. `mark`: the best price that a trailing stop
    has seen."""

    since: datetime
    tick: Decimal
    mark: Decimal | None = None


class Prices(NamedTuple):
    """What a venue shows at one market time; a trade is both, a side without a price None."""

    at: datetime
    bid: Decimal | None
    ask: Decimal | None


@dataclass(frozen=True, slots=True)
class Leg:
    """What an order is in its group, whose other orders fill instead of it; the order that legs wait for is none.

    `declared`: the whole; its terms say what it may be now. `waits`: for the group's order to fill. `is_held`: by us; what
    its venue sees are its children."""

    declared: Decimal
    waits: bool
    is_held: bool


@dataclass(frozen=True, slots=True)
class Change:
    """What a replace asks for: None stays as it is, `quantity` is the new total."""

    quantity: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    send_by: datetime | None


class Refused(NamedTuple):
    """Why we send an order to no venue."""

    code: str
    detail: str


# Facts: heard from a venue and, when they are news, told to trading.


@dataclass(frozen=True, slots=True)
class Accepted:
    market_at: datetime


@dataclass(frozen=True, slots=True)
class Rejected:
    market_at: datetime
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Filled:
    """One fill; `venue_trade_id` names it among the fills of its order."""

    market_at: datetime
    venue_trade_id: str
    last_quantity: Decimal
    last_price: Decimal
    cumulative_quantity: Decimal
    fee: Decimal
    fee_currency: str
    liquidity: str
    executed_at: datetime
    revision: int = 0
    """How often its venue has corrected it."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """A fill that was told is another one from now on, and why; quantity 0: there was none."""

    market_at: datetime
    fill: Filled
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Canceled:
    market_at: datetime
    code: str
    detail: str
    cumulative_quantity: Decimal


@dataclass(frozen=True, slots=True)
class CancelRejected:
    market_at: datetime
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Replaced:
    """The order as the venue works it from now on, and why."""

    market_at: datetime
    quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    cumulative_quantity: Decimal
    code: str = "requested"


@dataclass(frozen=True, slots=True)
class ReplaceRejected:
    market_at: datetime
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Triggered:
    market_at: datetime
    trigger_price: Decimal


@dataclass(frozen=True, slots=True)
class Expired:
    market_at: datetime
    cumulative_quantity: Decimal


@dataclass(frozen=True, slots=True)
class Stated:
    """The answer to a query. `stand` None: the venue has never seen the order."""

    market_at: datetime
    stand: Stand | None
    cumulative_quantity: Decimal
    fills: tuple[Filled, ...]
    code: str | None
    detail: str | None
    totals: "Totals | None" = None


@dataclass(frozen=True, slots=True)
class Totals:
    """What all fills of an order come to: the sums that reconciliation must find equal on both sides."""

    quantity: Decimal
    notional: Decimal
    fees: Decimal
    fee_currency: str = ""


@dataclass(frozen=True, slots=True)
class Disowned:
    """The venue denies an order that it had accepted; it stays open until that is cleared up."""

    market_at: datetime
    detail: str


# Commands to the venue.


@dataclass(frozen=True, slots=True)
class Place:
    """`parent_ref` and `oco_group` are of an order whose group the venue keeps."""

    command_sequence: int
    terms: Terms
    parent_ref: UUID | None = None
    oco_group: UUID | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    command_sequence: int


@dataclass(frozen=True, slots=True)
class Amend:
    command_sequence: int
    change: Change


@dataclass(frozen=True, slots=True)
class Ask:
    command_sequence: int


VenueFact = (
    Accepted
    | Rejected
    | Filled
    | Corrected
    | Canceled
    | CancelRejected
    | Replaced
    | ReplaceRejected
    | Triggered
    | Expired
    | Stated
)
Fact = VenueFact | Disowned
VenueCommand = Place | Cancel | Amend | Ask
Outcome = Fact | VenueCommand
