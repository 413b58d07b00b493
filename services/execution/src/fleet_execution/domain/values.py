"""The words and frozen values of venue orders: terms, what a venue says, what it is told.

They are msgspec's structs: a frozen dataclass takes six times as long to make, and each order makes dozens."""

from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID, uuid5

from msgspec import Struct

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

    Remembered, for what is asked for before a command is locked is asked for when it is handled."""
    return uuid5(order_id, "venue-order:1")


class OrderKey(Struct, frozen=True):
    order_id: UUID
    account_id: UUID
    user_id: UUID
    symbol: str
    venue: str
    ref: UUID
    """The venue order's; of one that was adopted, or a child, it does not follow from the order's id."""

    @classmethod
    def of(cls, order_id: UUID, account_id: UUID, user_id: UUID, symbol: str, venue: str) -> "OrderKey":
        """Of the one venue order that an order is sent as."""
        return cls(order_id, account_id, user_id, symbol, venue, venue_order_ref(order_id))


class Conditions(Struct, frozen=True):
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


class Terms(Struct, frozen=True):
    side: str
    order_type: str
    quantity: Decimal
    limit_price: Decimal | None
    protection_price: Decimal | None
    time_in_force: str
    send_by: datetime | None
    conditions: Conditions = NO_CONDITIONS


class Trigger(Struct, frozen=True):
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


class Leg(Struct, frozen=True):
    """What an order is in its group, whose other orders fill instead of it; the order that legs wait for is none.

    `declared`: the whole; its terms say what it may be now. `waits`: for the group's order to fill. `is_held`: by us; what
    its venue sees are its children."""

    declared: Decimal
    waits: bool
    is_held: bool


class Change(Struct, frozen=True):
    """What a replace asks for: None stays as it is, `quantity` is the new total."""

    quantity: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    send_by: datetime | None
    request: int | None = None
    """What names the wish; the answer has it."""


class Refused(NamedTuple):
    """Why we send an order to no venue."""

    code: str
    detail: str


# Facts: heard from a venue and, when they are news, told to trading.


class Accepted(Struct, frozen=True):
    market_at: datetime


class Rejected(Struct, frozen=True):
    market_at: datetime
    code: str
    detail: str


class Filled(Struct, frozen=True):
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


class Corrected(Struct, frozen=True):
    """A fill that was told is another one from now on, and why; quantity 0: there was none."""

    market_at: datetime
    fill: Filled
    code: str
    detail: str


class Canceled(Struct, frozen=True):
    market_at: datetime
    code: str
    detail: str
    cumulative_quantity: Decimal


class CancelRejected(Struct, frozen=True):
    """`request`: which wish it answers; None where the venue does not tell."""

    market_at: datetime
    code: str
    detail: str
    request: int | None = None


class Replaced(Struct, frozen=True):
    """The order as the venue works it from now on, and why."""

    market_at: datetime
    quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    cumulative_quantity: Decimal
    code: str = "requested"
    request: int | None = None


class ReplaceRejected(Struct, frozen=True):
    market_at: datetime
    code: str
    detail: str
    request: int | None = None


class Triggered(Struct, frozen=True):
    market_at: datetime
    trigger_price: Decimal


class Expired(Struct, frozen=True):
    market_at: datetime
    cumulative_quantity: Decimal


class Stated(Struct, frozen=True):
    """The answer to a query. `stand` None, of a venue: it has never seen the order; of us: how it ends is not known yet."""

    market_at: datetime
    stand: Stand | None
    cumulative_quantity: Decimal
    fills: tuple[Filled, ...]
    code: str | None
    detail: str | None
    totals: "Totals | None" = None


class Totals(Struct, frozen=True):
    """What all fills of an order come to: the sums that reconciliation must find equal on both sides."""

    quantity: Decimal
    notional: Decimal
    fees: Decimal
    fee_currency: str = ""


class Disowned(Struct, frozen=True):
    """The venue denies an order that it had accepted; it stays open until that is cleared up."""

    market_at: datetime
    detail: str


# Commands to the venue.


class Place(Struct, frozen=True):
    """`parent_ref` and `oco_group` are of an order whose group the venue keeps."""

    command_sequence: int
    terms: Terms
    parent_ref: UUID | None = None
    oco_group: UUID | None = None


class Cancel(Struct, frozen=True):
    command_sequence: int
    request: int | None = None


class Amend(Struct, frozen=True):
    command_sequence: int
    change: Change


class Ask(Struct, frozen=True):
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
