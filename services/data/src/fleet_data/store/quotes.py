"""The best quotes, and the market's prints of the last while."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from fleet_bus import Transaction
from fleet_contracts.topics import DATA_QUOTES

from fleet_data.domain.quotes import QuoteState
from fleet_data.events import best_quote

SEND_QUOTE = "quote"
"""The kind of the due row that sends a quote which came too soon after the last."""

_LOCK = """
SELECT q.symbol, q.bid, q.bid_size, q.ask, q.ask_size, q.last, q.market_at, q.sent_at, q.is_sent, i.reference_venue
FROM quotes q JOIN instruments i USING (symbol)
WHERE q.symbol = ANY($1::text[]) AND i.version > 0 ORDER BY q.symbol FOR NO KEY UPDATE OF q
"""
SAVE_QUOTES = """
UPDATE quotes q SET bid = n.bid, bid_size = n.bid_size, ask = n.ask, ask_size = n.ask_size, last = n.last,
    market_at = n.market_at, sent_at = n.sent_at, is_sent = n.is_sent
FROM unnest($1::text[], $2::numeric[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[], $7::timestamptz[],
    $8::timestamptz[], $9::boolean[])
    AS n (symbol, bid, bid_size, ask, ask_size, last, market_at, sent_at, is_sent)
WHERE q.symbol = n.symbol
"""
_ADD_TRADES = """
INSERT INTO public_trades (listing_id, venue_trade_id, market_at, price, quantity, aggressor)
SELECT l.listing_id, n.venue_trade_id, n.market_at, n.price, n.quantity, n.aggressor
FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::numeric[], $6::numeric[], $7::text[])
    AS n (symbol, venue, venue_trade_id, market_at, price, quantity, aggressor)
JOIN listings l USING (symbol, venue)
ON CONFLICT DO NOTHING
"""
_FORGET_TRADES = """
DELETE FROM public_trades WHERE market_at < $2
AND listing_id IN (SELECT listing_id FROM listings WHERE symbol = ANY($1::text[]))
"""


class PostgresQuoteUnitOfWork:
    """The quotes that a batch touches, by symbol, and the prints in it."""

    def __init__(self, transaction: Transaction, *, stale_after: timedelta, keep_trades: timedelta) -> None:
        self._tx = transaction
        self._stale_after = stale_after
        self._keep_trades = keep_trades
        self._quotes: dict[str, QuoteState] = {}
        self._stored: dict[str, QuoteState] = {}
        self._references: dict[str, str] = {}
        self._trades: list[tuple[str, str, str, datetime, Decimal, Decimal, str | None]] = []

    @property
    def now(self) -> datetime:
        return self._tx.now

    async def lock(self, ids: Sequence[str]) -> None:
        for row in await self._tx.connection.fetch(_LOCK, ids):
            *values, reference_venue = row
            quote = QuoteState(**dict(zip(row.keys(), values, strict=False)))
            self._quotes[quote.symbol] = self._stored[quote.symbol] = quote
            self._references[quote.symbol] = reference_venue

    def quote(self, symbol: str, venue: str) -> QuoteState | None:
        return self._quotes.get(symbol) if self._references.get(symbol) == venue else None

    def waiting(self, symbol: str) -> QuoteState | None:
        quote = self._quotes.get(symbol)
        return None if quote is None or quote.is_sent else quote

    def save(self, quote: QuoteState) -> None:
        self._quotes[quote.symbol] = quote

    def add_trade(
        self,
        symbol: str,
        venue: str,
        venue_trade_id: str,
        *,
        price: Decimal,
        quantity: Decimal,
        aggressor: str | None,
        market_at: datetime,
    ) -> None:
        self._trades.append((symbol, venue, venue_trade_id, market_at, price, quantity, aggressor))

    async def flush(self) -> None:
        connection = self._tx.connection
        # The latest of a batch is sent for all of them: what it replaces is older than what readers get.
        kept = [
            self._send_or_wait(quote)
            for symbol, quote in self._quotes.items()
            if not quote.is_sent or quote is not self._stored[symbol]
        ]
        if kept:
            await connection.execute(SAVE_QUOTES, *columns_of_quotes(kept))
        if self._trades:
            await connection.execute(_ADD_TRADES, *([row[i] for row in self._trades] for i in range(7)))
            # By the market's time: by the wall's, a replay would forget them at once.
            newest = max(trade[3] for trade in self._trades)
            symbols = sorted({trade[0] for trade in self._trades})
            await connection.execute(_FORGET_TRADES, symbols, newest - self._keep_trades)

    def _send_or_wait(self, quote: QuoteState) -> QuoteState:
        if quote.is_sent:
            return quote
        at = quote.may_be_sent_at()
        if at is not None and at > self.now:
            self._tx.schedule(SEND_QUOTE, quote.symbol, 0, "wall", at)
            return quote
        self._tx.unschedule(SEND_QUOTE, quote.symbol, 0)
        venue = self._references[quote.symbol]
        message = best_quote(quote, venue, stale_after=self._stale_after)
        self._tx.publish(DATA_QUOTES, quote.symbol, message, market_at=quote.market_at)
        return quote.sent(self.now)


def columns_of_quotes(quotes: Sequence[QuoteState]) -> list[list[object]]:
    """For SAVE_QUOTES."""
    rows = [(q.symbol, q.bid, q.bid_size, q.ask, q.ask_size, q.last, q.market_at, q.sent_at, q.is_sent) for q in quotes]
    return [list(column) for column in zip(*rows, strict=True)]
