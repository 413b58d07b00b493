"""What Kafka tells, in the shapes of the API, encoded once however many sockets it goes to."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import NamedTuple

import msgspec
from fleet_contracts.data import BarClosed, BestQuote
from fleet_contracts.encoding import encode_json
from fleet_contracts.exchange_connector import Quote, Trade
from fleet_contracts.trading import AccountChanged, Balance, Portfolio, Position

from .books import BookTop


class Part(NamedTuple):
    """One object of a message's `data`. `key` and `version` tell whether it is newer than what was seen of it."""

    key: str
    version: int
    text: bytes


def joined(parts: "list[Part] | tuple[Part, ...]") -> bytes:
    return b"[" + b",".join([part.text for part in parts]) + b"]"


class _PortfolioData(msgspec.Struct):
    portfolio: Portfolio
    balances: tuple[Balance, ...]
    positions: tuple[Position, ...]


class AccountUpdate:
    """What one transaction changed in an account, by channel."""

    def __init__(self, message: AccountChanged) -> None:
        self._message = message
        self.account_id = str(message.account_id)
        self.version = message.version

    def parts(self, channel: str) -> tuple[Part, ...]:
        match channel:
            case "order_updates":
                return self.orders
            case "trades":
                return self.trades
            case _:
                return self.portfolio

    def whole(self, channel: str) -> bytes:
        """All parts of a channel as the `data` of a message."""
        match channel:
            case "order_updates":
                return self._orders_text
            case "trades":
                return self._trades_text
            case _:
                return self._portfolio_text

    @cached_property
    def orders(self) -> tuple[Part, ...]:
        return tuple(Part(str(order.order_id), order.version, encode_json(order)) for order in self._message.orders)

    @cached_property
    def trades(self) -> tuple[Part, ...]:
        return tuple(Part(str(trade.trade_id), trade.version, encode_json(trade)) for trade in self._message.trades)

    @cached_property
    def portfolio(self) -> tuple[Part, ...]:
        message = self._message
        content = _PortfolioData(message.portfolio, message.balances, message.positions)
        return (Part(self.account_id, message.version, encode_json(content)),)

    @cached_property
    def _orders_text(self) -> bytes:
        return joined(self.orders)

    @cached_property
    def _trades_text(self) -> bytes:
        return joined(self.trades)

    @cached_property
    def _portfolio_text(self) -> bytes:
        return joined(self.portfolio)


class _QuoteData(msgspec.Struct, tag_field="type", tag="quote"):
    symbol: str
    venue: str
    bid: Decimal | None
    bid_size: Decimal | None
    ask: Decimal | None
    ask_size: Decimal | None
    last: Decimal | None
    as_of: datetime
    stale: bool
    version: int


class _TradeData(msgspec.Struct, tag_field="type", tag="trade"):
    symbol: str
    venue: str
    venue_trade_id: str
    price: Decimal
    quantity: Decimal
    aggressor: str | None
    market_at: datetime
    version: int


class _BarData(msgspec.Struct, tag_field="type", tag="bar"):
    symbol: str
    venue: str
    timeframe: str
    open_at: datetime
    close_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int | None
    state: str
    version: int


def market_version(market_at: datetime) -> int:
    """Market data has no version but its time: in microseconds, which every client's numbers can hold."""
    return int(market_at.timestamp() * 1_000_000)


def quote_text(quote: BestQuote | Quote | BookTop, last: Decimal | None, *, version: int, stale: bool) -> bytes:
    """A quote that has become stale is the same once more, and one version later, so that it counts as news."""
    return encode_json(
        _QuoteData(
            symbol=quote.symbol,
            venue=quote.venue,
            bid=quote.bid,
            bid_size=quote.bid_size,
            ask=quote.ask,
            ask_size=quote.ask_size,
            last=last,
            as_of=quote.market_at,
            stale=stale,
            version=version + stale,
        )
    )


def trade_text(trade: Trade) -> bytes:
    return encode_json(
        _TradeData(
            symbol=trade.symbol,
            venue=trade.venue,
            venue_trade_id=trade.venue_trade_id,
            price=trade.price,
            quantity=trade.quantity,
            aggressor=trade.aggressor,
            market_at=trade.market_at,
            version=market_version(trade.market_at),
        )
    )


def bar_text(message: BarClosed) -> bytes:
    bar = message.bar
    return encode_json(
        _BarData(
            symbol=message.symbol,
            venue=message.venue,
            timeframe=message.timeframe,
            open_at=bar.open_at,
            close_at=bar.close_at,
            open=bar.open,
            high=bar.high,
            low=bar.low,
            close=bar.close,
            volume=bar.volume,
            trades=bar.trades,
            state="closed",
            version=market_version(bar.close_at),
        )
    )


@dataclass(frozen=True, slots=True)
class AccountSnapshot:
    """What a channel shows when it begins. `versions` are the accounts' when reading began, `known` the objects'.

    `is_truncated`: an account has more than `data` shows; what is left out is told when it changes."""

    data: bytes
    versions: dict[str, int]
    known: dict[str, int]
    is_truncated: bool = False
