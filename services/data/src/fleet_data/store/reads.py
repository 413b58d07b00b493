"""What the API shows: markets with their prices, candles, prints."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import asyncpg

from fleet_data.domain.candles import EPOCH, TIMEFRAME_MINUTES, Candle, interval_of, next_start

DAY = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """A defined instrument with its price; `change_24h` is a fraction of the last close at least 24 hours ago."""

    symbol: str
    listing_id: int
    reference_venue: str
    name: str
    asset_class: str
    base: str
    quote: str
    tick_size: Decimal
    lot_size: Decimal
    min_quantity: Decimal
    min_notional: Decimal
    maker_fee: Decimal
    taker_fee: Decimal
    calendar: str
    simulated: bool
    version: int
    venues: list[str]
    bid: Decimal | None
    bid_size: Decimal | None
    ask: Decimal | None
    ask_size: Decimal | None
    last: Decimal | None
    market_at: datetime | None
    close_24h_ago: Decimal | None
    volume_24h: Decimal

    @property
    def change_24h(self) -> Decimal | None:
        if self.last is None or not self.close_24h_ago:
            return None
        return (self.last / self.close_24h_ago - 1).quantize(Decimal("0.000001"))


@dataclass(frozen=True, slots=True)
class PublicTrade:
    venue_trade_id: str
    market_at: datetime
    price: Decimal
    quantity: Decimal
    aggressor: str | None


# Of each listing the finest bars it has tell the day's change and volume; on every other timeframe they are the same.
_MARKETS = """
SELECT i.symbol, l.listing_id, i.reference_venue, l.name, l.asset_class, l.base, l.quote, l.tick_size, l.lot_size,
       l.min_quantity, l.min_notional, l.maker_fee, l.taker_fee, l.calendar, l.simulated, i.version,
       (SELECT array_agg(venue ORDER BY venue) FROM listings WHERE symbol = i.symbol) AS venues,
       q.bid, q.bid_size, q.ask, q.ask_size, q.last, q.market_at,
       (SELECT close FROM bars WHERE listing_id = l.listing_id AND timeframe_minutes = finest.minutes
        AND open_at < q.market_at - $2::interval AND close_at <= q.market_at - $2::interval
        ORDER BY open_at DESC LIMIT 1) AS close_24h_ago,
       (SELECT coalesce(sum(volume), 0) FROM bars WHERE listing_id = l.listing_id
        AND timeframe_minutes = finest.minutes AND open_at >= q.market_at - $2::interval) AS volume_24h
FROM instruments i
JOIN listings l ON l.symbol = i.symbol AND l.venue = i.reference_venue
LEFT JOIN quotes q ON q.symbol = i.symbol
LEFT JOIN LATERAL (
    SELECT timeframe_minutes AS minutes FROM bars WHERE listing_id = l.listing_id ORDER BY timeframe_minutes LIMIT 1
) finest ON true
WHERE i.version > 0 AND ($1::text IS NULL OR i.symbol = $1) AND i.symbol > coalesce($3::text, '')
ORDER BY i.symbol LIMIT $4
"""
_IS_STORED = "SELECT EXISTS (SELECT FROM bars WHERE listing_id = $1 AND timeframe_minutes = $2)"
_COLUMNS = "open_at, close_at, open, high, low, close, volume, trades"
_STORED = f"""
SELECT {_COLUMNS} FROM bars
WHERE listing_id = $1 AND timeframe_minutes = $2 AND open_at >= $3 AND open_at < $4
ORDER BY open_at {{order}} LIMIT $5
"""  # noqa: S608 (constants)
# $7 rows are read at most, as many as $4 full intervals have: one cut off by that is not among the first $4.
_AGGREGATED = """
SELECT date_bin($5::interval, open_at, $6::timestamptz) AS open_at,
       date_bin($5::interval, open_at, $6::timestamptz) + $5::interval AS close_at,
       (array_agg(open ORDER BY open_at))[1] AS open, max(high) AS high, min(low) AS low,
       (array_agg(close ORDER BY open_at DESC))[1] AS close, sum(volume) AS volume,
       CASE WHEN count(trades) = count(*) THEN sum(trades)::bigint END AS trades
FROM (
    SELECT * FROM {parts} listing_id = $1 AND open_at >= $2 AND open_at < $3 ORDER BY open_at {order} LIMIT $7
) AS parts
GROUP BY 1 ORDER BY 1 {order} LIMIT $4
"""
_OF_MINUTES = "bars WHERE timeframe_minutes = 1 AND"
_OF_HOURS = "bar_hours WHERE"
_RUNNING = """
SELECT min(market_at) AS open_at, max(market_at) AS close_at, (array_agg(price ORDER BY market_at, venue_trade_id))[1],
       max(price), min(price), (array_agg(price ORDER BY market_at DESC, venue_trade_id DESC))[1], sum(quantity),
       count(*)
FROM public_trades WHERE listing_id = $1 AND market_at >= $2 AND market_at < $3 HAVING count(*) > 0
"""
_LAST_CLOSE = """
SELECT close_at FROM bars WHERE listing_id = $1 AND timeframe_minutes = 1 ORDER BY open_at DESC LIMIT 1
"""
_TRADES = """
SELECT venue_trade_id, market_at, price, quantity, aggressor FROM public_trades
WHERE listing_id = (SELECT listing_id FROM listings WHERE symbol = $1 AND venue = $2)
AND ($3::timestamptz IS NULL OR (market_at, venue_trade_id) < ($3, $4))
ORDER BY market_at DESC, venue_trade_id DESC LIMIT $5
"""


async def markets(
    connection: asyncpg.Connection, *, symbol: str | None = None, after: str | None = None, limit: int = 1
) -> list[Market]:
    """The defined instruments in the order of their symbols; `symbol` for that one alone."""
    return [Market(**dict(row)) for row in await connection.fetch(_MARKETS, symbol, DAY, after, limit)]


async def candles(
    connection: asyncpg.Connection,
    listing_id: int,
    timeframe: str,
    *,
    start: datetime | None,
    end: datetime,
    limit: int,
) -> tuple[list[Candle], bool]:
    """Candles that begin in [start, end), oldest first, and whether they are made of 1m bars.

    With a start the first `limit` of them, without one the last. Bars of the timeframe itself come before those made
    of 1m bars."""
    minutes = TIMEFRAME_MINUTES[timeframe]
    order = "ASC" if start is not None else "DESC"
    since = start or EPOCH
    is_made = minutes != 1 and not await connection.fetchval(_IS_STORED, listing_id, minutes)
    if is_made:
        # An interval that begins in the bounds takes all of its bars, one that does not takes none.
        bounds = (next_start(since, timeframe), next_start(end, timeframe), limit)
        parts, length = (_OF_HOURS, 60) if minutes >= 60 else (_OF_MINUTES, 1)
        statement = _AGGREGATED.format(parts=parts, order=order)
        most = limit * minutes // length
        rows = await connection.fetch(statement, listing_id, *bounds, interval_of(timeframe), EPOCH, most)
    else:
        rows = await connection.fetch(_STORED.format(order=order), listing_id, minutes, since, end, limit)
    found = [Candle(**dict(row)) for row in rows]
    return (found if start is not None else found[::-1]), is_made or minutes == 1


async def running_candle(
    connection: asyncpg.Connection, listing_id: int, *, start: datetime, now: datetime
) -> Candle | None:
    """What was traded since the last stored 1m bar, within the interval that began at `start`; None if nothing was."""
    last_close = await connection.fetchval(_LAST_CLOSE, listing_id)
    since = start if last_close is None else max(start, last_close)
    row = await connection.fetchrow(_RUNNING, listing_id, since, now)
    if row is None:
        return None
    open_at, close_at, opened, high, low, close, volume, trades = row
    return Candle(
        open_at=open_at,
        close_at=close_at,
        open=opened,
        high=high,
        low=low,
        close=close,
        volume=volume,
        trades=trades,
    )


async def public_trades(
    connection: asyncpg.Connection, symbol: str, venue: str, *, before: tuple[datetime, str] | None, limit: int
) -> Sequence[PublicTrade]:
    """The prints of a venue, newest first."""
    at, trade_id = before or (None, None)
    return [PublicTrade(*row) for row in await connection.fetch(_TRADES, symbol, venue, at, trade_id, limit)]
