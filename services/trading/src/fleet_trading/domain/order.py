"""An order as its client sees it, and the fills of it."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from fleet_simulator import OrderType, Side, TimeInForce, reservation
from fleet_simulator.fees import EXACT, FEE_UNIT, fee

from .exact import average
from .states import Transition
from .terms import Figures, OrderClass, Terms
from .values import TERMINAL, ZERO, Pending, Reason, Stand


@dataclass(slots=True, kw_only=True)
class Order:
    """Changed by `apply` only. `market_at` is the market's time when it was asked for, `created_at` the wall's.

    `reserved` is what it holds of `reserved_currency`: always what its open quantity may still cost, or what its group
    may that it belongs to."""

    order_id: UUID
    client_order_id: str
    account_id: UUID
    user_id: UUID
    deployment_id: UUID | None
    signal_id: UUID | None
    strategy_id: UUID | None
    symbol: str
    base: str
    quote: str
    side: Side
    type: OrderType
    quantity: Decimal
    limit_price: Decimal | None
    protection_price: Decimal | None
    highest_fee: Decimal
    time_in_force: TimeInForce
    venue: str
    created_at: datetime
    updated_at: datetime
    market_at: datetime
    stand: Stand = Stand.NEW
    pending: Pending = Pending.NONE
    is_accepted: bool = False
    filled_quantity: Decimal = ZERO
    filled_notional: Decimal = ZERO
    fees: Decimal = ZERO
    reserved: Decimal = ZERO
    reason: Reason | None = None
    version: int = 1
    query_at: datetime | None = None
    """When execution is to be asked about it, if no report comes before (live feeds only)."""
    queries: int = 0
    terms: Terms | None = None
    """What only some orders have."""

    @property
    def is_open(self) -> bool:
        return self.stand not in TERMINAL

    @property
    def has_trades(self) -> bool:
        """Also of such as were busted."""
        return bool(self.filled_quantity) or (self.terms is not None and self.terms.has_corrections)

    @property
    def beneath(self) -> Pending:
        """What its pending cancel or replace lies upon."""
        if self.pending is Pending.CANCEL and self.wanted is not None:
            return Pending.REPLACE
        return Pending.NONE if self.is_accepted else Pending.NEW

    @property
    def status(self) -> str:
        """The one word of API.md."""
        if self.pending is Pending.NONE or self.stand in TERMINAL:
            return self.stand.value
        return f"pending_{self.pending.value}"

    @property
    def reserved_currency(self) -> str:
        return self.quote if self.side is Side.BUY else self.base

    @property
    def order_class(self) -> OrderClass:
        return OrderClass.SIMPLE if self.terms is None else self.terms.order_class

    @property
    def legs(self) -> tuple[UUID, ...]:
        """Those that came with it."""
        return () if self.terms is None or self.parent_order_id is not None else self.terms.group[1:]

    @property
    def parent_order_id(self) -> UUID | None:
        """The order that it came with, if it is a leg."""
        group = () if self.terms is None else self.terms.group
        return group[0] if group and group[0] != self.order_id else None

    @property
    def figures(self) -> Figures:
        return Figures(self.quantity, self.limit_price, None if self.terms is None else self.terms.stop_price)

    @property
    def wanted(self) -> Figures | None:
        """What its venue has been asked to make of it, and has not answered."""
        return None if self.terms is None else self.terms.wanted

    @property
    def first_quantity(self) -> Decimal:
        return self.quantity if self.terms is None or self.terms.first is None else self.terms.first.quantity

    @property
    def worst_price(self) -> Decimal:
        """The dearest price at which a buy may fill, now or once it has been replaced."""
        worst = self._worst(self.limit_price)
        return worst if self.wanted is None else max(worst, self._worst(self.wanted.limit_price))

    def _worst(self, limit_price: Decimal | None) -> Decimal:
        worst = self.protection_price if limit_price is None else limit_price
        assert worst is not None, "a buy was accepted with a limit or a protection price"
        return worst

    @property
    def average_fill_price(self) -> Decimal | None:
        """Rounded to 12 decimals; only for show, money is counted in `filled_notional`."""
        if not self.filled_quantity:
            return None
        return average(self.filled_notional, self.filled_quantity)

    @property
    def holding(self) -> Decimal:
        """What it must hold as it stands, while it is open. Of one that is worked in parts its venue rounds the fee of each
        part by itself: so they may come to more, by a unit each, than that of the whole."""
        held = self.reservation(self.filled_quantity, self.filled_notional)
        algo = None if self.terms is None else self.terms.algo
        if algo is None or self.side is Side.SELL or not held:
            return held
        beyond = EXACT.subtract(self.fees, fee(self.filled_notional, self.highest_fee))
        return EXACT.add(held, max(EXACT.subtract(algo.slices * FEE_UNIT, max(beyond, ZERO)), ZERO))

    def reservation(self, filled_quantity: Decimal, filled_notional: Decimal) -> Decimal:
        """What it must hold once so much of it is filled."""
        if self.terms is not None and self.terms.wanted is not None:
            return self._reservation_either_way(self.terms.wanted, filled_quantity, filled_notional)
        still_open = EXACT.subtract(self.quantity, filled_quantity)
        if still_open <= 0:
            return ZERO
        return reservation(
            self.side,
            self.type,
            still_open,
            limit_price=self.limit_price,
            protection_price=self.protection_price,
            fee_rate=self.highest_fee,
            filled_notional=filled_notional,
        )

    def _reservation_either_way(self, wanted: Figures, filled_quantity: Decimal, filled_notional: Decimal) -> Decimal:
        """While its venue may have replaced it or not: nothing, some or all of it fills as it was before it is replaced."""
        before = max(EXACT.subtract(self.quantity, filled_quantity), ZERO)
        after = max(EXACT.subtract(wanted.quantity, filled_quantity), ZERO)
        if self.side is Side.SELL:
            return max(before, after)
        worst, worst_after = self._worst(self.limit_price), self._worst(wanted.limit_price)
        rest = EXACT.multiply(max(EXACT.subtract(after, before), ZERO), worst_after)
        notional = max(EXACT.multiply(after, worst_after), EXACT.add(EXACT.multiply(before, worst), rest))
        fees = EXACT.subtract(
            fee(EXACT.add(filled_notional, notional), self.highest_fee), fee(filled_notional, self.highest_fee)
        )
        return EXACT.add(notional, fees)


def first_transition(order: Order) -> Transition:
    """How it began, which is not kept with the others since its row tells it."""
    if order.stand is Stand.DENIED:
        return Transition(1, order.created_at, "denied", order.status, order.reason)
    adopted = order.reason if order.reason is not None and order.reason.code == "adopted" else None
    status = Stand.NEW if adopted else "pending_new"
    return Transition(1, order.created_at, "adopted" if adopted else "placed", str(status), adopted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """A fill of a client's order, as it is booked and has been corrected since; quantity 0 is a bust."""

    trade_id: UUID
    trade_no: int
    order_id: UUID
    account_id: UUID
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    fee_currency: str
    liquidity: str
    venue: str
    venue_trade_id: str
    executed_at: datetime
    market_at: datetime
    revision: int = 0
    """How often its venue has corrected it."""
