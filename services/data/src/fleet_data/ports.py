"""What the use cases need of the world: a unit of work for instruments, for bars, for quotes."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from fleet_contracts.exchange_connector import BarValues

from .domain.bars import Series, Step
from .domain.instruments import Instrument, Terms
from .domain.quotes import QuoteState


class UnknownInstrument(LookupError):
    """exchange-connector has not told of this symbol, or of it at this venue, yet."""


class InstrumentUnitOfWork(Protocol):
    def instrument(self, symbol: str) -> Instrument: ...

    def list_at(self, instrument: Instrument, venue: str, terms: Terms) -> None:
        """Keeps the venue's terms and the instrument after them; publishes it if its version is new."""
        ...


class BarUnitOfWork(Protocol):
    """The series that a batch touches, locked. Bars are stored together at the end."""

    def add_closed(self, series: Series, venue: str, bar: BarValues, *, market_at: datetime) -> None:
        """Stores and publishes the bar, if it is new, and moves its series. Raises UnknownInstrument."""
        ...

    def add_history(self, series: Series, venue: str, bars: Sequence[BarValues], *, market_at: datetime | None) -> None:
        """Stores the bars that are not there, and passes the record on if there were any. Raises UnknownInstrument."""
        ...

    def end_step(self, step: Step) -> None:
        """Passes the step on when it is over, which may be in this transaction or in that of a later bar.

        Raises UnknownInstrument."""
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
