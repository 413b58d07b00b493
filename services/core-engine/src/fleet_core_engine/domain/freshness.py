"""When a price is too old to be trusted."""

from datetime import datetime


def is_stale(stale_after: datetime | None, now: datetime | None) -> bool:
    """`stale_after` None: there is no quote, or it is good as long as the market stands. `now` None: a replay, whose prices
    do not age."""
    return stale_after is not None and now is not None and now > stale_after
