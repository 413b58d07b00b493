"""The simulated feed: quotes and public trades, sent directly by the one process that holds the feed's lock."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta

import asyncpg
from fleet_bus import Bus
from fleet_bus.failures import Streak, is_down
from fleet_chassis.database import Database
from fleet_chassis.logging import get_logger
from fleet_contracts import Message
from fleet_contracts.exchange_connector import Quote, Trade
from fleet_contracts.topics import EXCHANGE_CONNECTOR_MARKET_DATA
from fleet_contracts.vocabulary import Side

from fleet_exchange_connector.domain.instruments import VENUE, Instrument
from fleet_exchange_connector.domain.market import Market
from fleet_exchange_connector.domain.times import minute_of, minute_start, to_ns
from fleet_exchange_connector.store.markets import MarketRow, take_feed

LOCK_RETRY_S = 2.0
QUIET_S = 10
"""A holder that has not read the market's row for so long is gone, and what it left out stays untold."""
BACKOFF_S = 1.0

log = get_logger("fleet_exchange_connector.feed")


class SimulatedFeed:
    """Only says what follows from the market's row: it decides nothing, and when it dies nothing but quotes is lost."""

    def __init__(self, bus: Bus, database: Database, row: MarketRow, instruments: Mapping[str, Instrument]) -> None:
        self._bus = bus
        self._database = database
        self._row = row
        self._instruments = instruments
        self._epoch = 0
        self._said_at: datetime | None = None
        self._failure: str | None = None
        self._failures = Streak(first_s=BACKOFF_S, most_s=BACKOFF_S)

    def ready(self) -> str | None:
        """For readiness: None, or why quotes could not be sent the last time."""
        return self._failure

    async def run(self) -> None:
        """Runs until cancelled; after any failure everything is taken anew: lock, epoch and producer."""
        while True:
            try:
                async with self._holding() as (connection, epoch):
                    await self._send_quotes(connection, epoch)
            except Exception as error:
                if not is_down(error):
                    raise
                self._failure = f"quotes cannot be sent: {type(error).__name__}"
                pause_s, is_told = self._failures.failed()
                if is_told:
                    log.warning("feed_waits", error=repr(error))
                await asyncio.sleep(pause_s)

    @contextlib.asynccontextmanager
    async def _holding(self) -> AsyncIterator[tuple[asyncpg.Connection, int]]:
        # A stopped process would hold the lock for ever: the server ends a session that is silent for so long, and ours
        # reads the market's row with every round of quotes.
        connection = await self._database.dedicated(idle_session_timeout=f"{QUIET_S}s")
        try:
            while (epoch := await take_feed(connection)) is None:
                self._failure = None
                await asyncio.sleep(LOCK_RETRY_S)
            if not self._failures.count:
                log.info("feed_taken", epoch=epoch)
            yield connection, epoch
        finally:
            connection.terminate()

    async def _send_quotes(self, connection: asyncpg.Connection, epoch: int) -> None:
        rounds: int | None = None
        if epoch != self._epoch + 1:
            self._said_at = None  # Another process has said quotes meanwhile, or this one none yet.
        self._epoch = epoch
        stretch = timedelta(milliseconds=100)
        async with self._bus.direct(EXCHANGE_CONNECTOR_MARKET_DATA, epoch) as producer:
            while True:
                market = await self._row.read(connection)
                if market is not None:
                    stretch = market.stretch
                    for at in self._unsaid(market, rounds):
                        if messages := self._messages(market, at):
                            self._said_at = at  # Also if it fails: it may have arrived, and is not said twice.
                            await producer.send(messages, market_at=at)
                    rounds = market.rounds
                    if self._failures.ended():
                        log.info("feed_goes_on", epoch=epoch)
                    self._failure = None
                await self._until_next(stretch)

    def _unsaid(self, market: Market, rounds: int | None) -> list[datetime]:
        """The times whose quotes are to be sent now: also of those that stood since the last that was sent, for orders
        may have filled at them."""
        if market.is_paused:
            return [market.shown_at] if market.shown_at and rounds not in (None, market.rounds) else []
        now, stretch = self._bus.clock.now(), market.stretch
        start = minute_start(minute_of(now))
        at = start + (now - start) // stretch * stretch
        said_at = self._said_at
        if said_at is None:
            return [at]
        # The quote of the moment in which it was resumed stood from then on.
        since = max(said_at, market.resumed_at - stretch, now - timedelta(seconds=QUIET_S))
        times = [at] if at > said_at else []
        while times and times[-1] - stretch > since:
            times.append(times[-1] - stretch)
        return times[::-1]

    def _messages(self, market: Market, at: datetime) -> list[tuple[str, Message]]:
        found: list[tuple[str, Message]] = []
        for symbol, instrument in self._instruments.items():
            quote, trade, scale = market.quote(symbol, at), market.public_trade(symbol, at), instrument.scale
            if quote is None:
                continue
            said = Quote(
                symbol=symbol,
                venue=VENUE,
                bid=scale.price(quote.bid),
                bid_size=scale.quantity(quote.bid_size),
                ask=scale.price(quote.ask),
                ask_size=scale.quantity(quote.ask_size),
                market_at=at,
            )
            found.append((symbol, said))
            if trade is not None:
                print_ = Trade(
                    symbol=symbol,
                    venue=VENUE,
                    venue_trade_id=f"market-{symbol}-{to_ns(at) // 1_000_000}",
                    price=scale.price(trade.price),
                    quantity=scale.quantity(trade.quantity),
                    aggressor=Side.BUY if trade.is_buyer else Side.SELL,
                    market_at=at,
                )
                found.append((symbol, print_))
        return found

    async def _until_next(self, stretch: timedelta) -> None:
        now = self._bus.clock.now()
        start = minute_start(minute_of(now))
        following = start + ((now - start) // stretch + 1) * stretch
        await asyncio.sleep((following - now).total_seconds())
