"""The newest quote of each symbol and venue, and until when it may be trusted."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from functools import partial

from fleet_chassis.clock import Clock
from fleet_contracts.data import BestQuote
from fleet_contracts.exchange_connector import Quote, Trade

from .books import BookTop
from .updates import market_version, quote_text

Text = Callable[[], bytes]
"""Encodes what is to be told, once, if anybody wants it."""


@dataclass(slots=True)
class _Shown:
    quote: Quote | BestQuote | BookTop
    last: Decimal | None
    version: int
    trusted_for: timedelta | None = None
    """None: as long as the market stands, or no delta of its book is missing."""
    is_told_stale: bool = False


class Quotes:
    """What is shown of each symbol. The connector's quotes and data's best quotes tell the same, in either order: the first
    of a moment is told. How long a price is trusted, data alone says, for both."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._shown: dict[str, dict[str, _Shown]] = {}
        self._last: dict[tuple[str, str], Decimal] = {}

    def take_trade(self, trade: Trade) -> None:
        self._last[trade.symbol, trade.venue] = trade.price

    def take(self, quote: Quote | BestQuote) -> Text | None:
        """What is to be told; None of a quote that is not newer than the one shown."""
        venues = self._shown.setdefault(quote.symbol, {})
        before = venues.get(quote.venue)
        if isinstance(quote, BestQuote):
            self._last[quote.symbol, quote.venue] = quote.last
            trusted_for = None if quote.stale_after is None else quote.stale_after - quote.market_at
        else:
            trusted_for = None if before is None else before.trusted_for
        if before is not None and quote.market_at <= before.quote.market_at:
            before.trusted_for = trusted_for
            return None
        last, version = self._last.get((quote.symbol, quote.venue)), market_version(quote.market_at)
        shown = venues[quote.venue] = _Shown(quote, last, version, trusted_for)
        # One that was long under way is told as what it is.
        shown.is_told_stale = self._is_stale(shown)
        return _text(shown)

    def take_top(self, top: BookTop) -> Text | None:
        """What is to be told of a book; None where the best prices are what they were."""
        venues = self._shown.setdefault(top.symbol, {})
        before, version = venues.get(top.venue), market_version(top.market_at)
        if before is None:
            if top.bid is None and top.ask is None:
                return None
        else:
            was = before.quote
            if (was.bid, was.bid_size, was.ask, was.ask_size) == top.prices and not before.is_told_stale:
                return None
            # A book may change several times within a moment; the version between is that of the same, stale.
            version = max(version, before.version + 2)
        shown = venues[top.venue] = _Shown(top, self._last.get((top.symbol, top.venue)), version)
        return _text(shown)

    def distrust(self, symbol: str, venue: str) -> Text | None:
        """What is to be told of a book of which something is missing."""
        shown = self._shown.get(symbol, {}).get(venue)
        if shown is None or shown.is_told_stale:
            return None
        shown.is_told_stale = True
        return _text(shown)

    def shown(self, symbol: str) -> Iterator[bytes]:
        """For who begins to watch, as those who watch already have been told: ask for `fallen_stale` first."""
        for shown in self._shown.get(symbol, {}).values():
            yield _text(shown)()

    def fallen_stale(self, symbol: str) -> Iterator[Text]:
        """What is to be told of quotes whose source has fallen silent, once each."""
        for shown in self._shown.get(symbol, {}).values():
            if not shown.is_told_stale and self._is_stale(shown):
                shown.is_told_stale = True
                yield _text(shown)

    def _is_stale(self, shown: _Shown) -> bool:
        return shown.trusted_for is not None and shown.quote.market_at + shown.trusted_for <= self._clock.now()


def _text(shown: _Shown) -> Text:
    return partial(quote_text, shown.quote, shown.last, version=shown.version, stale=shown.is_told_stale)
