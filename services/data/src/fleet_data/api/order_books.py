"""The order books of the venues that show theirs."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from fleet_chassis.database import Database
from fleet_chassis.permissions import ReadCaller
from fleet_chassis.problems import Problem
from fleet_chassis.shapes import Level, Resource

from fleet_data.store import order_books

from .markets import market_of

Venue = Annotated[str, Query(max_length=100, description="A venue that shows its book.")]
Depth = Annotated[int, Query(ge=1, le=100)]


class OrderBookShown(Resource):
    """Levels of [price, quantity], the best first. `sequence` is that of the venue's last change in it."""

    symbol: str
    venue: str
    bids: list[Level]
    asks: list[Level]
    sequence: int
    market_at: datetime
    as_of: datetime


def order_books_router(database: Database, *, now: Callable[[], datetime]) -> APIRouter:
    routes = APIRouter(prefix="/api/v1/markets", tags=["markets"])

    @routes.get("/{symbol}/order-book")
    async def order_book(
        symbol: str, _caller: ReadCaller, venue: Venue = "internal", depth: Depth = 50
    ) -> OrderBookShown:
        """The best levels. 503 `book_not_ready` while a change is missing: the venue's next snapshot brings it back."""
        async with database.connection() as connection:
            market = await market_of(connection, symbol)
            found = await order_books.shown(connection, market.symbol, venue)
        if found is None:
            raise Problem(404, "not_found", f"{market.symbol} is not traded at {venue}.")
        if not found["is_whole"]:
            detail = "The venue has not shown the whole book yet. Try again."
            raise Problem(503, "book_not_ready", detail, headers={"Retry-After": "1"})
        return OrderBookShown(
            symbol=market.symbol,
            venue=venue,
            bids=found["bids"][:depth],
            asks=found["asks"][:depth],
            sequence=found["sequence"],
            market_at=found["market_at"],
            as_of=now(),
        )

    return routes
