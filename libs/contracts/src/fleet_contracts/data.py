"""What data says: instruments, the best quote of the reference venue, stored bars."""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from .exchange_connector import BarValues
from .message import Message
from .vocabulary import Timeframe


class DataMessage(Message, frozen=True, kw_only=True):
    owner: ClassVar[str] = "data"


class InstrumentDefined(DataMessage, frozen=True, kw_only=True):
    """The instrument as the platform trades it. `reference_venue` is where its mark comes from."""

    symbol: str
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
    venues: tuple[str, ...]
    reference_venue: str
    simulated: bool
    version: int


class BestQuote(DataMessage, frozen=True, kw_only=True):
    """Best bid and ask and the last price at the reference venue, at most 10 a second a symbol.

    `stale_after` is when, by market time, the price must no longer be trusted (None: as long as the market stands)."""

    symbol: str
    venue: str
    bid: Decimal
    bid_size: Decimal
    ask: Decimal
    ask_size: Decimal
    last: Decimal
    market_at: datetime
    stale_after: datetime | None


class BarClosed(DataMessage, frozen=True, kw_only=True):
    symbol: str
    venue: str
    timeframe: Timeframe
    bar: BarValues


class BarsBackfilled(DataMessage, frozen=True, kw_only=True):
    cut_along: ClassVar[tuple[str, ...]] = ("bars",)

    symbol: str
    venue: str
    timeframe: Timeframe
    bars: tuple[BarValues, ...]
