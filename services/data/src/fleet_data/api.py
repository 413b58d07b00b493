"""data's routes: markets, ticker, candles, prints."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Annotated

import asyncpg
from fastapi import APIRouter, Query
from fleet_chassis.assertions import UserCaller
from fleet_chassis.database import Database
from fleet_chassis.pages import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor
from fleet_chassis.problems import FieldError, Problem
from fleet_chassis.shapes import DecimalString, Resource, Symbol
from fleet_contracts.vocabulary import Timeframe
from pydantic import AwareDatetime, TypeAdapter, ValidationError

from .domain.candles import CandleState, interval_start, next_start, with_running, with_state
from .store import reads

_SYMBOL: TypeAdapter[str] = TypeAdapter(Symbol)


class MarketShown(Resource):
    """`status`: active, or unavailable while its venue is not connected. `change_24h` is a fraction: "0.01" is 1 %."""

    symbol: str
    name: str
    asset_class: str
    base: str
    quote: str
    tick_size: DecimalString
    lot_size: DecimalString
    min_quantity: DecimalString
    min_notional: DecimalString
    maker_fee: DecimalString
    taker_fee: DecimalString
    calendar: str
    simulated: bool
    venues: list[str]
    reference_venue: str
    status: str
    last_price: DecimalString | None
    change_24h: DecimalString | None
    version: int


class Ticker(Resource):
    """The reference venue's best prices. `stale`: too old to be trusted, or there is none; sizes of a replay are 0."""

    symbol: str
    bid: DecimalString | None
    bid_size: DecimalString | None
    ask: DecimalString | None
    ask_size: DecimalString | None
    last: DecimalString | None
    volume: DecimalString
    market_at: datetime | None
    as_of: datetime
    stale: bool


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


def router(
    database: Database,
    *,
    now: Callable[[], datetime],
    is_connected: Callable[[str], bool],
    is_live: bool,
    stale_after: timedelta,
) -> APIRouter:
    """`is_live` False: a replay, whose bars are all closed and whose prices do not age."""
    routes = APIRouter(prefix="/api/v1/markets", tags=["markets"])

    async def market_of(connection: asyncpg.Connection, symbol: str) -> reads.Market:
        try:
            known = _SYMBOL.validate_python(symbol)
        except ValidationError:
            raise _unknown(symbol) from None
        found = await reads.markets(connection, symbol=known)
        if not found:
            raise _unknown(symbol)
        return found[0]

    def shown(market: reads.Market) -> MarketShown:
        return MarketShown(
            symbol=market.symbol,
            name=market.name,
            asset_class=market.asset_class,
            base=market.base,
            quote=market.quote,
            tick_size=market.tick_size,
            lot_size=market.lot_size,
            min_quantity=market.min_quantity,
            min_notional=market.min_notional,
            maker_fee=market.maker_fee,
            taker_fee=market.taker_fee,
            calendar=market.calendar,
            simulated=market.simulated,
            venues=market.venues,
            reference_venue=market.reference_venue,
            status="active" if is_connected(market.reference_venue) else "unavailable",
            last_price=market.last,
            change_24h=market.change_24h,
            version=market.version,
        )

    @routes.get("")
    async def list_markets(
        caller: UserCaller, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Page[MarketShown]:
        """Every instrument of the platform, by symbol."""
        caller.require_scope("read")
        after = None if cursor is None else decode_cursor(cursor, str)[0]
        async with database.connection() as connection:
            found = await reads.markets(connection, after=after, limit=limit + 1)
        return Page[MarketShown].of([shown(market) for market in found], limit, lambda market: (market.symbol,))

    @routes.get("/{symbol:path}/ticker")
    async def ticker(symbol: str, caller: UserCaller) -> Ticker:
        """Best bid and ask, last price, volume of 24 hours."""
        caller.require_scope("read")
        async with database.connection() as connection:
            market = await market_of(connection, symbol)
        as_of = now()
        is_old = is_live and market.market_at is not None and as_of > market.market_at + stale_after
        return Ticker(
            symbol=market.symbol,
            bid=market.bid,
            bid_size=market.bid_size,
            ask=market.ask,
            ask_size=market.ask_size,
            last=market.last,
            volume=market.volume_24h,
            market_at=market.market_at,
            as_of=as_of,
            stale=is_old or market.market_at is None,
        )

    @routes.get("/{symbol:path}/candles")
    async def candles(
        symbol: str,
        caller: UserCaller,
        timeframe: Timeframe = Timeframe.M1,
        start: Annotated[AwareDatetime | None, Query(description="Candles that begin at or after it.")] = None,
        end: Annotated[AwareDatetime | None, Query(description="Candles that begin before it.")] = None,
        limit: Limit = DEFAULT_LIMIT,
    ) -> Page[CandleShown]:
        """Candles, oldest first: with `start` the first from there on, without it the last before `end` (now).

        A page does not lead to the next; ask again with `start` at the last candle's `close_at`."""
        caller.require_scope("read")
        if start is not None and end is not None and start >= end:
            raise Problem(
                422,
                "invalid_request",
                "The request does not have the expected shape.",
                errors=[FieldError("start", "must be before end", "start")],
            )
        as_of = now()
        async with database.connection() as connection:
            market = await market_of(connection, symbol)
            until = next_start(end or as_of + timedelta(days=1), timeframe)
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

    @routes.get("/{symbol:path}")
    async def market(symbol: str, caller: UserCaller) -> MarketShown:
        """One instrument."""
        caller.require_scope("read")
        async with database.connection() as connection:
            return shown(await market_of(connection, symbol))

    return routes


def _unknown(symbol: str) -> Problem:
    return Problem(404, "not_found", f"There is no such market, was {symbol[:100]}.")
