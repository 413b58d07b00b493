"""Orders as the exchange of a hostile venue has them, and as it tells of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from fleet_contracts import venue
from fleet_contracts.vocabulary import VenueOrderStand


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
        cumulative_quantity=order.cumulative,
        cumulative_notional=order.notional,
        fees=order.fees,
        stand=order.stand,
    )
