"""One symbol's book: the simulated exchange core of libs/simulator with the venue's words, Decimals and times."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import fleet_simulator as core

from fleet_exchange_connector.domain.bars import Bar
from fleet_exchange_connector.domain.instruments import Instrument
from fleet_exchange_connector.domain.market import Quote
from fleet_exchange_connector.domain.orders import (
    CancelOrder,
    OpenOrder,
    PlaceOrder,
    ReplaceOrder,
    Report,
    Stand,
    Status,
    answered,
    refused,
)
from fleet_exchange_connector.domain.reach import Reach
from fleet_exchange_connector.domain.reporting import Reporter
from fleet_exchange_connector.domain.times import INSTANT, from_ns, next_midnight, to_ns

_EMPTY = {"bid": 0, "bid_size": 0, "ask": 0, "ask_size": 0}
_FILLED_GROUPS = 32
"""Groups remembered whose one order filled before the other came, which follows at once if at all."""


class Book:
    """The orders of one symbol that have not ended, and the market that fills them.

    `version` is that of its row; `round` the last round of quotes shown by hand while the feed was paused."""

    def __init__(self, instrument: Instrument, models: core.Models) -> None:
        self.instrument = instrument
        self.version = 0
        self.round = 0
        self._scale = instrument.scale
        self._fees = models.fees.of(instrument.tick, instrument.lot)
        self._market = models.market(instrument.symbol, tick=instrument.tick, lot=instrument.lot)
        self._reporter = Reporter(instrument)
        self._filled_at: datetime | None = None
        self._groups: dict[str, str] = {}  # of each open order that has one
        self._filled_groups: deque[str] = deque(maxlen=_FILLED_GROUPS)

    @property
    def market_at(self) -> datetime:
        """The time of the last price shown."""
        return from_ns(self._market.market_at)

    @property
    def open_orders(self) -> int:
        return len(self._market.orders)

    # Commands; `now` is the wall time that fills are told to have been executed at, or an instant after the last fills:
    # who waited for the book had read it before, and fills are asked for since one of them

    def place(self, command: PlaceOrder, market_at: datetime, *, now: datetime) -> list[Report]:
        try:
            place = self._place(command)
        except core.OffGrid as off:
            return self.refuse(command, _code_of(off), market_at, now=now)
        if place.oco_group is not None:
            if place.oco_group in self._filled_groups:
                return self.refuse(command, "oco", market_at, now=now)
            self._groups[place.order_ref] = place.oco_group
        return self._reports(self._market.apply(place, to_ns(market_at)), now)

    def refuse(self, command: PlaceOrder, code: str, market_at: datetime, *, now: datetime) -> list[Report]:
        """The order is not taken; those that wait for it end with it."""
        events = self._market.reject(str(command.venue_order_ref), to_ns(market_at))
        return [refused(command, code, market_at), *self._reports(events, now)]

    def replace(self, command: ReplaceOrder, market_at: datetime, *, now: datetime) -> list[Report]:
        try:
            change = core.Replace(
                order_ref=str(command.venue_order_ref),
                account_id=str(command.account_id),
                command_sequence=command.command_sequence,
                quantity=self._lots(command.quantity),
                limit_price=self._ticks(command.limit_price),
                stop_price=self._ticks(command.stop_price),
            )
        except core.OffGrid as off:
            return [refused(command, _code_of(off), market_at)]
        return answered(command, self._reports(self._market.apply(change, to_ns(market_at)), now))

    def cancel(self, command: CancelOrder, market_at: datetime, *, now: datetime) -> list[Report]:
        cancel = core.Cancel(str(command.venue_order_ref), str(command.account_id), command.command_sequence)
        return answered(command, self._reports(self._market.apply(cancel, to_ns(market_at)), now))

    def take_out(
        self, code_of: Callable[[UUID, datetime], str | None], most: int, market_at: datetime, *, now: datetime
    ) -> list[Report]:
        """Cancels on the venue's own account so many of the orders for whose account and acceptance there is a code."""
        reports: list[Report] = []
        for order in list(self._market.orders.values()):
            code = code_of(UUID(order.account_id), from_ns(order.accepted_at))
            # The end of one order may be that of another.
            if code is None or order.order_ref not in self._market.orders:
                continue
            cancel = core.Cancel(order.order_ref, order.account_id, 0, code)
            reports += self._reports(self._market.apply(cancel, to_ns(market_at)), now)
            most -= 1
            if not most:
                break
        return reports

    def increases(self, venue_order_ref: UUID) -> bool:
        """Whether the order, if it is open, makes a position larger."""
        order = self._market.orders.get(str(venue_order_ref))
        return order is not None and order.side is core.Side.BUY and not order.reduce_only

    # Prices

    def show(self, quote: Quote, market_at: datetime, *, now: datetime) -> list[Report]:
        """It stands until the next one. What was taken of it stays taken when it is shown again: `quoted_at` tells."""
        sides = quote.bid, quote.bid_size, quote.ask, quote.ask_size
        shown = core.Quote(to_ns(market_at), *sides, since=to_ns(quote.quoted_at))
        return self._reports(self._market.on_quote(shown), now)

    def show_nothing(self, market_at: datetime, *, now: datetime) -> list[Report]:
        """No price stands from now on: what comes waits for the next one."""
        return self._reports(self._market.on_quote(core.Quote(to_ns(market_at), **_EMPTY)), now)

    def show_bar(self, bar: Bar, *, now: datetime) -> list[Report]:
        """Fills along the bar's path, then ends its session. What the open does is told with the open's time, the end
        of what sees no other price as well; what happens on the way and at the close with the close's."""
        scale = self._scale
        shown = core.Bar(
            open_at=to_ns(bar.open_at),
            market_at=to_ns(bar.close_at),
            open=scale.ticks(bar.open),
            high=scale.ticks(bar.high),
            low=scale.ticks(bar.low),
            close=scale.ticks(bar.close),
            volume=scale.lots_within(bar.volume),
        )
        opened, on_way, first_only = self._market.on_bar_by_parts(shown)
        events = [*_dated(opened, shown), *on_way, *_dated(first_only, shown)]
        return self._reports(events + self._market.end_session(shown.market_at), now)

    def end_session(self, market_at: datetime, *, now: datetime) -> list[Report]:
        return self._reports(self._market.end_session(to_ns(market_at)), now)

    def correct_position(
        self, account_id: UUID, quantity: Decimal, market_at: datetime, *, now: datetime
    ) -> list[Report]:
        """Adds this signed quantity; orders that only reduce follow."""
        lots = self._scale.lots(quantity.copy_abs())
        signed = lots if quantity > 0 else -lots
        return self._reports(self._market.correct_position(str(account_id), signed, to_ns(market_at)), now)

    # What it waits for

    def next_end(self) -> datetime | None:
        """When time alone ends something next: a session round the clock, if an order waits for that, or an order."""
        expires_at = self._market.next_expiry
        ends = [] if expires_at is None else [from_ns(expires_at)]
        if self._market.has_session_orders:
            ends.append(next_midnight(self.market_at))
        return min(ends, default=None)

    def reach(self) -> Reach:
        """The quotes that would do something to its orders."""
        return Reach(self._market.nearest())

    # What it is

    def listed(self, after: UUID | None = None) -> Iterator[OpenOrder]:
        """The open orders by rising reference, above `after`."""
        scale = self._scale

        def price(ticks: int | None) -> Decimal | None:
            return None if ticks is None else scale.price(ticks)

        # References are UUIDs in lower case: their texts have their order.
        for ref in sorted(ref for ref in self._market.orders if after is None or ref > str(after)):
            order = self._market.orders[ref]
            yield OpenOrder(
                venue_order_ref=UUID(order.order_ref),
                account_id=UUID(order.account_id),
                accepted_at=from_ns(order.accepted_at),
                side=order.side,
                order_type=order.type,
                time_in_force=order.time_in_force,
                quantity=scale.quantity(order.quantity),
                limit_price=price(order.limit_price),
                stop_price=price(order.stop_price),
                is_triggered=order.elected,
                cumulative_quantity=scale.quantity(order.filled_quantity),
                cumulative_notional=order.filled_notional * self.instrument.tick * self.instrument.lot,
                fees=scale.fee(order.fee),
            )

    def fee(self, quantity: Decimal, price: Decimal, liquidity: core.Liquidity) -> Decimal:
        """Of an order that has executed this and no more."""
        lots = self._scale.lots(quantity)
        notional = lots * self._scale.ticks(price)
        is_maker = liquidity is core.Liquidity.MAKER
        executed = core.Executed(lots, notional, 0, 0) if is_maker else core.Executed(0, 0, lots, notional)
        return self._scale.fee(self._fees.total(executed))

    def position(self, account_id: UUID) -> Decimal:
        """What the account holds by its fills here, negative if it is short."""
        return self._scale.quantity(self._market.position(str(account_id)))

    def positions(self, after: UUID | None, most: int) -> list[tuple[UUID, Decimal]]:
        """(account, what it holds) of the first `most` that hold anything, by rising account, above `after`."""
        held = self._market.positions_above(None if after is None else str(after), most)
        return [(UUID(account_id), self._scale.quantity(lots)) for account_id, lots in held]

    def state(self) -> dict[str, Any]:
        """All but the orders and positions, for the book's row."""
        return {
            "market": self._market.state(),
            "round": self.round,
            "filled_groups": list(self._filled_groups),
            "filled_at": None if self._filled_at is None else to_ns(self._filled_at),
        }

    def state_hash(self) -> str:
        return self._market.state_hash()

    def order_state(self, venue_order_ref: UUID) -> dict[str, Any] | None:
        """The order for its row while it is open, and None when it has ended."""
        ref = str(venue_order_ref)
        order = self._market.orders.get(ref)
        return None if order is None else {"order": order.to_data(), "fills": self._reporter.fills(ref)}

    def take_changed(self) -> list[tuple[UUID, Status]]:
        """The open orders that have changed since the last time without a report, and where they stand."""
        changed = sorted(self._market.take_changed())
        orders = (self._market.orders[ref] for ref in changed)
        return [
            (
                UUID(order.order_ref),
                Status(stand=Stand.WORKING, cumulative_quantity=self._scale.quantity(order.filled_quantity)),
            )
            for order in orders
        ]

    def restore(
        self,
        version: int,
        state: Mapping[str, Any],
        orders: Iterable[Mapping[str, Any]],
        positions: Mapping[UUID, Decimal],
    ) -> None:
        """Takes over what the rows say; an empty `state` is a book that has seen nothing."""
        self.version = version
        if not state:
            return
        found = list(orders)
        self.round = state["round"]
        self._filled_groups.extend(state.get("filled_groups", ()))
        filled_at = state.get("filled_at")
        self._filled_at = None if filled_at is None else from_ns(filled_at)
        placed = [one["order"] for one in found]
        self._groups = {order["order_ref"]: order["oco_group"] for order in placed if "oco_group" in order}
        held = {str(account_id): self._scale.lots(quantity) for account_id, quantity in positions.items()}
        self._market.restore({"market": state["market"], "orders": placed, "positions": held})
        self._reporter.restore(
            (one["order"]["order_ref"], one["order"]["filled_quantity"], one["fills"]) for one in found
        )

    def _place(self, command: PlaceOrder) -> core.Place:
        return core.Place(
            order_ref=str(command.venue_order_ref),
            account_id=str(command.account_id),
            command_sequence=command.command_sequence,
            side=command.side,
            type=command.order_type,
            quantity=self._scale.lots(command.quantity),
            time_in_force=command.time_in_force,
            limit_price=self._ticks(command.limit_price),
            protection_price=self._ticks(command.protection_price),
            stop_price=self._ticks(command.stop_price),
            trail_amount=self._ticks(command.trail_amount),
            trail_ppm=None if command.trail_percent is None else core.trail_ppm(command.trail_percent),
            display_quantity=self._lots(command.display_quantity),
            minimum_quantity=self._lots(command.minimum_quantity) or 0,
            expires_at=None if command.expires_at is None else to_ns(command.expires_at),
            post_only=command.post_only,
            reduce_only=command.reduce_only,
            self_trade=command.self_trade,
            oco_group=None if command.oco_group is None else str(command.oco_group),
            parent_ref=None if command.parent_ref is None else str(command.parent_ref),
        )

    def _ticks(self, price: Decimal | None) -> int | None:
        return None if price is None else self._scale.ticks(price)

    def _lots(self, quantity: Decimal | None) -> int | None:
        return None if quantity is None else self._scale.lots(quantity)

    def _reports(self, events: Sequence[core.Event], now: datetime) -> list[Report]:
        if self._groups:
            self._end_groups(events)
        if any(isinstance(event, core.Filled) for event in events):
            now = self._filled_at = now if self._filled_at is None else max(now, self._filled_at + INSTANT)
        return self._reporter.tell(events, self._market.orders, now)

    def _end_groups(self, events: Sequence[core.Event]) -> None:
        """Remembers the group of an order that filled while it was the only one of it here."""
        filled = {event.order_ref for event in events if isinstance(event, core.Filled)}
        ended = {event.order_ref for event in events if event.order_ref not in self._market.orders}
        for ref in filled & ended & self._groups.keys():
            group = self._groups[ref]
            if sum(each == group for each in self._groups.values()) == 1:
                self._filled_groups.append(group)
        for ref in ended:
            self._groups.pop(ref, None)


def _code_of(off: core.OffGrid) -> str:
    return "invalid_quantity" if off.what == "quantity" else "invalid_price"


def _dated(events: Iterable[core.Event], bar: core.Bar) -> list[core.Event]:
    """At the open: the core tells all of a bar with its close, but for what ended at a time of its own."""
    return [replace(e, market_at=bar.open_at) if e.market_at == bar.market_at else e for e in events]
