"""When a price is too old to be trusted, and when the quotes of a symbol have stopped."""

from dataclasses import dataclass
from datetime import datetime


def is_stale(stale_after: datetime | None, now: datetime | None) -> bool:
    """`stale_after` None: there is no quote, or it is good as long as the market stands. `now` None: a replay, whose prices
    do not age."""
    return stale_after is not None and now is not None and now > stale_after


@dataclass(frozen=True, slots=True)
class LastQuote:
    """`awaited_since`: since when its exchange is open and somebody listens; None: no quote is to be expected."""

    symbol: str
    market_at: datetime
    stale_after: datetime | None
    awaited_since: datetime | None

    def has_stopped(self, now: datetime) -> bool:
        """After an opening, and after our own start, the next quote gets as long to come as a quote is trusted."""
        if self.stale_after is None or self.awaited_since is None:
            return False
        trusted_for = self.stale_after - self.market_at
        return is_stale(max(self.stale_after, self.awaited_since + trusted_for), now)

    def has_come_back(self, now: datetime) -> bool:
        return not is_stale(self.stale_after, now)
