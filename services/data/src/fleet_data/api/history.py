"""Candles and prints of a market."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Self

from fastapi import APIRouter, Query
from fleet_chassis.database import Database
from fleet_chassis.pages import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor
from fleet_chassis.permissions import ReadCaller
from fleet_chassis.shapes import DecimalString, Instant, Resource
from fleet_contracts.vocabulary import Timeframe
from pydantic import BaseModel, ConfigDict, Field, model_validator

from fleet_data.domain.candles import CandleState, interval_start, with_running, with_state
from fleet_data.store import reads

from .markets import market_of


class CandleShown(Resource):
    open_at: datetime
    close_at: datetime
    open: DecimalString
    high: DecimalString
    low: DecimalString
    close: DecimalString
    volume: DecimalString
    trades: int | None
    state: CandleState


class PublicTradeShown(Resource):
    """A print of the market; `side` is the aggressor's, where the venue tells it."""

    trade_id: str
    price: DecimalString
    quantity: DecimalString
    side: str | None
    market_at: datetime


class CandleQuery(BaseModel):
    """Candles that begin in [start, end)."""

    model_config = ConfigDict(extra="forbid")

    timeframe: Timeframe = Timeframe.M1
    start: Instant | None = Field(default=None, description="Candles that begin at or after it.")
    end: Instant | None = Field(default=None, description="Candles that begin before it.")
    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor = None

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> Self:
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError("start must be before end")
        return self


def history_router(database: Database, *, now: Callable[[], datetime], is_live: bool) -> APIRouter:
    """`is_live` False: a replay, whose bars are all closed."""
    routes = APIRouter(prefix="/api/v1/markets", tags=["markets"])

    @routes.get("/{symbol}/candles")
    async def candles(symbol: str, _caller: ReadCaller, query: Annotated[CandleQuery, Query()]) -> Page[CandleShown]:
        """Candles, oldest first: with `start` the first from there on, page by page; without it the last before `end`
        (now), one page."""
        start, limit, timeframe = query.start, query.limit, query.timeframe
        if query.cursor is not None:
            start = decode_cursor(query.cursor, datetime)[0] + timedelta(microseconds=1)
        as_of = now()
        # Nothing begins later; and after the last day of the calendar no interval could.
        latest = as_of + timedelta(days=1)
        end = min(query.end or latest, latest)
        start = None if start is None else min(start, end)
        async with database.connection() as connection:
            market = await market_of(connection, symbol)
            found, is_of_minutes = await reads.candles(
                connection, market.listing_id, timeframe, start=start, end=end, limit=limit + 1
            )
            current = interval_start(as_of, timeframe)
            is_within = (start or current) <= current < end and (start is None or len(found) <= limit)
            if is_live and is_of_minutes and is_within:
                running = await reads.running_candle(connection, market.listing_id, start=current, now=as_of)
                found = with_running(found, running, timeframe)
        if is_live:
            found = with_state(found, as_of)
        shown = [CandleShown.model_validate(candle) for candle in found]
        if start is not None:
            return Page[CandleShown].of(shown, limit, lambda candle: (candle.open_at,))
        return Page[CandleShown](data=shown[-limit:], next_cursor=None, has_more=False)

    @routes.get("/{symbol}/trades")
    async def trades(
        symbol: str,
        _caller: ReadCaller,
        venue: Annotated[str | None, Query(max_length=100, description="Otherwise the reference venue.")] = None,
        limit: Limit = DEFAULT_LIMIT,
        cursor: Cursor = None,
    ) -> Page[PublicTradeShown]:
        """The market's own prints of the last while, newest first; never a report of a client's fills."""
        before = None if cursor is None else decode_cursor(cursor, datetime, str)
        async with database.connection() as connection:
            market = await market_of(connection, symbol)
            found = await reads.public_trades(
                connection, market.symbol, venue or market.reference_venue, before=before, limit=limit + 1
            )
        return Page[PublicTradeShown].of(
            [
                PublicTradeShown(
                    trade_id=trade.venue_trade_id,
                    price=trade.price,
                    quantity=trade.quantity,
                    side=trade.aggressor,
                    market_at=trade.market_at,
                )
                for trade in found
            ],
            limit,
            lambda trade: (trade.market_at, trade.trade_id),
        )

    return routes
