"""What the use cases need of the world: a unit of work for instruments, for bars, for quotes."""

from datetime import datetime
from decimal import Decimal
from typing import Protocol

from .domain.instruments import Instrument, Terms
from .domain.quotes import QuoteState


class UnknownInstrument(LookupError):
    """exchange-connector has not told of this symbol, or of it at this venue, yet."""


class InstrumentUnitOfWork(Protocol):
    def instrument(self, symbol: str) -> Instrument: ...

    def list_at(self, instrument: Instrument, venue: str, terms: Terms) -> None:
        """Keeps the venue's terms and the instrument after them; publishes it if its version is new."""
        ...


class QuoteUnitOfWork(Protocol):
    @property
    def now(self) -> datetime: ...

    def quote(self, symbol: str, venue: str) -> QuoteState | None:
        """What is known of the symbol's price; None where this venue is not the reference of a defined symbol."""
        ...

    def waiting(self, symbol: str) -> QuoteState | None:
        """The quote of the symbol that is not published yet, if there is one."""
        ...

    def save(self, quote: QuoteState) -> None:
        """Keeps the quote; publishes it now, or lets a due row do so when its time has come."""
        ...

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
    ) -> None: ...
