"""What open buys may add to the positions of an account."""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from fleet_simulator import Side
from fleet_simulator.fees import EXACT

from fleet_trading.domain.order import Order
from fleet_trading.domain.values import ZERO


class Exposure(NamedTuple):
    quantity: Decimal
    notional: Decimal


NOTHING = Exposure(ZERO, ZERO)


def dearest(order: Order, orders: Mapping[UUID, Order]) -> Decimal:
    """The dearest price at which an open buy may fill, or another open buy of its group."""
    if order.terms is None or not order.terms.group:
        return order.worst_price
    group = (orders.get(order_id) for order_id in order.terms.group)
    return max(
        each.worst_price for each in (order, *group) if each is not None and each.is_open and each.side is Side.BUY
    )


def may_add(order: Order, orders: Mapping[UUID, Order]) -> Exposure:
    """At the dearest price. Of the buys of a group, the one that holds for all of them."""
    if order.side is not Side.BUY or not order.reserved or not order.is_open:
        return NOTHING
    whole = order.quantity if order.wanted is None else max(order.quantity, order.wanted.quantity)
    still_open = max(EXACT.subtract(whole, order.filled_quantity), ZERO)
    return Exposure(still_open, EXACT.multiply(still_open, dearest(order, orders)))


class OpenBuys:
    """Their sums by symbol: with many orders open, each change is counted once instead of all of them for each order."""

    __slots__ = ("_counted", "_sums", "changed")

    def __init__(self) -> None:
        self.changed: set[UUID] = set()
        """Orders that may count otherwise than they did."""
        self._counted: dict[UUID, tuple[str, Exposure]] = {}
        self._sums: dict[str | None, Exposure] = {}

    def of(self, orders: Mapping[UUID, Order], symbol: str | None) -> Exposure:
        """Without a symbol, of all."""
        for order_id in self.changed:
            was = self._counted.pop(order_id, None)
            if was is not None:
                self._add(was[0], Exposure(was[1].quantity.copy_negate(), was[1].notional.copy_negate()))
            order = orders.get(order_id)
            now = NOTHING if order is None else may_add(order, orders)
            if order is not None and now.quantity:
                self._counted[order_id] = order.symbol, now
                self._add(order.symbol, now)
        self.changed.clear()
        return self._sums.get(symbol, NOTHING)

    def _add(self, symbol: str, more: Exposure) -> None:
        for key in (symbol, None):
            so_far = self._sums.get(key, NOTHING)
            self._sums[key] = Exposure(
                EXACT.add(so_far.quantity, more.quantity), EXACT.add(so_far.notional, more.notional)
            )
