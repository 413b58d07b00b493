"""A book without other people's orders: what data shows fills the orders in it. It takes the core book's words.

It answers for one order at a time; `Market` knows when whose turn is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from fleet_simulator.depth import Depth
from fleet_simulator.matcher import Fill, Left, Match, Refused
from fleet_simulator.orders import Order, Side, TimeInForce
from fleet_simulator.resting import RestingOrders, rank_of
from fleet_simulator.slippage import Slippage
from fleet_simulator.triggers import Shown


@dataclass(slots=True)
class Spot:
    """The price of a moment on a bar's path or of a trade, and what volume is left of it (`None`: without bound)."""

    price: int
    left: int | None
    volume: int
    entered_at: int
    released: set[str] = field(default_factory=set)


class DataBook:
    """Orders that wait for prices. `volume_share` bounds what all of them together take of what is shown."""

    def __init__(self, volume_share: Fraction | None, quote_lifetime_ns: int, slippage: Slippage | None) -> None:
        self.resting = RestingOrders()
        self.depth: Depth | None = None
        self.spot: Spot | None = None
        self.rested_before = 0  # orders that came before this have met a price since, so what is left of them rests
        self.changed: set[str] = set()
        self._share = volume_share
        self._quote_lifetime_ns = quote_lifetime_ns
        self._slippage = slippage

    # The core's words

    def enter(self, order: Order, at: int) -> list[Match]:
        order.met_quote = order.taking = False
        order.ahead = self.depth.ahead(order) if self._stands(at) and self.depth else None
        self.resting.add(order)
        if self.spot:
            order.entered_at = self.spot.entered_at
            self.spot.released.add(order.order_ref)
            return self._and_over(order, self.meet_spot(order, is_taker=True))
        if self._stands(at):
            found = self.meet_depth(order, is_taker=True)
            order.met_quote = True
            return self._and_over(order, found)
        return []

    def replace(self, order: Order, at: int) -> list[Match]:
        if self.resting.rank(order) == rank_of(order):
            return []
        if order.post_only and self._would_take(order, at):
            return [Refused(order, "post_only")]
        self.resting.remove(order)
        return self.enter(order, at)

    def withdraw(self, order: Order) -> None:
        self.resting.remove(order)

    def shown(self, at: int) -> Shown | None:
        if self.spot:
            return Shown.trade(self.spot.price)
        if self._stands(at) and self.depth:
            return Shown(self.depth.best(Side.BUY), self.depth.best(Side.SELL))
        return None

    # Prices

    def share_of(self, volume: int, *, always: bool = False) -> int | None:
        """What of a volume may be taken; without a share all of it, or, where data is generous, no bound."""
        if self._share is None:
            return volume if always else None
        return volume * self._share.numerator // self._share.denominator

    def has_rested(self, order: Order) -> bool:
        return not order.taking and (order.met_quote or order.entered_at < self.rested_before)

    def end_taking(self, before: int, *, always: bool = False) -> None:
        """Limits that the standing prices no longer reach have rested from now on."""
        for order in self.resting.taking():
            best = self.depth.best(Side.SELL if order.is_buy else Side.BUY) if self.depth else None
            is_over = best is not None and not order.takes(best) and order.accepted_at < before
            if (is_over or always) and self.resting.set_taking(order, False):
                self.changed.add(order.order_ref)

    def meet_spot(
        self, order: Order, *, is_taker: bool, most: int | None = None, price: int | None = None
    ) -> list[Match]:
        """At the spot's price, with slippage for who takes; `price`: at that one instead. `most`: of its turn."""
        spot = self.spot
        assert spot is not None, "there is a price"
        if not order.takes(spot.price):
            return [] if order.type.has_limit else self._leave(order, "price_protection")
        if is_taker and order.post_only:
            return self._leave(order, "post_only")
        quantity = min(q for q in (order.resting, spot.left, most) if q is not None)
        if reason := _too_little(order, quantity):
            return self._leave(order, reason)
        if not quantity:
            return []
        if spot.left is not None:
            spot.left -= quantity
        own = price if price is not None else spot.price
        at = self._slipped(order, quantity, spot.price, spot.volume) if is_taker else own
        return self._filled(order, [(quantity, at)], is_taker=is_taker)

    def meet_depth(self, order: Order, *, is_taker: bool) -> list[Match]:
        """Through the levels of the other side, at their prices for who takes, at its own limit for who has rested.

        Behind a quote nothing is known: who takes from one pays slippage, and a limit that it reaches, but has not enough
        for, goes on taking with the next one.
        """
        depth = self.depth
        assert depth is not None, "there is a price"
        other = Side.SELL if order.is_buy else Side.BUY
        best = depth.best(other)
        if is_taker and order.post_only and best is not None and order.takes(best):
            return self._leave(order, "post_only")
        found: list[tuple[int, int, int]] = []  # quantity, the level's price, the fill's
        left = order.resting
        is_beyond = False
        for price, size, taken in depth.levels(other):
            is_beyond = not order.takes(price)
            if is_beyond or not left:
                break
            share = self.share_of(size, always=depth.is_book)
            quantity = left if share is None else min(left, share - taken)
            if quantity > 0:
                slips = is_taker and not depth.is_book
                found.append((quantity, price, self._slipped(order, quantity, price, size) if slips else price))
                left -= quantity
        if reason := _too_little(order, order.resting - left):
            return self._leave(order, reason)
        for quantity, price, _ in found:
            depth.take(other, price, quantity)
        own = None if is_taker else order.limit_price
        matches = self._filled(order, [(quantity, own or price) for quantity, _, price in found], is_taker=is_taker)
        goes_on = left > 0 and order.type.has_limit and is_taker and not depth.is_book
        if goes_on and best is not None and order.takes(best) and self.resting.set_taking(order, True):
            self.changed.add(order.order_ref)
        if is_beyond and left and not order.type.has_limit:
            matches += self._leave(order, "price_protection")
        return matches

    def over(self, order: Order) -> list[Match]:
        """After its first price: an immediate order ends, and so does one that had to trade a minimum there."""
        if order.time_in_force is TimeInForce.IOC:
            return self._leave(order, "immediate_or_cancel")
        if order.time_in_force is TimeInForce.FOK:
            return self._leave(order, "fill_or_kill")
        if order.minimum_quantity and not order.filled_quantity:
            return self._leave(order, "minimum_quantity")
        return []

    def cap_ahead(self) -> None:
        """No more stands before an order than the whole of its level."""
        if self.depth and self.depth.is_book:
            for order in self.resting:
                shown = self.depth.ahead(order)
                if order.ahead is not None and shown is not None and shown < order.ahead:
                    order.ahead = shown
                    self.changed.add(order.order_ref)

    def state(self) -> dict[str, Any]:
        return {"rested_before": self.rested_before, "depth": self.depth.to_data() if self.depth else None}

    def restore(self, state: Mapping[str, Any], orders: Iterable[Order]) -> None:
        self.rested_before = state["rested_before"]
        self.depth = Depth.from_data(state["depth"]) if state.get("depth") else None
        self.spot = None
        self.resting = RestingOrders()
        for order in sorted(orders, key=lambda each: each.priority):
            self.resting.add(order)

    def _stands(self, at: int) -> bool:
        return self.depth is not None and at - self.depth.market_at <= self._quote_lifetime_ns

    def _would_take(self, order: Order, at: int) -> bool:
        shown = self.shown(at)
        price = shown.to(order) if shown else None
        return price is not None and order.takes(price)

    def _slipped(self, order: Order, quantity: int, shown: int, volume: int) -> int:
        if self._slippage is None:
            return shown
        ticks = self._slippage.ticks(shown, quantity, volume)
        price = shown + ticks if order.is_buy else max(1, shown - ticks)
        return price if order.takes(price) else order.worst_price or price

    def _filled(self, order: Order, fills: list[tuple[int, int]], *, is_taker: bool) -> list[Match]:
        if fills and sum(quantity for quantity, _ in fills) == order.resting:
            self.resting.remove(order)
        return [Fill(order, quantity, price, is_taker) for quantity, price in fills]

    def _leave(self, order: Order, reason: str) -> list[Match]:
        self.resting.remove(order)
        return [Left(order, reason)]

    def _and_over(self, order: Order, found: list[Match]) -> list[Match]:
        """The price it came to was its first: is there more of it to end?"""
        if order not in self.resting or (order.minimum_quantity and found and not order.time_in_force.is_immediate):
            return found
        return found + self.over(order)


def _too_little(order: Order, quantity: int) -> str | None:
    """Why a quantity that could trade may not: all or nothing, or less than the minimum."""
    if order.time_in_force is TimeInForce.FOK and quantity < order.resting:
        return "fill_or_kill"
    if not order.filled_quantity and quantity < order.minimum_quantity:
        return "minimum_quantity"
    return None
