"""Brings what Kafka tells to the sockets that want it."""

import asyncio
from collections.abc import Iterable
from functools import partial

import msgspec
from fleet_bus import Glance, Received, TableView, Watch
from fleet_chassis.clock import Clock
from fleet_contracts import Message
from fleet_contracts.core_engine import Alert
from fleet_contracts.data import BarClosed, BestQuote, InstrumentDefined
from fleet_contracts.exchange_connector import Quote, Trade
from fleet_contracts.matching_engine import BookDelta, BookSnapshot
from fleet_contracts.topics import (
    DATA_BARS,
    EXCHANGE_CONNECTOR_MARKET_DATA,
    MATCHING_ENGINE_MARKET_DATA,
    TRADING_ACTIVITY,
)
from fleet_contracts.trading import AccountChanged
from prometheus_client import Gauge

from fleet_gateway.identity import AccessTokens

from .alerts import Alerts
from .books import Books
from .connection import TOKEN_ENDED, TOO_SLOW, Connection
from .feeds import BehindSnapshot
from .quotes import Quotes, Text
from .requests import MARKET_DATA
from .updates import AccountUpdate, bar_text, trade_text

TICK_S = 0.5
"""Heartbeats are due after a second; ended tokens are to be found within five."""
BOOKS_TICK_S = 0.1
"""As often as data tells a quote; a book of ours may change thousands of times in a second."""

_SOCKETS = Gauge("fleet_gateway_sockets", "Sockets that are open.")


class _Whose(msgspec.Struct):
    """Of an AccountChanged."""

    user_id: str


class Hub:
    """Sockets by user and by symbol. Everything here runs on the event loop and waits for nothing."""

    def __init__(
        self,
        tokens: AccessTokens,
        instruments: TableView[InstrumentDefined],
        quotes: TableView[BestQuote],
        alerts: TableView[Alert],
        clock: Clock,
    ) -> None:
        self.alerts = Alerts(alerts)
        self._tokens = tokens
        self._instruments = instruments
        self._quotes = Quotes(clock)
        self._books = Books(instruments)
        self._by_user: dict[str, set[Connection]] = {}
        self._by_symbol: dict[str, set[Connection]] = {}
        self._by_address: dict[str, set[Connection]] = {}
        self._count = 0
        quotes.on_change(self._best_quote)

    def watches(self) -> Iterable[Watch]:
        """Live subscriptions, each of its own, so that a storm of quotes never delays a fill."""
        # Most of what happens is of users who have no socket here.
        yield Watch(
            "activity", (TRADING_ACTIVITY,), self.take, Glance(_Whose, lambda whose: whose.user_id in self._by_user)
        )
        yield Watch("market-data", (EXCHANGE_CONNECTOR_MARKET_DATA,), self.take)
        yield Watch("books", (MATCHING_ENGINE_MARKET_DATA,), self.take)
        yield Watch("bars", (DATA_BARS,), self.take)

    @property
    def count(self) -> int:
        return self._count

    def count_of(self, user: str) -> int:
        return len(self._by_user.get(user, ()))

    def count_from(self, address: str) -> int:
        return len(self._by_address.get(address, ()))

    def add(self, connection: Connection) -> None:
        self._by_user.setdefault(connection.principal.key, set()).add(connection)
        self._by_address.setdefault(connection.address, set()).add(connection)
        self._count += 1
        _SOCKETS.inc()

    def remove(self, connection: Connection) -> None:
        self._count -= 1
        _SOCKETS.dec()
        _drop(self._by_user, connection.principal.key, connection)
        _drop(self._by_address, connection.address, connection)
        for symbol in connection.symbols:
            _drop(self._by_symbol, symbol, connection)
        self.alerts.unfollow(connection)

    def knows(self, symbol: str) -> bool:
        return self._instruments.get(symbol) is not None

    def follow(self, connection: Connection, symbol: str) -> None:
        """Sends the last quotes of a symbol, then what comes."""
        # First, so that who watches already is told what the snapshot shows.
        self._tell_tops(symbol)
        self._tell_stale(symbol)
        connection.symbols.add(symbol)
        self._by_symbol.setdefault(symbol, set()).add(connection)
        connection.emit(MARKET_DATA, "snapshot", b"[" + b",".join(self._quotes.shown(symbol)) + b"]")

    def unfollow(self, connection: Connection, symbol: str) -> None:
        connection.symbols.discard(symbol)
        _drop(self._by_symbol, symbol, connection)

    def take(self, received: Received[Message]) -> None:
        """A record of one of the live subscriptions."""
        match received.message:
            case AccountChanged() as message:
                self._account_changed(message)
            case Quote() as message:
                self._quote(message)
            case Trade() as message:
                self._quotes.take_trade(message)
                self._market(message.symbol, partial(trade_text, message))
            case BookSnapshot() | BookDelta() as message:
                self._books.take(message)
            case BarClosed() as message:
                self._market(message.symbol, partial(bar_text, message))

    async def run(self) -> None:
        """Heartbeats, the end of sockets whose token counts no more, and of trust in quotes that nobody renews."""
        while True:
            await asyncio.sleep(TICK_S)
            for connections in list(self._by_user.values()):
                for connection in list(connections):
                    if self._tokens.end_of(connection.principal) is not None:
                        connection.close(TOKEN_ENDED)
                    else:
                        connection.beat()
            for symbol in list(self._by_symbol):
                if self._tell_stale(symbol):
                    # All symbols of a source may fall silent at once: between them other work gets its turn.
                    await asyncio.sleep(0)

    async def run_books(self) -> None:
        """What the best prices of books have come to."""
        while True:
            await asyncio.sleep(BOOKS_TICK_S)
            for symbol in self._books.changed & self._by_symbol.keys():
                self._tell_tops(symbol)
                await asyncio.sleep(0)

    def _account_changed(self, message: AccountChanged) -> None:
        connections = self._by_user.get(str(message.user_id))
        if not connections:
            return
        update = AccountUpdate(message)
        for connection in connections:
            for feed in connection.feeds.values():
                try:
                    feed.take(update)
                except BehindSnapshot:
                    connection.close(TOO_SLOW)

    def _best_quote(self, _symbol: str, received: Received[Message] | None) -> None:
        if received is None or not isinstance(received.message, BestQuote):
            return
        self._quote(received.message)

    def _quote(self, quote: Quote | BestQuote) -> None:
        text = self._quotes.take(quote)
        if text is not None:
            self._market(quote.symbol, text)

    def _tell_tops(self, symbol: str) -> None:
        for venue, top in self._books.tops(symbol):
            text = self._quotes.distrust(symbol, venue) if top is None else self._quotes.take_top(top)
            if text is not None:
                self._market(symbol, text)

    def _tell_stale(self, symbol: str) -> bool:
        """Whether there was anything to tell."""
        texts = list(self._quotes.fallen_stale(symbol))
        for text in texts:
            self._market(symbol, text)
        return bool(texts)

    def _market(self, symbol: str, text: Text) -> None:
        connections = self._by_symbol.get(symbol)
        if connections:
            data = b"[" + text() + b"]"
            for connection in connections:
                connection.emit(MARKET_DATA, "update", data)


def _drop(groups: dict[str, set[Connection]], key: str, connection: Connection) -> None:
    group = groups.get(key)
    if group is not None:
        group.discard(connection)
        if not group:
            del groups[key]
