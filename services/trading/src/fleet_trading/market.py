"""The market as this process last heard it: instruments, quotes and trading states, kept in the shape they are used."""

from datetime import date, datetime
from decimal import Decimal
from uuid import UUID

from fleet_bus import Bus, Received
from fleet_contracts import Message
from fleet_contracts.data import BestQuote, InstrumentDefined
from fleet_contracts.topics import DATA_INSTRUMENTS, DATA_QUOTES
from fleet_contracts.vocabulary import TradingStateWord
from fleet_gate import Gate

from .domain import Instrument, Reference, TradingState

_STATES = {word: TradingState(word.value) for word in TradingStateWord}


class SeenMarket:
    """Fed by tables of the bus; construct it before `bus.running()`."""

    def __init__(self, bus: Bus, gate: Gate, *, is_live: bool) -> None:
        self._bus = bus
        self._gate = gate
        self._is_live = is_live
        self._instruments: dict[str, Instrument] = {}
        self._quotes: dict[str, BestQuote] = {}
        self._last_at: datetime | None = None
        self._has_fresh_price = not is_live
        self._closes: dict[str, tuple[date, Decimal]] = {}
        """Per symbol the last price of the last day before the quote's."""
        bus.table(DATA_INSTRUMENTS, InstrumentDefined).on_change(self._instrument_heard)
        bus.table(DATA_QUOTES, BestQuote).on_change(self._quote_heard)

    def _instrument_heard(self, key: str, received: Received[Message] | None) -> None:
        if received is None:
            self._instruments.pop(key, None)
            return
        message = received.message
        assert isinstance(message, InstrumentDefined)
        venues = message.venues
        self._instruments[key] = Instrument(
            symbol=message.symbol,
            base=message.base,
            quote=message.quote,
            tick=message.tick_size,
            lot=message.lot_size,
            min_quantity=message.min_quantity,
            min_notional=message.min_notional,
            highest_fee=max(message.maker_fee, message.taker_fee),
            venues=venues,
            calendar=message.calendar,
            venue=message.reference_venue if message.reference_venue in venues or not venues else venues[0],
        )

    def _quote_heard(self, key: str, received: Received[Message] | None) -> None:
        if received is None:
            self._quotes.pop(key, None)
            return
        quote = received.message
        assert isinstance(quote, BestQuote)
        before = self._quotes.get(key)
        if before is not None and before.market_at.date() < quote.market_at.date():
            self._closes[key] = (before.market_at.date(), before.last)
        self._quotes[key] = quote
        if self._last_at is None or quote.market_at > self._last_at:
            self._last_at = quote.market_at
        if quote.stale_after is None or quote.stale_after > self._bus.clock.now():
            self._has_fresh_price = True

    @property
    def is_there(self) -> bool:
        """Whether an instrument is known, and since the start a fresh price was heard (in a replay none comes by itself)."""
        return bool(self._instruments) and self._has_fresh_price

    def instrument(self, symbol: str) -> Instrument | None:
        return self._instruments.get(symbol)

    def knows(self, symbol: str) -> bool | None:
        """Whether it is an instrument; None before any was heard of: Kafka may be down since the start."""
        return symbol in self._instruments if self._instruments else None

    def reference(self, symbol: str) -> Reference | None:
        quote = self._quotes.get(symbol)
        if quote is None:
            return None
        now = self._bus.clock.now() if self._is_live else (self._bus.market_at or quote.market_at)
        return Reference(
            bid=quote.bid,
            ask=quote.ask,
            last=quote.last,
            market_at=quote.market_at,
            is_stale=quote.stale_after is not None and now > quote.stale_after,
        )

    def state(self, symbol: str, venue: str, account_id: UUID) -> TradingState:
        return _STATES[self._gate.state(symbol=symbol, venue=venue, account_id=account_id)]

    def market_at(self, symbol: str | None = None) -> datetime:
        quote = self._quotes.get(symbol) if symbol is not None else None
        if quote is not None:
            return quote.market_at
        seen = [at for at in (self._bus.market_at, self._last_at) if at is not None]
        return max(seen, default=self._bus.clock.now())

    def day(self) -> date:
        return self._bus.clock.now().date() if self._is_live else self.market_at().date()

    def mark(self, symbol: str) -> Decimal | None:
        quote = self._quotes.get(symbol)
        return None if quote is None else quote.last

    def is_stale(self, symbol: str) -> bool:
        reference = self.reference(symbol)
        return reference is None or reference.is_stale

    def mark_before(self, symbol: str, day: date) -> Decimal | None:
        quote = self._quotes.get(symbol)
        if quote is None:
            return None
        if quote.market_at.date() < day:
            return quote.last
        close = self._closes.get(symbol)
        return close[1] if close is not None and close[0] < day else quote.last
