"""Candles and prints of a market."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated, Self

from fastapi import APIRouter, Query
from fleet_chassis.assertions import UserCaller
from fleet_chassis.database import Database
from fleet_chassis.pages import DEFAULT_LIMIT, MAX_LIMIT, Cursor, Limit, Page, decode_cursor
from fleet_chassis.shapes import DecimalString, Resource
from fleet_contracts.vocabulary import Timeframe
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from fleet_data.domain.candles import CandleState, interval_start, next_start, with_running, with_state
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
    start: AwareDatetime | None = Field(default=None, description="Candles that begin at or after it.")
    end: AwareDatetime | None = Field(default=None, description="Candles that begin before it.")
    limit: int = Field(default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)

    @model_validator(mode="after")
    def _ends_after_its_start(self) -> Self:
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError("start must be before end")
        return self


def history_router(database: Database, *, now: Callable[[], datetime], is_live: bool) -> APIRouter:
    """`is_live` False: a replay, whose bars are all closed."""
    routes = APIRouter(prefix="/api/v1/markets", tags=["markets"])

    @routes.get("/{symbol:path}/candles")
    async def candles(symbol: str, caller: UserCaller, query: Annotated[CandleQuery, Query()]) -> Page[CandleShown]:
        """Candles, oldest first: with `start` the first from there on, without it the last before `end` (now).

        A page does not lead to the next; ask again with `start` at the last candle's `close_at`."""
        caller.require_scope("read")
        start, limit, timeframe = query.start, query.limit, query.timeframe
        as_of = now()
        async with database.connection() as connection:
            market = await market_of(connection, symbol)
            until = next_start(query.end or as_of + timedelta(days=1), timeframe)
            found, is_of_minutes = await reads.candles(
                connection,
                market.listing_id,
                timeframe,
                start=None if start is None else next_start(start, timeframe),
                end=until,
                limit=limit + 1,
            )
            current = interval_start(as_of, timeframe)
            if is_live and is_of_minutes and (start or current) <= current < until and len(found) <= limit:
                running = await reads.running_candle(connection, market.listing_id, start=current, now=as_of)
                found = with_running(found, running, timeframe)
        if is_live:
            found = with_state(found, as_of)
        kept = found[:limit] if start is not None else found[-limit:]
        return Page[CandleShown](
            data=[CandleShown.model_validate(candle) for candle in kept],
            next_cursor=None,
            has_more=len(found) > limit,
        )

    @routes.get("/{symbol:path}/trades")
    async def trades(
        symbol: str, caller: UserCaller, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Page[PublicTradeShown]:
        """The market's own prints of the last while, newest first; never a report of a client's fills."""
        caller.require_scope("read")
        before = None if cursor is None else decode_cursor(cursor, datetime, str)
        async with database.connection() as connection:
            market = await market_of(connection, symbol)
            found = await reads.public_trades(connection, market.listing_id, before=before, limit=limit + 1)
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
