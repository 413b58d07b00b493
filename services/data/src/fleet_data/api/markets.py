"""Markets and their prices."""

from collections.abc import Callable
from datetime import datetime, timedelta

import asyncpg
from fastapi import APIRouter
from fleet_chassis.database import Database
from fleet_chassis.pages import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor
from fleet_chassis.permissions import ReadCaller
from fleet_chassis.problems import Problem
from fleet_chassis.shapes import DecimalString, Resource, Symbol
from pydantic import TypeAdapter, ValidationError

from fleet_data.store import reads

_SYMBOL: TypeAdapter[str] = TypeAdapter(Symbol)


class MarketShown(Resource):
    """`status`: active, or unavailable while its venue is not connected or not heard. `change_24h`: "0.01" is 1 %."""

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


async def market_of(connection: asyncpg.Connection, symbol: str) -> reads.Market:
    """The market of a symbol as a path names it (AAPL/USD or AAPL-USD); Problem 404 where there is none."""
    try:
        known = _SYMBOL.validate_python(symbol)
    except ValidationError:
        raise _unknown(symbol) from None
    found = await reads.markets(connection, symbol=known)
    if not found:
        raise _unknown(symbol)
    return found[0]


def market_router(
    database: Database,
    *,
    now: Callable[[], datetime],
    is_connected: Callable[[str], bool],
    stale_after: timedelta | None,
) -> APIRouter:
    """`stale_after` None: a replay, whose prices do not age."""
    routes = APIRouter(prefix="/api/v1/markets", tags=["markets"])

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
        _caller: ReadCaller, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
    ) -> Page[MarketShown]:
        """Every instrument of the platform, by symbol."""
        after = None if cursor is None else decode_cursor(cursor, str)[0]
        async with database.connection() as connection:
            found = await reads.markets(connection, after=after, limit=limit + 1)
        return Page[MarketShown].of([shown(market) for market in found], limit, lambda market: (market.symbol,))

    @routes.get("/{symbol}/ticker")
    async def ticker(symbol: str, _caller: ReadCaller) -> Ticker:
        """Best bid and ask, last price, volume of 24 hours."""
        async with database.connection() as connection:
            market = await market_of(connection, symbol)
        as_of = now()
        at = market.market_at
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
            stale=at is None or (stale_after is not None and as_of > at + stale_after),
        )

    @routes.get("/{symbol}")
    async def market(symbol: str, _caller: ReadCaller) -> MarketShown:
        """One instrument."""
        async with database.connection() as connection:
            return shown(await market_of(connection, symbol))

    return routes


def _unknown(symbol: str) -> Problem:
    return Problem(404, "not_found", f"There is no such market, was {symbol[:100]}.")
