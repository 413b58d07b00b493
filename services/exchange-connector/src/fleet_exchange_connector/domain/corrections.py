"""What an operator makes of a trade that was told: another quantity or price, or none."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal
from uuid import UUID

from fleet_simulator import OffGrid, Side
from msgspec import Struct
from msgspec.structs import replace

from fleet_exchange_connector.domain.book import Book
from fleet_exchange_connector.domain.orders import Fill, Report, ReportKind, Stand, Status

CORRECTED_WITHIN = timedelta(days=30)
"""Of the trade; execution and this venue forget an order 90 days after its end."""


class CannotCorrect(Exception):
    """Why the trade stays as it is."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail


class Trade(Struct, frozen=True, kw_only=True):
    """A fill with its order. `first_quantity`: as it was told at first, `revision`: how often it has been corrected."""

    fill: Fill
    symbol: str
    side: Side
    order: Status
    first_quantity: Decimal
    revision: int = 0


class Correction(Struct, frozen=True, kw_only=True):
    """`quantity` 0: there was no such trade; None: as it was."""

    quantity: Decimal | None
    price: Decimal | None
    reason: str
    by: UUID

    @property
    def code(self) -> Literal["trade_busted", "trade_corrected"]:
        return "trade_corrected" if self.quantity is None or self.quantity else "trade_busted"


def correct(trade: Trade, correction: Correction, book: Book, *, now: datetime) -> Trade:
    """The trade as it is from now on; the same where it is so already. Its fee is that of an order of what it comes to."""
    fill = trade.fill
    quantity = fill.quantity if correction.quantity is None else correction.quantity
    price = fill.price if correction.price is None else correction.price
    if (quantity, price) == (fill.quantity, fill.price):
        return trade
    if trade.order.stand is Stand.WORKING:
        raise CannotCorrect("order_open", "The order is open; its trades can be corrected when it has ended.")
    if now - fill.executed_at > CORRECTED_WITHIN:
        raise CannotCorrect("trade_too_old", f"The trade is older than {CORRECTED_WITHIN.days} days.")
    if quantity > trade.first_quantity:
        raise CannotCorrect("invalid_quantity", f"What was traded was {trade.first_quantity:f}, was {quantity:f}.")
    try:
        charged = book.fee(quantity, price, fill.liquidity)
    except OffGrid as off:
        raise CannotCorrect("invalid_quantity" if off.what == "quantity" else "invalid_price", f"{off}") from off
    filled = trade.order.cumulative_quantity - fill.quantity + quantity
    return replace(
        trade,
        fill=replace(fill, quantity=quantity, price=price, fee=charged),
        order=replace(trade.order, cumulative_quantity=filled),
        revision=trade.revision + 1,
    )


def told(trade: Trade, correction: Correction, market_at: datetime) -> Report:
    """What the venue says of it."""
    filled = trade.order.cumulative_quantity
    return Report(
        kind=ReportKind.TRADE_CORRECTED,
        venue_order_ref=trade.fill.venue_order_ref,
        account_id=trade.fill.account_id,
        market_at=market_at,
        status=replace(trade.order, code=correction.code, detail=correction.reason),
        fill=replace(trade.fill, cumulative_quantity=filled, market_at=market_at),
        revision=trade.revision,
    )
