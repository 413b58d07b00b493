"""The accounts of an in-process run: cash, holdings and what open orders reserve, by trading's rules."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from fleet_simulator import OrderType, Side, TimeInForce, reservation


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
    """An order of a run, and what has become of it."""

    account_id: str
    deployment_id: UUID
    signal_id: UUID
    symbol: str
    side: Side
    type: OrderType
    quantity: Decimal
    limit_price: Decimal | None
    protection_price: Decimal | None
    time_in_force: TimeInForce
    market_at: datetime
    outcome: Outcome = Outcome.OPEN
    reason: str | None = None
    filled_quantity: Decimal = Decimal(0)
    filled_notional: Decimal = Decimal(0)
    fee: Decimal = Decimal(0)

    def reserved(self, fee_rate: Decimal) -> Decimal:
        """Of the quote currency for a buy, of the base for a sell; nothing once it has ended."""
        return reservation(
            self.side,
            self.type,
            self.quantity - self.filled_quantity if self.outcome is Outcome.OPEN else Decimal(0),
            limit_price=self.limit_price,
            protection_price=self.protection_price,
            fee_rate=fee_rate,
            filled_notional=self.filled_notional,
        )


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
        others = [other for other in self.open_orders.values() if other.side is order.side]
        if order.side is Side.BUY:
            available = self.cash - self._reserved(others)
        else:
            held = self.holdings.get(order.symbol, Decimal(0))
            available = held - self._reserved(other for other in others if other.symbol == order.symbol)
        return None if order.reserved(self.fee_rate) <= available else "insufficient_funds"

    def book(self, fill: Fill) -> None:
        """A fact: booked whatever it leaves."""
        sign = 1 if fill.side is Side.BUY else -1
        self.cash -= sign * fill.quantity * fill.price + fill.fee
        self.holdings[fill.symbol] = self.holdings.get(fill.symbol, Decimal(0)) + sign * fill.quantity

    def _reserved(self, orders: Iterable[RunOrder]) -> Decimal:
        return sum((order.reserved(self.fee_rate) for order in orders), Decimal(0))
