"""The best quote of a symbol: what is known of it, and when it may be sent."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

SPACING = timedelta(milliseconds=100)
"""At most ten a second a symbol: enough for people and risk checks, whatever a venue sends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteState:
    """`is_sent` False: the latest is not published yet; a due row will, SPACING after `sent_at`."""

    symbol: str
    bid: Decimal | None = None
    bid_size: Decimal | None = None
    ask: Decimal | None = None
    ask_size: Decimal | None = None
    last: Decimal | None = None
    market_at: datetime | None = None
    sent_at: datetime | None = None
    is_sent: bool = True

    def quoted(
        self, bid: Decimal, bid_size: Decimal, ask: Decimal, ask_size: Decimal, market_at: datetime
    ) -> "QuoteState":
        """After a quote; an older one than what is known changes nothing."""
        if self.market_at is not None and market_at < self.market_at:
            return self
        return replace(
            self,
            bid=bid,
            bid_size=bid_size,
            ask=ask,
            ask_size=ask_size,
            last=bid if self.last is None else self.last,
            market_at=market_at,
            is_sent=False,
        )

    def traded(self, price: Decimal) -> "QuoteState":
        """After a print of the market; the quote itself gets no younger by it."""
        return self if price == self.last else replace(self, last=price, is_sent=self.bid is None)

    def closed(self, price: Decimal, close_at: datetime) -> "QuoteState":
        """After a bar of a replay, whose close is all that is known of the market then. Sizes are not known."""
        if self.market_at is not None and close_at < self.market_at:
            return self
        nothing = Decimal(0)
        return replace(
            self,
            bid=price,
            bid_size=nothing,
            ask=price,
            ask_size=nothing,
            last=price,
            market_at=close_at,
            is_sent=False,
        )

    def may_be_sent_at(self) -> datetime | None:
        """None: at once."""
        return None if self.sent_at is None else self.sent_at + SPACING

    def sent(self, now: datetime) -> "QuoteState":
        return replace(self, sent_at=now, is_sent=True)
