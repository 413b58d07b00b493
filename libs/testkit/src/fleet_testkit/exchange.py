"""The exchange of a hostile venue: its orders, its fills, and what it answers, when it answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from fleet_contracts import venue
from fleet_contracts.vocabulary import Liquidity, OrderType, Side, VenueOrderStand

PRICE = Decimal(100)
FEE_RATE = Decimal("0.001")
_NONE = "t0"
"""Stands for a fill as long as there is none."""

_Reports = list[venue.AnyVenueReport]


class Unavailable(Exception):
    """503: who asked has no answer, and must not take that for one."""


@dataclass
class ExchangeOrder:
    """An order as the exchange has it."""

    place: venue.PlaceVenueOrder | venue.VenueOpenOrder
    quantity: Decimal
    limit_price: Decimal | None
    stand: VenueOrderStand = VenueOrderStand.WORKING
    code: str | None = None
    fills: list[venue.VenueOrderFilled] = field(default_factory=list)

    @property
    def cumulative(self) -> Decimal:
        return sum((fill.last_quantity for fill in self.fills), Decimal(0))

    @property
    def is_working(self) -> bool:
        return self.stand is VenueOrderStand.WORKING

    @property
    def notional(self) -> Decimal:
        return sum((fill.last_quantity * fill.last_price for fill in self.fills), Decimal(0))

    @property
    def fees(self) -> Decimal:
        return sum((fill.fee for fill in self.fills), Decimal(0))


def ref_of(order: ExchangeOrder) -> UUID:
    return order.place.venue_order_ref


def report_of(placed: Any) -> dict[str, Any]:
    """What every report of an order names."""
    return {
        "venue_order_ref": placed.venue_order_ref,
        "account_id": placed.account_id,
        "market_at": datetime.now(UTC),
    }


def shown(order: ExchangeOrder) -> venue.VenueOpenOrder:
    place = order.place
    return venue.VenueOpenOrder(
        venue_order_ref=place.venue_order_ref,
        account_id=place.account_id,
        user_id=place.user_id,
        side=place.side,
        order_type=place.order_type,
        time_in_force=place.time_in_force,
        quantity=order.quantity,
        limit_price=order.limit_price,
        stop_price=order.place.stop_price,
        cumulative_quantity=order.cumulative,
        cumulative_notional=order.notional,
        fees=order.fees,
        stand=order.stand,
    )


class Exchange:
    """All in memory, one symbol. It does what it is asked, unless it is told to fail at that."""

    lot = Decimal(1)
    tick = Decimal("0.01")

    def __init__(self, name: str, order_types: Sequence[OrderType]) -> None:
        self.name, self.order_types = name, order_types
        self.orders: dict[UUID, ExchangeOrder] = {}
        self.fills: list[venue.VenueOrderFilled] = []
        self.refusing: set[UUID] = set()
        """The next cancel of these is refused."""
        self.behave()

    def behave(self) -> None:
        self.failing_commands = self.failing_questions = 0
        """So many of the next are answered with an error, and not carried out."""
        self.is_forgetful = False
        """It cannot name its fills any more, only tell what they come to."""

    def _answer(self, command: Any) -> None:
        if isinstance(command, venue.QueryVenueOrders | venue.QueryVenueOpenOrders):
            if self.failing_questions:
                self.failing_questions -= 1
                raise Unavailable(command)
        elif self.failing_commands:
            self.failing_commands -= 1
            raise Unavailable(command)

    def carry_out(self, command: Any) -> _Reports:
        """All that is told of it."""
        self._answer(command)
        match command:
            case venue.PlaceVenueOrder():
                return self._place(command)
            case venue.CancelVenueOrder():
                return self._cancel(command)
            case venue.ReplaceVenueOrder():
                return self._replace(command)
            case venue.QueryVenueOrders():
                return [self._state(ref, command.account_id) for ref in command.venue_order_refs]
        raise AssertionError(f"no command of the venue contract, was {command!r}")

    def _place(self, command: venue.PlaceVenueOrder) -> _Reports:
        ref = command.venue_order_ref
        if ref in self.orders:
            return [self._state(ref, command.account_id)]
        self.orders[ref] = order = ExchangeOrder(command, command.quantity, command.limit_price)
        if command.order_type not in (OrderType.MARKET, OrderType.LIMIT, *self.order_types):
            order.stand, order.code = VenueOrderStand.REJECTED, "unsupported"
            return [venue.VenueOrderRejected(**report_of(command), code="unsupported", detail="It has not been named.")]
        if command.quantity % self.lot or (command.limit_price or self.tick) % self.tick:
            order.stand, order.code = VenueOrderStand.REJECTED, "invalid_order"
            return [venue.VenueOrderRejected(**report_of(command), code="invalid_order", detail="It is off the grid.")]
        reports: _Reports = [venue.VenueOrderAccepted(**report_of(command))]
        if command.order_type is OrderType.MARKET:
            half = command.quantity // 2 // self.lot * self.lot
            reports += self.fill(order, half) + self.fill(order, command.quantity - half)
        return reports

    def _cancel(self, command: venue.CancelVenueOrder) -> _Reports:
        order, answer = self._open(command), {**report_of(command), "request": command.request}
        if order is None:
            return [venue.VenueCancelRejected(**answer, code="unknown_order", detail="Not open here.")]
        if command.venue_order_ref in self.refusing:
            self.refusing.remove(command.venue_order_ref)
            return [venue.VenueCancelRejected(**answer, code="busy", detail="Not now.")]
        order.stand, order.code = VenueOrderStand.CANCELED, "requested"
        canceled = venue.VenueOrderCanceled(
            **report_of(command), code="requested", detail="As asked.", cumulative_quantity=order.cumulative
        )
        return [canceled]

    def _replace(self, command: venue.ReplaceVenueOrder) -> _Reports:
        order, answer = self._open(command), {**report_of(command), "request": command.request}
        if order is None:
            return [venue.VenueReplaceRejected(**answer, code="unknown_order", detail="Not open here.")]
        if (command.limit_price or self.tick) % self.tick:
            return [venue.VenueReplaceRejected(**answer, code="invalid_price", detail="It is off the grid.")]
        order.quantity = command.quantity or order.quantity
        order.limit_price = command.limit_price or order.limit_price
        replaced = venue.VenueOrderReplaced(
            **answer,
            quantity=order.quantity,
            limit_price=order.limit_price,
            stop_price=order.place.stop_price,
            cumulative_quantity=order.cumulative,
        )
        return [replaced]

    def _open(self, command: venue.CancelVenueOrder | venue.ReplaceVenueOrder) -> ExchangeOrder | None:
        order = self.orders.get(command.venue_order_ref)
        is_own = order is not None and order.place.account_id == command.account_id
        return order if is_own and order is not None and order.is_working else None

    def fill(self, order: ExchangeOrder, quantity: Decimal) -> _Reports:
        """Each at another price, never worse for the order than its own, so that averages mean something."""
        better = self.tick * (len(self.fills) % 5)
        price = order.limit_price or order.place.stop_price or PRICE
        price = price - better if order.place.side is Side.BUY else price + better
        fill = venue.VenueOrderFilled(
            **report_of(order.place),
            venue_trade_id=f"t{len(self.fills) + 1}",
            last_quantity=quantity,
            last_price=price,
            cumulative_quantity=order.cumulative + quantity,
            fee=quantity * price * FEE_RATE,
            fee_currency="USD",
            liquidity=Liquidity.MAKER,
            executed_at=datetime.now(UTC),
        )
        order.fills.append(fill)
        self.fills.append(fill)
        if order.is_working and order.cumulative >= order.quantity:
            order.stand = VenueOrderStand.FILLED
        return [fill]

    def _state(self, ref: UUID, account_id: UUID) -> venue.VenueOrderState:
        order, at = self.orders.get(ref), datetime.now(UTC)
        if order is None or order.place.account_id != account_id:
            return venue.VenueOrderState(
                venue_order_ref=ref,
                account_id=account_id,
                market_at=at,
                stand=VenueOrderStand.UNKNOWN,
                cumulative_quantity=Decimal(0),
                fills=(),
            )
        return venue.VenueOrderState(
            **report_of(order.place),
            stand=order.stand,
            cumulative_quantity=order.cumulative,
            fills=() if self.is_forgetful else tuple(order.fills),
            code=order.code,
            cumulative_notional=order.notional,
            fees=order.fees,
            fee_currency="USD",
        )

    def listed(self, query: venue.QueryVenueOpenOrders) -> venue.VenueOpenOrders:
        """A page of what is open, of the fills since one, and of what accounts hold."""
        self._answer(query)
        ids = [] if self.is_forgetful else [_NONE, *(fill.venue_trade_id for fill in self.fills)]
        asked = query.since_trade_id
        fills = self.fills[max(ids.index(asked) - 1, 0) :] if asked in ids else []
        has_more_fills, fills = len(fills) > query.most, fills[: query.most]
        filled = {fill.venue_order_ref for fill in fills}
        listed = [
            order for ref, order in self.orders.items() if order.is_working or (ref in filled and query.after is None)
        ]
        page = sorted((order for order in listed if query.after is None or ref_of(order) > query.after), key=ref_of)
        after = query.positions_after
        held = [position for position in self._positions() if after is None or position[0] > after]
        return venue.VenueOpenOrders(
            venue=self.name,
            symbol=query.symbol,
            query_id=query.query_id,
            market_at=datetime.now(UTC),
            orders=tuple(shown(order) for order in page[: query.most]),
            has_more_orders=len(page) > query.most,
            fills=tuple(fills),
            has_more_fills=has_more_fills,
            last_trade_id=fills[-1].venue_trade_id if fills else ids[-1] if ids else None,
            positions=tuple(
                venue.VenuePosition(account_id=account_id, quantity=quantity)
                for account_id, quantity in held[: query.most]
            ),
            has_more_positions=len(held) > query.most,
        )

    def _positions(self) -> list[tuple[UUID, Decimal]]:
        """What each account holds by all its fills, by rising account."""
        held: dict[UUID, Decimal] = {}
        for order in self.orders.values():
            filled = order.cumulative if order.place.side is Side.BUY else -order.cumulative
            held[order.place.account_id] = held.get(order.place.account_id, Decimal(0)) + filled
        return sorted((account_id, quantity) for account_id, quantity in held.items() if quantity)
