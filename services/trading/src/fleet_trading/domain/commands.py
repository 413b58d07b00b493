"""What an account is asked to do (PlaceOrder, CancelOrder) and what it is told has happened (Report…, Adjust)."""

from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from fleet_simulator import OrderType, Side, TimeInForce

from .ledger import EntryKind, InKind
from .portfolio import Marks
from .risk.limits import NO_LIMITS, Values
from .terms import Terms
from .values import ZERO, Instrument, Reason, Reference, TradingState, Twap


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The world in which an order is judged; read once, so that the judgement is a pure function.

    `send_by` is None on a replay, where no order is ever too late. `forbidden` is a denial that was found outside of
    the account, as when its owner may not trade."""

    now: datetime
    market_at: datetime
    instrument: Instrument | None
    reference: Reference | None
    state: TradingState
    protection_factor: Decimal
    query_at: datetime | None
    forbidden: Reason | None = None
    limits: Values = field(default_factory=lambda: NO_LIMITS)
    """Those that hold for the order. `marks`, which stand still meanwhile, and the market's `day` measure it by them."""
    marks: Marks | None = None
    day: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOrder:
    order_id: UUID
    client_order_id: str
    account_id: UUID
    user_id: UUID
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    limit_price: Decimal | None
    time_in_force: TimeInForce
    conditions: Conditions
    venue: str | None = None
    deployment_id: UUID | None = None
    signal_id: UUID | None = None
    strategy_id: UUID | None = None
    algo: Twap | None = None
    terms: Terms | None = None
    leg_ids: tuple[UUID, ...] = ()
    notional: Decimal | None = None
    """Instead of a quantity: what it may come to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelOrder:
    order_id: UUID
    now: datetime
    query_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaceOrder:
    """What is None stays as it is. `quantity` is the new total."""

    order_id: UUID
    quantity: Decimal | None
    limit_price: Decimal | None
    stop_price: Decimal | None
    expected_version: int | None
    conditions: Conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportAccept:
    order_id: UUID
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportReject:
    order_id: UUID
    reason: Reason
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportFill:
    """`symbol` and `side` let a fill be booked of an order that nobody here knows.

    `revision` above 0: what the trade is from now on, as its venue says afterwards (`correction`: why); quantity 0 busts it."""

    order_id: UUID
    trade_id: UUID
    venue: str
    venue_trade_id: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str
    liquidity: str
    executed_at: datetime
    market_at: datetime
    now: datetime
    user_id: UUID
    symbol: str | None = None
    side: Side | None = None
    revision: int = 0
    correction: Reason | None = None
    settles_on: date | None = None
    """None: the day of the trade."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportCancel:
    order_id: UUID
    reason: Reason
    cumulative_quantity: Decimal
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportCancelReject:
    """`request`: the wish that it answers; None where that is not told."""

    order_id: UUID
    reason: Reason
    now: datetime
    request: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportReplace:
    """The order works with this total and these prices from now on; a price that is None stays.

    `code` is `requested`, or says why it was done unasked."""

    order_id: UUID
    quantity: Decimal
    limit_price: Decimal | None
    stop_price: Decimal | None
    cumulative_quantity: Decimal
    code: str
    market_at: datetime
    now: datetime
    request: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportReplaceReject:
    order_id: UUID
    reason: Reason
    market_at: datetime
    now: datetime
    request: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportTrigger:
    """A stop or if-touched order has become a market or limit order."""

    order_id: UUID
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportExpiry:
    order_id: UUID
    cumulative_quantity: Decimal
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportUnknown:
    """The venue has not answered: nothing is known, so nothing changes but what is shown."""

    order_id: UUID
    detail: str
    now: datetime


class VenueStand(StrEnum):
    WORKING = "working"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportState:
    """The answer to a question. Its fills come as ReportFill before it."""

    order_id: UUID
    stand: VenueStand
    cumulative_quantity: Decimal
    reason: Reason
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryUnanswered:
    """Ask execution about the orders whose report is overdue."""

    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjust:
    """A fact that is no trade: the balance changes by `amount`, which is signed. `in_kind`: of what is not money. `equity`: what
    the account was worth before, of a flow."""

    transaction_id: UUID
    kind: EntryKind
    currency: str
    amount: Decimal
    source: str
    now: datetime
    market_at: datetime
    in_kind: InKind | None = None
    equity: Decimal = ZERO


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A person has looked at an account that may only reduce, and lets it go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BeginReset:
    """A paper account is to begin anew, once its orders have ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """All that it has goes, and so much of its base currency comes."""

    transaction_id: UUID
    opening: Decimal
    now: datetime
    market_at: datetime


Command = (
    PlaceOrder
    | CancelOrder
    | ReplaceOrder
    | ReportAccept
    | ReportReject
    | ReportFill
    | ReportCancel
    | ReportCancelReject
    | ReportReplace
    | ReportReplaceReject
    | ReportTrigger
    | ReportExpiry
    | ReportUnknown
    | ReportState
    | QueryUnanswered
    | Adjust
    | Release
    | BeginReset
    | Reset
)
