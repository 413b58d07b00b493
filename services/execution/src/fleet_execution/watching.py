"""Prices as this process sees them, and the orders that wait for one: who is triggered is told to a transaction."""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from fleet_bus import GroupCommitter, Received
from fleet_bus import Watch as Subscription
from fleet_bus.failures import Streak, is_down
from fleet_chassis.clock import Clock
from fleet_chassis.logging import get_logger
from fleet_contracts.exchange_connector import Quote, Trade
from fleet_contracts.topics import EXCHANGE_CONNECTOR_MARKET_DATA

from .domain import Prices, VenueOrder
from .domain.triggers import LIFETIME, Watch, marked, since
from .service.triggers import Look

log = get_logger("fleet_execution")

READ_S = 0.25
"""So often the orders under watch are read; a new one is shown the prices of that time too."""
LEAST_REST = 20
"""Reading takes one part in so many of the time, however many orders wait: up to where it is read once in MOST_READ_S, which
holds on a slow machine too."""
MOST_READ_S = 1.0
AGAIN = timedelta(seconds=1)
"""Between two tries to place what may not go now, and between two times that a best price is written: not a row a quote."""
MOST_TOLD = 1_000
"""At once: a price may trigger more orders than the committer lets wait."""
MOST_PRICES = 1_000
"""Kept of a symbol for orders that are new: 5 s of 200 a second."""

_Market = tuple[str, str]


@dataclass(slots=True)
class _Waiting:
    """`election`: prices that trigger it and are not told yet. `told_at`: when a transaction has heard of it last."""

    watch: Watch
    election: Prices | None = None
    told_at: datetime | None = None

    @property
    def look(self) -> Look:
        return Look(self.watch.order.key.ref, self.watch.since, self.watch.mark, self.election)


@dataclass(slots=True)
class PriceWatch:
    """The memory is a cache: a restart reads it from the rows, with the best prices that these have."""

    clock: Clock
    read: Callable[[], Awaitable[Sequence[VenueOrder]]]
    committer: GroupCommitter[Look, None]
    _waiting: dict[UUID, _Waiting] = field(default_factory=dict)
    _by_market: dict[_Market, list[_Waiting]] = field(default_factory=dict)
    _seen: dict[_Market, deque[Prices]] = field(default_factory=dict)
    _woken: asyncio.Event = field(default_factory=asyncio.Event)
    _failures: Streak = field(default_factory=lambda: Streak(first_s=READ_S, most_s=1.0))

    def subscription(self) -> Subscription:
        return Subscription("prices", (EXCHANGE_CONNECTOR_MARKET_DATA,), self.take)

    def take(self, received: Received[Quote | Trade]) -> None:
        """Prices that are old, go back in time or cross each other trigger nothing."""
        said = received.message
        prices, market = _prices(said), (said.venue, said.symbol)
        seen = self._seen.setdefault(market, deque(maxlen=MOST_PRICES))
        is_crossed = prices.bid is not None and prices.ask is not None and prices.bid > prices.ask
        if is_crossed or not self._is_fresh(prices) or (seen and prices.at < seen[-1].at):
            return
        while seen and seen[0].at < prices.at - LIFETIME:
            seen.popleft()
        seen.append(prices)
        for waiting in self._by_market.get(market, ()):
            self._show(waiting, prices)

    def bid(self, venue: str, symbol: str) -> Decimal | None:
        """The last that it has seen, however old; None for none."""
        seen = self._seen.get((venue, symbol))
        return seen[-1].bid if seen else None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._woken.clear()
            started = time.perf_counter()
            try:
                await self._tell()
                self._follow(await self.read())
                pause_s = min(max(READ_S, LEAST_REST * (time.perf_counter() - started)), MOST_READ_S)
                if self._failures.ended():
                    log.info("watch_goes_on")
            except Exception as error:
                # Nothing is lost: orders are read from their rows again, and what triggered one is told while it is fresh.
                pause_s, is_told = self._failures.failed()
                if is_told:
                    log.warning("watch_waits", error=repr(error), exc_info=not is_down(error))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._woken.wait()

    async def _tell(self) -> None:
        """Who is triggered, before the best prices that rows do not know yet."""
        found = sorted(filter(self._has_news, self._waiting.values()), key=lambda waiting: waiting.election is None)
        for first in range(0, len(found), MOST_TOLD):
            await self._tell_of(found[first : first + MOST_TOLD])

    async def _tell_of(self, found: Sequence[_Waiting]) -> None:
        looks = [waiting.look for waiting in found]
        await self.committer.submit_all(looks)
        for waiting, told in zip(found, looks, strict=True):
            waiting.told_at = self.clock.now()
            # Not placed, it waits for a price that comes later, which one that came meanwhile is.
            if waiting.election is told.prices:
                waiting.election = None

    def _has_news(self, waiting: _Waiting) -> bool:
        if waiting.election is not None and not self._is_fresh(waiting.election):
            waiting.election = None
        return waiting.election is not None or (waiting.watch.has_moved and self._is_due(waiting))

    def _follow(self, orders: Sequence[VenueOrder]) -> None:
        """The rows as they are; what is new among them is shown what came after it, and what stood then."""
        before, self._waiting, self._by_market = self._waiting, {}, {}
        for order in orders:
            known = before.get(order.key.ref)
            if known is None or known.watch.since != since(order):
                known = _Waiting(Watch.of(order if known is None else marked(order, known.watch.mark)))
                for prices in self._seen_by(order):
                    self._show(known, prices)
            known.watch.order = order
            self._waiting[order.key.ref] = known
            self._by_market.setdefault((order.key.venue, order.key.symbol), []).append(known)

    def _seen_by(self, order: VenueOrder) -> Iterator[Prices]:
        seen, began = self._seen.get((order.key.venue, order.key.symbol), ()), since(order)
        standing = [prices for prices in seen if began - LIFETIME < prices.at <= began]
        yield from standing[-1:]
        yield from (prices for prices in seen if prices.at > began)

    def _show(self, waiting: _Waiting, prices: Prices) -> None:
        if waiting.watch.look(prices) is not None and waiting.election is None and self._is_due(waiting):
            waiting.election = prices
            self._woken.set()

    def _is_fresh(self, prices: Prices) -> bool:
        return prices.at > self.clock.now() - LIFETIME

    def _is_due(self, waiting: _Waiting) -> bool:
        return waiting.told_at is None or waiting.told_at + AGAIN <= self.clock.now()


def _prices(said: Quote | Trade) -> Prices:
    if isinstance(said, Trade):
        return Prices(said.market_at, said.price, said.price)
    return Prices(said.market_at, said.bid or None, said.ask or None)
