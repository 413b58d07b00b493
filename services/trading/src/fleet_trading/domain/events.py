"""What happened to an account."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from .commands import ReportFill
from .ledger import EntryKind, InKind
from .order import Order, Trade
from .risk.state import RiskState
from .risk.usage import LimitsMeasured
from .terms import Figures
from .values import ZERO, Reason, Stand, Twap


@dataclass(frozen=True, slots=True)
class OrderPlaced:
    """Accepted by us with its legs: funds are reserved, execution is told, with how it is to work the order."""

    order: Order
    algo: Twap | None = None
    legs: tuple[Order, ...] = ()
    risk: RiskState | None = None
    """With it counted in; None where no limit asks for that."""


@dataclass(frozen=True, slots=True)
class OrderDenied:
    """Our checks said no; the order is kept with its reason and has used up its client_order_id."""

    order: Order


@dataclass(frozen=True, slots=True)
class OrderAccepted:
    order_id: UUID
    now: datetime


@dataclass(frozen=True, slots=True)
class OrderFilled:
    """`adopted` is the order made up for a fill of one that nobody here knew."""

    order_id: UUID
    fill: ReportFill
    adopted: Order | None = None


@dataclass(frozen=True, slots=True)
class TradeCorrected:
    """A trade that is booked is another one now (`fill`), or none. An order that has ended stays ended."""

    order_id: UUID
    trade: Trade
    fill: ReportFill


@dataclass(frozen=True, slots=True)
class OrderClosed:
    """Ended by the venue, or by the path to it, without being filled to the end."""

    order_id: UUID
    stand: Stand
    reason: Reason | None
    now: datetime


@dataclass(frozen=True, slots=True)
class OrderReplaced:
    """The venue works it with another total or other prices; what it holds follows.

    `is_answer`: it was asked for. `reason`: why it was done, if it was not."""

    order_id: UUID
    figures: Figures
    is_answer: bool
    reason: Reason | None
    market_at: datetime
    now: datetime


@dataclass(frozen=True, slots=True)
class ReplaceRequested:
    """The venue is asked for `wanted`; what is more than held now is reserved before."""

    order_id: UUID
    wanted: Figures
    market_at: datetime
    now: datetime
    query_at: datetime | None


@dataclass(frozen=True, slots=True)
class ReplaceDenied:
    """Nothing was changed. `is_conflict`: not for what was asked, but for how the order stands."""

    order_id: UUID
    reason: Reason
    is_conflict: bool


@dataclass(frozen=True, slots=True)
class ReplaceRefused:
    """The order works on as it was."""

    order_id: UUID
    reason: Reason
    now: datetime


@dataclass(frozen=True, slots=True)
class OrderTriggered:
    order_id: UUID
    now: datetime


@dataclass(frozen=True, slots=True)
class CancelRequested:
    order_id: UUID
    now: datetime
    query_at: datetime | None


@dataclass(frozen=True, slots=True)
class CancelRefused:
    """The order works on; the venue did not take it out, or knows of no wish to."""

    order_id: UUID
    reason: Reason
    now: datetime


@dataclass(frozen=True, slots=True)
class OrderUnanswered:
    order_id: UUID
    reason: Reason
    now: datetime


@dataclass(frozen=True, slots=True)
class OrderQueried:
    """Execution is asked what became of it; asked again at `next_at` if no answer comes."""

    order_id: UUID
    attempt: int
    next_at: datetime | None
    now: datetime


@dataclass(frozen=True, slots=True)
class FillsMissing:
    """The venue counts more than has been told to us: an alarm, and a question (OrderQueried) follows."""

    order_id: UUID
    told: Decimal
    booked: Decimal


@dataclass(frozen=True, slots=True)
class AccountRestricted:
    """A fact was booked that acceptance had not allowed for: an alarm, and the account is reduce-only."""

    order_id: UUID | None
    reason: Reason
    now: datetime


@dataclass(frozen=True, slots=True)
class AccountReleased:
    """It may do again what any account may."""


@dataclass(frozen=True, slots=True)
class BoughtUnsettledSold:
    """What was bought with proceeds on their way was sold before they had come: a good faith violation. `day`: the market's."""

    order_id: UUID
    reason: Reason
    day: date


@dataclass(frozen=True, slots=True)
class Adjusted:
    transaction_id: UUID
    kind: EntryKind
    currency: str
    amount: Decimal
    source: str
    now: datetime
    market_at: datetime
    in_kind: InKind | None = None
    equity: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class ResetBegun:
    """From here on nothing new is accepted."""


@dataclass(frozen=True, slots=True)
class AccountReset:
    """A new beginning: what was there has gone out by entries, and nothing is deleted."""

    transaction_id: UUID
    opening: Decimal
    now: datetime
    market_at: datetime


Event = (
    OrderPlaced
    | OrderDenied
    | OrderAccepted
    | OrderFilled
    | OrderClosed
    | OrderReplaced
    | ReplaceRequested
    | ReplaceDenied
    | ReplaceRefused
    | OrderTriggered
    | CancelRequested
    | CancelRefused
    | OrderUnanswered
    | OrderQueried
    | FillsMissing
    | AccountRestricted
    | AccountReleased
    | BoughtUnsettledSold
    | Adjusted
    | ResetBegun
    | AccountReset
    | TradeCorrected
    | LimitsMeasured
)
