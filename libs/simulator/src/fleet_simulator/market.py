"""One symbol's market: takes commands, is shown prices, answers with events. No clock, no I/O, integers only."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from fractions import Fraction
from typing import Any

from fleet_simulator.events import (
    Accepted,
    Canceled,
    CancelRejected,
    Event,
    Expired,
    Filled,
    Liquidity,
    Rejected,
    ReplaceRejected,
)
from fleet_simulator.fees import FeeSchedule
from fleet_simulator.inputs import Bar, Quote
from fleet_simulator.orders import Cancel, Command, Order, OrderType, Place, Replace, Side, TimeInForce
from fleet_simulator.resting import RestingOrders

QUOTE_LIFETIME_NS = 5_000_000_000
"""How long a quote stands without a new one: as long as a command may be on its way (`send_by`, 5 s)."""


class PastPrice(ValueError):
    """A bar or quote that is not after what the market has seen; it was not applied."""


class Market:
    """Fills the orders of one symbol from bars or from quotes; README.md has the rules.

    `volume_share` bounds what all orders together take of a bar's volume, or of a quote's size; `None` (the default)
    is without bound: every order fills in full at its price. `market_at` is the time of the last price.
    """

    def __init__(
        self,
        symbol: str,
        fees: FeeSchedule,
        *,
        volume_share: Fraction | None = None,
        quote_lifetime_ns: int = QUOTE_LIFETIME_NS,
    ) -> None:
        self.symbol = symbol
        self.market_at = 0
        self._fees = fees
        self._volume_share = volume_share
        self._quote_lifetime_ns = quote_lifetime_ns
        self._resting = RestingOrders()
        self._arrivals = 0
        self._trades = 0
        self._rested_before = 0  # orders accepted before this have met a price since, so what is left of them rests
        self._quote: Quote | None = None
        self._taken = {Side.BUY: 0, Side.SELL: 0}  # of the standing quote: of its ask by buys, of its bid by sells

    @property
    def orders(self) -> Mapping[str, Order]:
        """The orders that have not ended, by reference, in arrival order. To be read only."""
        return self._resting.by_ref

    def apply(self, command: Command, market_at: int) -> list[Event]:
        """One command, at the market time at which the venue took it.

        The order counts as accepted no earlier than the last price shown, whatever time is given.
        """
        at = max(market_at, self.market_at)
        if isinstance(command, Replace):
            return [ReplaceRejected(command.order_ref, command.account_id, at, "unsupported")]
        return list(self._place(command, at) if isinstance(command, Place) else self._cancel(command, at))

    def on_bar(self, bar: Bar) -> list[Event]:
        """Fills along the bar's path the orders accepted at or before its open (so before its close)."""
        if bar.market_at <= self.market_at:
            raise PastPrice(f"{self.symbol}: a bar must be after {self.market_at}, was {bar.market_at}")
        self.market_at = bar.market_at
        self._quote = None
        if not bar.volume:
            return []
        events = list(self._fill_from_bar(bar)) + self._end_immediate(bar)
        self._rested_before = bar.eligible_before
        return events

    def on_quote(self, quote: Quote) -> list[Event]:
        """The quote stands from now on; it fills what was accepted before it and is marketable against it."""
        if quote.market_at < self.market_at:
            raise PastPrice(f"{self.symbol}: a quote must not be before {self.market_at}, was {quote.market_at}")
        self.market_at = quote.market_at
        self._quote = quote
        self._taken = {Side.BUY: 0, Side.SELL: 0}
        reached = self._resting.reached(
            lowest=quote.ask if quote.ask_size else None, highest=quote.bid if quote.bid_size else None
        )
        events: list[Event] = []
        for order in reached:
            if order.accepted_at < quote.eligible_before:
                events += self._fill_from_quote(order, quote, quote.market_at)
        events += self._end_immediate(quote)
        self._rested_before = quote.eligible_before
        return events

    def end_session(self, market_at: int) -> list[Event]:
        """Expires the day orders accepted before this end of a session: the first to end after their acceptance."""
        events: list[Event] = []
        for order in list(self._resting):
            if order.time_in_force is TimeInForce.DAY and order.accepted_at < market_at:
                self._resting.remove(order)
                events.append(Expired(order.order_ref, order.account_id, market_at))
        return events

    def state(self) -> dict[str, Any]:
        """All but the orders, as plain data; its size does not grow with them."""
        return {
            "symbol": self.symbol,
            "market_at": self.market_at,
            "arrivals": self._arrivals,
            "trades": self._trades,
            "rested_before": self._rested_before,
            "quote": asdict(self._quote) if self._quote else None,
            "taken": [self._taken[Side.BUY], self._taken[Side.SELL]],
        }

    def snapshot(self) -> dict[str, Any]:
        """All state as plain data: integers, strings, lists. `market` is all but the orders, each of them a row."""
        return {"market": self.state(), "orders": [order.to_data() for order in self._resting]}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Takes the place of all state; the rules (fees, volume share) are the constructor's. Orders in any order."""
        market = snapshot["market"]
        if market["symbol"] != self.symbol:
            raise ValueError(f"a snapshot of {self.symbol} is needed, was {market['symbol']}")
        self.market_at = market["market_at"]
        self._arrivals, self._trades = market["arrivals"], market["trades"]
        self._rested_before = market["rested_before"]
        self._quote = Quote(**market["quote"]) if market["quote"] else None
        self._taken = dict(zip((Side.BUY, Side.SELL), market["taken"], strict=True))
        self._resting = RestingOrders()
        for order in sorted(map(Order.from_data, snapshot["orders"]), key=lambda o: o.arrival):
            self._resting.add(order)

    def state_hash(self) -> str:
        """SHA-256 of the snapshot; equal for equal commands and prices, however they were batched."""
        canonical = json.dumps(self.snapshot(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()

    def _place(self, command: Place, at: int) -> Iterator[Event]:
        if reason := self._refusal(command):
            yield Rejected(command.order_ref, command.account_id, at, reason)
            return
        order = Order(
            order_ref=command.order_ref,
            account_id=command.account_id,
            side=command.side,
            type=command.type,
            quantity=command.quantity,
            time_in_force=command.time_in_force,
            limit_price=command.limit_price,
            protection_price=command.protection_price,
            accepted_at=at,
            arrival=self._arrivals,
        )
        self._arrivals += 1
        self._resting.add(order)
        yield Accepted(order.order_ref, order.account_id, at)
        if self._quote and at - self._quote.market_at <= self._quote_lifetime_ns:
            yield from self._fill_from_quote(order, self._quote, at)
            order.met_quote = True
            if order.order_ref in self._resting.by_ref and order.time_in_force is TimeInForce.IOC:
                yield self._end(order, "immediate_or_cancel", at)

    def _refusal(self, command: Place) -> str | None:
        if command.order_ref in self._resting.by_ref:
            return "duplicate_order_ref"
        if command.quantity <= 0:
            return "invalid_quantity"
        if command.type.is_triggered or command.time_in_force not in (
            TimeInForce.GTC,
            TimeInForce.IOC,
            TimeInForce.DAY,
        ):
            return "unsupported"
        has_limit = command.limit_price is not None
        prices = (command.limit_price, command.protection_price)
        if has_limit is not (command.type is OrderType.LIMIT) or any(p is not None and p <= 0 for p in prices):
            return "invalid_price"
        return None

    def _cancel(self, command: Cancel, at: int) -> Iterator[Event]:
        order = self._resting.by_ref.get(command.order_ref)
        if order is None or order.account_id != command.account_id:
            yield CancelRejected(command.order_ref, command.account_id, at, "unknown_order")
        else:
            yield self._end(order, command.reason, at)

    def _fill_from_bar(self, bar: Bar) -> Iterator[Event]:
        left = self._share_of(bar.volume)
        eligible = [
            order
            for order in self._resting.reached(lowest=bar.low, highest=bar.high)
            if order.accepted_at < bar.eligible_before
        ]
        for place, order in sorted(((_place_on_path(order, bar), order) for order in eligible), key=lambda p: p[0]):
            is_at_open = place[0] <= _MARKETABLE
            price = bar.open if is_at_open or order.limit_price is None else order.limit_price
            if not order.takes(price):  # only a market order, whose open lies beyond its protection price
                yield self._end(order, "price_protection", bar.market_at)
                continue
            if order.time_in_force is TimeInForce.IOC and not is_at_open:
                continue
            quantity = order.remaining if left is None else min(order.remaining, left)
            if quantity:
                left = None if left is None else left - quantity
                is_taker = order.type is OrderType.MARKET or (is_at_open and not self._has_rested(order))
                yield self._fill(order, quantity, price, bar.market_at, is_taker=is_taker)

    def _fill_from_quote(self, order: Order, quote: Quote, at: int) -> Iterator[Event]:
        """Against the standing quote: at its price for who takes, at the order's own limit for who has rested."""
        price, size = (quote.ask, quote.ask_size) if order.side is Side.BUY else (quote.bid, quote.bid_size)
        if not size:
            return
        if not order.takes(price):
            if order.type is OrderType.MARKET:
                yield self._end(order, "price_protection", at)
            return
        is_taker = order.type is OrderType.MARKET or not self._has_rested(order)
        left = self._share_of(size)
        quantity = order.remaining if left is None else min(order.remaining, left - self._taken[order.side])
        if quantity:
            self._taken[order.side] += quantity
            maker_price = order.limit_price if order.limit_price is not None else price
            yield self._fill(order, quantity, price if is_taker else maker_price, at, is_taker=is_taker)

    def _has_rested(self, order: Order) -> bool:
        return order.met_quote or order.accepted_at < self._rested_before

    def _end_immediate(self, price: Bar | Quote) -> list[Event]:
        """An immediate order does not outlive the first price it could have filled at."""
        return [
            self._end(order, "immediate_or_cancel", price.market_at)
            for order in self._resting.immediate()
            if order.accepted_at < price.eligible_before
        ]

    def _share_of(self, volume: int) -> int | None:
        share = self._volume_share
        return None if share is None else volume * share.numerator // share.denominator

    def _fill(self, order: Order, quantity: int, price: int, at: int, *, is_taker: bool) -> Filled:
        assert 0 < quantity <= order.remaining, f"a fill is of what is open, was {quantity} of {order.remaining}"
        assert order.takes(price), f"a fill is never beyond the worst price, was {price} for {order}"
        order.filled_quantity += quantity
        order.filled_notional += quantity * price
        charge = self._fees.fee(order.filled_notional) - order.fee
        order.fee += charge
        self._trades += 1
        if not order.remaining:
            self._resting.remove(order)
        return Filled(
            order_ref=order.order_ref,
            account_id=order.account_id,
            market_at=at,
            trade_number=self._trades,
            last_quantity=quantity,
            last_price=price,
            cumulative_quantity=order.filled_quantity,
            fee=charge,
            liquidity=Liquidity.TAKER if is_taker else Liquidity.MAKER,
        )

    def _end(self, order: Order, reason: str, at: int) -> Canceled:
        self._resting.remove(order)
        return Canceled(order.order_ref, order.account_id, at, reason)


_MARKET, _MARKETABLE, _FIRST_LEG, _SECOND_LEG = range(4)


def _place_on_path(order: Order, bar: Bar) -> tuple[int, int, int]:
    """When on the bar's path an order's turn comes: (stretch of the path, distance, arrival).

    Market orders at the open; limits the open reaches, the furthest beyond it first; then the leg to the nearer
    extreme and the leg to the other one, each limit as the price comes to it. What the last leg, to the close,
    passes has been reached before.
    """
    if order.limit_price is None:
        return _MARKET, 0, order.arrival
    is_buy = order.side is Side.BUY
    distance = bar.open - order.limit_price if is_buy else order.limit_price - bar.open
    if distance <= 0:
        return _MARKETABLE, distance, order.arrival
    return _FIRST_LEG if is_buy is bar.is_low_first else _SECOND_LEG, distance, order.arrival
