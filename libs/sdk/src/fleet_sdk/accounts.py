"""The accounts of an in-process run: cash, holdings and what open orders reserve, by trading's rules."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from fleet_simulator import CURRENCY_PRECISION, Side, fee, reservation

from fleet_sdk.orders import Leg, OrderClass, SubmitIntent


class Outcome(StrEnum):
    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    DENIED = "denied"


@dataclass(frozen=True, slots=True)
class Fill:
    """A trade of a run. `market_at` is the step in which it happened: the close of the bar at whose prices."""

    account_id: str
    deployment_id: UUID
    signal_id: UUID
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    liquidity: str
    market_at: datetime


@dataclass(slots=True)
class RunOrder:
    """An order of a run, or one of its exits, and what has become of it.

    `quantity` is what it is for now: an exit's follows what has filled of its order, and of the other exit. `parent`
    of an exit is the order it came with, which knows it among its `legs`.
    """

    order_id: UUID
    account_id: str
    deployment_id: UUID
    signal_id: UUID
    asked: SubmitIntent
    protection_price: Decimal | None
    market_at: datetime
    quantity: Decimal
    leg: Leg | None = None
    parent: "RunOrder | None" = field(default=None, repr=False, compare=False)
    legs: list["RunOrder"] = field(default_factory=list)
    outcome: Outcome = Outcome.OPEN
    reason: str | None = None
    filled_quantity: Decimal = Decimal(0)
    filled_notional: Decimal = Decimal(0)
    fee: Decimal = Decimal(0)

    @property
    def symbol(self) -> str:
        return self.asked.symbol

    @property
    def side(self) -> Side:
        return self.asked.side

    @property
    def is_open(self) -> bool:
        return self.outcome is Outcome.OPEN

    @property
    def order_class(self) -> OrderClass:
        """Its own, or that of the order it is an exit of."""
        return (self.parent or self).asked.order_class

    @property
    def waits_for(self) -> "RunOrder | None":
        """The order whose fills make it larger."""
        return self.parent if self.order_class.has_waiting_legs else None

    @property
    def is_whole(self) -> bool:
        """Whether an open order is filled to its end. An exit is not while it may grow: until its order has ended and
        the exits have filled all of that."""
        if not self.is_open or not 0 < self.quantity == self.filled_quantity:
            return False
        entry = self.waits_for
        return entry is None or not (entry.is_open or entry.exited < entry.filled_quantity)

    @property
    def exited(self) -> Decimal:
        return sum((leg.filled_quantity for leg in self.legs), Decimal(0))

    def claims(self, fee_rate: Decimal) -> list[tuple[Side, Decimal]]:
        """What it and its exits reserve, by trading's rules: of the quote currency for a buy, of the base for a sell.

        Exits reserve once, what it has filled and they have not, those that buy again all of it from the start; an
        OCO's two reserve once, what neither has filled.
        """
        own = (self.side, self._reserved(fee_rate))
        if not self.legs:
            return [own]
        together = self.legs if self.order_class.has_waiting_legs else [self, *self.legs]
        working = [order for order in together if order.is_open]
        if not self.order_class.has_waiting_legs:
            left = self.asked.quantity - self.filled_quantity - self.exited
        elif self.is_open and self.side is Side.SELL:
            left = self.asked.quantity - self.exited
        else:
            left = self.filled_quantity - self.exited
        exits = (self.legs[0].side, _held_once(working, together, left, fee_rate) if working else Decimal(0))
        return [own, exits] if self.order_class.has_waiting_legs else [exits]

    def _reserved(self, fee_rate: Decimal) -> Decimal:
        return reservation(
            self.side,
            self.asked.type,
            self.quantity - self.filled_quantity if self.is_open else Decimal(0),
            limit_price=self.asked.limit_price,
            protection_price=self.protection_price,
            fee_rate=fee_rate,
            filled_notional=self.filled_notional,
        )


def _held_once(working: list[RunOrder], together: list[RunOrder], quantity: Decimal, fee_rate: Decimal) -> Decimal:
    """What `quantity` may cost, whichever of these orders fill it; each order's fee is rounded by itself."""
    if working[0].side is Side.SELL or not quantity:
        return quantity
    worst = max(order.asked.limit_price or order.protection_price or Decimal(0) for order in working)
    spent = sum((order.filled_notional for order in together), Decimal(0))
    charged = sum((fee(order.filled_notional, fee_rate) for order in together), Decimal(0))
    rounding = len(together) * Decimal(1).scaleb(-CURRENCY_PRECISION)
    return quantity * worst + fee(spent + quantity * worst, fee_rate) + rounding - charged


@dataclass(slots=True)
class RunAccount:
    """Cash (one quote currency) and holdings by symbol."""

    cash: Decimal
    fee_rate: Decimal
    holdings: dict[str, Decimal] = field(default_factory=dict)
    open_orders: dict[UUID, RunOrder] = field(default_factory=dict)
    command_sequence: int = 0

    def refusal(self, order: RunOrder) -> str | None:
        """Why trading would deny the order: it must be able to reserve in full; cash accounts do not go short."""
        if order.asked.reduce_only and order.side is Side.BUY:
            return "reduce_only"
        groups = {other.signal_id: other.parent or other for other in self.open_orders.values()}
        for side, amount in order.claims(self.fee_rate):
            available = self.cash if side is Side.BUY else self.holdings.get(order.symbol, Decimal(0))
            for other in groups.values():
                if side is Side.BUY or other.symbol == order.symbol:
                    available -= sum((held for each, held in other.claims(self.fee_rate) if each is side), Decimal(0))
            if amount > available:
                return "insufficient_funds"
        return None

    def book(self, fill: Fill) -> None:
        """A fact: booked whatever it leaves."""
        sign = 1 if fill.side is Side.BUY else -1
        self.cash -= sign * fill.quantity * fill.price + fill.fee
        self.holdings[fill.symbol] = self.holdings.get(fill.symbol, Decimal(0)) + sign * fill.quantity
