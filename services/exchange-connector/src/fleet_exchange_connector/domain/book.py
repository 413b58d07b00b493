"""One symbol's book: the simulated exchange core of libs/simulator with the venue's words, Decimals and times."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import fleet_simulator as core

from fleet_exchange_connector.domain.bars import Bar
from fleet_exchange_connector.domain.instruments import FEE_RATE, Instrument
from fleet_exchange_connector.domain.orders import (
    CancelOrder,
    Fill,
    OpenOrder,
    PlaceOrder,
    Report,
    ReportKind,
    Stand,
    Status,
    rejected,
)
from fleet_exchange_connector.domain.times import from_ns, next_midnight, to_ns

_CODES = {"immediate_or_cancel": "ioc"}
_DETAILS = {
    "requested": "Canceled on request.",
    "price_protection": "The market stands beyond the order's protection price.",
    "ioc": "What did not fill at once was canceled.",
    "unknown_order": "There is no such open order here.",
    "invalid_quantity": "The quantity is not a positive multiple of the lot size.",
    "invalid_price": "A price is missing, not positive, or not a multiple of the tick size.",
}
_EMPTY = {"bid": 0, "bid_size": 0, "ask": 0, "ask_size": 0}


@dataclass(slots=True)
class _Progress:
    """Of an open order, in lots: `filled` of `quantity`, in so many fills."""

    quantity: int
    filled: int = 0
    fills: int = 0


class Book:
    """The orders of one symbol that have not ended, and the market that fills them.

    `version` is that of its row; `round` the last round of quotes shown by hand while the feed was paused."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.version = 0
        self.round = 0
        self._scale = instrument.scale
        fees = core.FeeSchedule.of(FEE_RATE, tick=instrument.tick, lot=instrument.lot)
        self._market = core.Market(instrument.symbol, fees)
        self._progress: dict[str, _Progress] = {}  # of each open order

    @property
    def market_at(self) -> datetime:
        """The time of the last price shown."""
        return from_ns(self._market.market_at)

    @property
    def open_orders(self) -> int:
        return len(self._market.orders)

    def place(self, command: PlaceOrder, market_at: datetime, *, now: datetime) -> list[Report]:
        """Takes an order; `now` is the wall time that fills are told to have been executed at."""
        try:
            place = self._place(command)
        except core.OffGrid as off:
            code = "invalid_quantity" if off.what == "quantity" else "invalid_price"
            return [rejected(command, code, _DETAILS[code], market_at)]
        self._progress[place.order_ref] = _Progress(place.quantity)
        return self._reports(self._market.apply(place, to_ns(market_at)), now)

    def cancel(self, command: CancelOrder, market_at: datetime, *, now: datetime) -> list[Report]:
        cancel = core.Cancel(str(command.venue_order_ref), str(command.account_id), command.command_sequence)
        return self._reports(self._market.apply(cancel, to_ns(market_at)), now)

    def show(
        self, bid: int, bid_size: int, ask: int, ask_size: int, market_at: datetime, *, now: datetime
    ) -> list[Report]:
        """A quote in ticks and lots; it stands until the next one."""
        quote = core.Quote(to_ns(market_at), bid, bid_size, ask, ask_size)
        return self._reports(self._market.on_quote(quote), now)

    def show_nothing(self, market_at: datetime, *, now: datetime) -> list[Report]:
        """No price stands from now on: what comes waits for the next one."""
        return self._reports(self._market.on_quote(core.Quote(to_ns(market_at), **_EMPTY)), now)

    def show_bar(self, bar: Bar, *, now: datetime) -> list[Report]:
        """Fills along the bar's path, then ends its session. What happens at the open is told with the open's time."""
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
        found: list[core.Event] = [_at_open(event, shown) for event in self._market.on_bar(shown)]
        return self._reports(found + self._market.end_session(shown.market_at), now)

    def end_session(self, market_at: datetime, *, now: datetime) -> list[Report]:
        return self._reports(self._market.end_session(to_ns(market_at)), now)

    def session_ends_after(self, at: datetime) -> datetime | None:
        """When the next session round the clock ends, if there is a day order that it would end."""
        days = (o for o in self._market.orders.values() if o.time_in_force is core.TimeInForce.DAY)
        return next_midnight(at) if any(days) else None

    def reach(self) -> tuple[int | None, int | None]:
        """The ask that some buy waits for (or below) and the bid that some sell waits for (or above), in ticks.

        A market order waits for any price."""
        buys = [_limit(order, 1 << 62) for order in self._market.orders.values() if order.side is core.Side.BUY]
        sells = [_limit(order, 0) for order in self._market.orders.values() if order.side is core.Side.SELL]
        return max(buys, default=None), min(sells, default=None)

    def listed(self) -> list[OpenOrder]:
        """The open orders by rising reference."""
        scale = self._scale
        found = [
            OpenOrder(
                venue_order_ref=UUID(order.order_ref),
                account_id=UUID(order.account_id),
                side=order.side,
                order_type=order.type,
                time_in_force=order.time_in_force,
                quantity=scale.quantity(order.quantity),
                limit_price=None if order.limit_price is None else scale.price(order.limit_price),
                cumulative_quantity=scale.quantity(order.filled_quantity),
                cumulative_notional=order.filled_notional * self.instrument.tick * self.instrument.lot,
                fees=scale.fee(order.fee),
            )
            for order in self._market.orders.values()
        ]
        return sorted(found, key=lambda order: order.venue_order_ref)

    def state(self) -> dict[str, Any]:
        """All but the orders, for the book's row."""
        return {"market": self._market.state(), "round": self.round}

    def order_state(self, venue_order_ref: UUID) -> dict[str, Any] | None:
        """The order for its row while it is open, and None when it has ended."""
        ref = str(venue_order_ref)
        order = self._market.orders.get(ref)
        return None if order is None else {"order": order.to_data(), "fills": self._progress[ref].fills}

    def restore(self, version: int, state: Mapping[str, Any], orders: Iterable[Mapping[str, Any]]) -> None:
        """Takes over what the rows say; an empty `state` is a book that has seen nothing."""
        self.version = version
        if not state:
            return
        found = list(orders)
        self.round = state["round"]
        self._market.restore({"market": state["market"], "orders": [one["order"] for one in found]})
        self._progress = {
            one["order"]["order_ref"]: _Progress(
                one["order"]["quantity"], one["order"]["filled_quantity"], one["fills"]
            )
            for one in found
        }

    def _place(self, command: PlaceOrder) -> core.Place:
        def ticks(price: Decimal | None) -> int | None:
            return None if price is None else self._scale.ticks(price)

        return core.Place(
            order_ref=str(command.venue_order_ref),
            account_id=str(command.account_id),
            command_sequence=command.command_sequence,
            side=command.side,
            type=command.order_type,
            quantity=self._scale.lots(command.quantity),
            time_in_force=command.time_in_force,
            limit_price=ticks(command.limit_price),
            protection_price=ticks(command.protection_price),
        )

    def _reports(self, events: Iterable[core.Event], now: datetime) -> list[Report]:
        return list(self._tell(events, now))

    def _tell(self, events: Iterable[core.Event], now: datetime) -> Iterator[Report]:
        for event in events:
            ref, account_id, at = UUID(event.order_ref), UUID(event.account_id), from_ns(event.market_at)
            match event:
                case core.Accepted():
                    yield _report(ReportKind.ACCEPTED, ref, account_id, at, Status(stand=Stand.WORKING))
                case core.Rejected():
                    status = _ended(Stand.REJECTED, self._end(event.order_ref), event.reason)
                    yield _report(ReportKind.REJECTED, ref, account_id, at, status)
                case core.Filled():
                    yield self._filled(event, now)
                case core.Canceled():
                    status = _ended(Stand.CANCELED, self._end(event.order_ref), event.reason)
                    yield _report(ReportKind.CANCELED, ref, account_id, at, status)
                case core.CancelRejected():
                    status = _ended(Stand.UNKNOWN, Decimal(0), event.reason)
                    yield _report(ReportKind.CANCEL_REJECTED, ref, account_id, at, status)
                case core.Expired():
                    status = Status(stand=Stand.EXPIRED, cumulative_quantity=self._end(event.order_ref))
                    yield _report(ReportKind.EXPIRED, ref, account_id, at, status)

    def _filled(self, event: core.Filled, now: datetime) -> Report:
        ref, scale = event.order_ref, self._scale
        progress = self._progress[ref]
        progress.filled = event.cumulative_quantity
        progress.fills += 1
        is_open = progress.filled < progress.quantity
        if not is_open:
            del self._progress[ref]
        cumulative = scale.quantity(event.cumulative_quantity)
        fill = Fill(
            venue_order_ref=UUID(ref),
            account_id=UUID(event.account_id),
            number=progress.fills,
            quantity=scale.quantity(event.last_quantity),
            price=scale.price(event.last_price),
            cumulative_quantity=cumulative,
            fee=scale.fee(event.fee),
            fee_currency=self.instrument.quote,
            liquidity=event.liquidity,
            executed_at=now,
            market_at=from_ns(event.market_at),
        )
        status = Status(stand=Stand.WORKING if is_open else Stand.FILLED, cumulative_quantity=cumulative)
        report = _report(ReportKind.FILLED, fill.venue_order_ref, fill.account_id, fill.market_at, status)
        return replace(report, fill=fill)

    def _end(self, ref: str) -> Decimal:
        return self._scale.quantity(self._progress.pop(ref).filled)


def _report(kind: ReportKind, ref: UUID, account_id: UUID, at: datetime, status: Status) -> Report:
    return Report(kind=kind, venue_order_ref=ref, account_id=account_id, market_at=at, status=status)


def _ended(stand: Stand, cumulative_quantity: Decimal, reason: str) -> Status:
    code = _CODES.get(reason, reason)
    return Status(stand=stand, cumulative_quantity=cumulative_quantity, code=code, detail=_DETAILS.get(code, code))


def _at_open(event: core.Event, bar: core.Bar) -> core.Event:
    """What the core tells with the bar's close happened at its open, but for fills at another price than the open's.

    A limit that the path only came to fills at its own price, which the open had not reached."""
    if isinstance(event, core.Canceled) or (isinstance(event, core.Filled) and event.last_price == bar.open):
        return replace(event, market_at=bar.open_at)
    return event


def _limit(order: core.Order, any_price: int) -> int:
    return any_price if order.limit_price is None else order.limit_price
