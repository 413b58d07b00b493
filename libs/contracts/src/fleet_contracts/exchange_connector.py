"""What exchange-connector says: market data, bars, steps, the state of venues, their instruments."""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar
from uuid import UUID

from .message import Message, Value
from .vocabulary import OrderType, Side, Timeframe, VenueStateWord


class ExchangeConnectorMessage(Message, frozen=True, kw_only=True):
    owner: ClassVar[str] = "exchange-connector"


class Quote(ExchangeConnectorMessage, frozen=True, kw_only=True):
    symbol: str
    venue: str
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    market_at: datetime


class Trade(ExchangeConnectorMessage, frozen=True, kw_only=True):
    """A public print of the market; never the report of a client's fill."""

    symbol: str
    venue: str
    venue_trade_id: str
    price: Decimal
    quantity: Decimal
    aggressor: Side | None = None
    market_at: datetime


class BarValues(Value, frozen=True, kw_only=True):
    """One bar: its half-open interval [open_at, close_at) and what was traded in it."""

    open_at: datetime
    close_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int | None = None


class VenueBarClosed(ExchangeConnectorMessage, frozen=True, kw_only=True):
    symbol: str
    venue: str
    timeframe: Timeframe
    bar: BarValues


class VenueBarsBackfilled(ExchangeConnectorMessage, frozen=True, kw_only=True):
    """History, at most 1,440 bars of one symbol and timeframe, oldest first; stored, never acted on."""

    cut_along: ClassVar[tuple[str, ...]] = ("bars",)

    symbol: str
    venue: str
    timeframe: Timeframe
    bars: tuple[BarValues, ...]


class MarketStepEnded(ExchangeConnectorMessage, frozen=True, kw_only=True):
    """Every bar of one market time has been published. data and core-engine pass it on unchanged."""

    step: int
    market_at: datetime
    timeframe: Timeframe
    symbols: tuple[str, ...]
    replay_id: UUID | None = None


LISTS_OPEN_ORDERS = "open_orders"
"""The capability of a venue that answers QueryVenueOpenOrders; with others nothing can be compared."""


ORDER_GROUPS = "order_groups"
"""The capability of a venue that keeps `oco_group` and `parent_ref` itself; elsewhere execution does."""


def takes(order_type: OrderType) -> str:
    """The capability of a venue that has this order type; one that names none has market and limit."""
    return f"order_types:{order_type}"


VENUE_SILENT_AFTER_S = 30.0
"""A venue that has not told its status for so long is taken to be gone by all who hear it, unless their settings say
otherwise: venues tell it every 5 s, so six are missing."""


class VenueStatus(ExchangeConnectorMessage, frozen=True, kw_only=True):
    venue: str
    state: VenueStateWord
    feed: str
    heartbeat_at: datetime
    capabilities: tuple[str, ...]
    detail: str | None = None


class VenueInstrument(ExchangeConnectorMessage, frozen=True, kw_only=True):
    """An instrument as one venue trades it. `calendar` is `24/7` or the code of an exchange's calendar."""

    symbol: str
    venue: str
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
