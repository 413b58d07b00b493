"""The account: what it has, what of it is reserved, what it holds, its orders."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from fleet_simulator.fees import EXACT

from .ledger import Posting
from .order import Order, Trade
from .risk.limits import SetAs, Values
from .risk.open_buys import OpenBuys
from .risk.state import NO_RISK, RiskState
from .states import Transition
from .values import ZERO, AccountStatus, Restriction


@dataclass(slots=True)
class Balance:
    """Of one currency: `reserved` is the sum over the open orders, and what is available is the rest."""

    total: Decimal = ZERO
    reserved: Decimal = ZERO
    unsettled: dict[date, Decimal] = field(default_factory=dict)
    """What of it is not free before a day (domain/settlement.py)."""

    @property
    def available(self) -> Decimal:
        return EXACT.subtract(self.total, self.reserved)


@dataclass(slots=True)
class Position:
    """What was bought of a symbol and not sold again: `cost` is what it cost without fees (average cost method).

    A quantity below zero is a fact that acceptance would not have allowed: `cost` is then what was taken in, negative."""

    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    realized_pnl: Decimal = ZERO
    opened_at: datetime | None = None
    """Since when something is held, by the market's time."""


@dataclass(slots=True)
class Changes:
    """What `apply` did to an account since it was last written."""

    placed: dict[UUID, Order] = field(default_factory=dict)
    orders: dict[UUID, Order] = field(default_factory=dict)
    transitions: dict[UUID, list[Transition]] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    corrected: list[Trade] = field(default_factory=list)
    postings: list[Posting] = field(default_factory=list)
    currencies: set[str] = field(default_factory=set)
    symbols: set[str] = field(default_factory=set)
    is_status: bool = False
    is_row: bool = False
    """Only the row of the account is to be written; nothing that anybody is told of."""
    market_at: datetime | None = None

    @property
    def is_told(self) -> bool:
        """Whether anybody outside hears of it."""
        return bool(self.placed or self.orders or self.postings or self.is_status)

    def correct(self, trade: Trade) -> None:
        """In place, where this transaction writes it first or corrects it already."""
        for told in (self.trades, self.corrected):
            for index, before in enumerate(told):
                if before.trade_id == trade.trade_id:
                    told[index] = trade
                    return
        self.corrected.append(trade)

    def __bool__(self) -> bool:
        return self.is_told or self.is_row


@dataclass(slots=True, kw_only=True)
class Account:
    """Changed by `apply` only. `orders` holds those that have been looked at, not all."""

    account_id: UUID
    user_id: UUID
    name: str
    kind: str
    base_currency: str
    is_default: bool
    created_at: datetime
    status: AccountStatus = AccountStatus.ACTIVE
    restriction: Restriction | None = None
    """Of the first fact that has restricted it; None where it is not, or was before reasons were kept."""
    version: int = 0
    entry_no: int = 0
    trade_no: int = 0
    epoch_trade_no: int = 0
    """Its trades up to this one were made before its last reset."""
    watch_at: datetime | None = None
    """When the next row is due that looks for orders without an answer."""
    day: date | None = None
    """The market day for which `day_open_equity` holds."""
    day_open_equity: Decimal = ZERO
    balances: dict[str, Balance] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    orders: dict[UUID, Order] = field(default_factory=dict)
    known_trades: dict[UUID, Trade] = field(default_factory=dict)
    """Trades that are booked already, of those that have been asked about."""
    roles: tuple[str, ...] = ()
    """Of its owner, as they were when it was read."""
    limits: dict[SetAs, Values] = field(default_factory=dict)
    risk: RiskState = NO_RISK
    open_buys: OpenBuys = field(default_factory=OpenBuys)
    knows_open_orders: bool = False
    """Whether `orders` holds all that are open."""
    changes: Changes = field(default_factory=Changes)

    def balance(self, currency: str) -> Balance:
        return self.balances.get(currency) or Balance()

    @property
    def holds_anything(self) -> bool:
        return any(position.quantity for position in self.positions.values())

    def open_orders(self) -> Iterator[Order]:
        return (order for order in self.orders.values() if order.is_open)
