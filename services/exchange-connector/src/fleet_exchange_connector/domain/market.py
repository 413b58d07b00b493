"""The simulated market as a whole: which minute its stored prices belong to, whether it moves, what it quotes when.

Between two stored minutes every quote follows from the row, so that each process that reads it sees the same market.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np

from fleet_exchange_connector.domain.bars import Bar
from fleet_exchange_connector.domain.instruments import Instrument
from fleet_exchange_connector.domain.prices import Ints, MinutePath, PriceState, minute_path
from fleet_exchange_connector.domain.reach import Bools
from fleet_exchange_connector.domain.times import MINUTE, minute_of, minute_start


class FeedNotPaused(Exception):
    """Only a paused feed can be stepped."""


class Quote(NamedTuple):
    """In ticks and lots; `quoted_at` is when it was first said."""

    quoted_at: datetime
    bid: int
    bid_size: int
    ask: int
    ask_size: int


class PublicTrade(NamedTuple):
    """In ticks and lots."""

    price: int
    quantity: int
    is_buyer: bool


@dataclass(frozen=True, slots=True)
class ClosedMinute:
    """What the market said of one minute, at its end."""

    step: int
    market_at: datetime
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Market:
    """`prices` are those at the start of `minute`, which is the next to be closed; `first_minute` is where history ends.
    `prices_before` are those of the minute before, None where that was not traded.

    While `is_paused` nothing is quoted but by a step, of which `rounds` is the number and `shown_at` the last one's
    time. `resumed_at` is since when it has moved. `history_next` is the next record of history to be sent."""

    instruments: Mapping[str, Instrument]
    seed: int
    stretches: int
    first_minute: int
    minute: int
    step: int
    prices: Mapping[str, PriceState]
    resumed_at: datetime
    is_paused: bool = False
    rounds: int = 0
    shown_at: datetime | None = None
    history_next: int | None = None
    prices_before: Mapping[str, PriceState] | None = None

    @property
    def stretch(self) -> timedelta:
        """How long one quote stands."""
        return MINUTE / self.stretches

    @property
    def closes_at(self) -> datetime:
        """When the minute that is to be closed ends."""
        return minute_start(self.minute + 1)

    def quote(self, symbol: str, at: datetime) -> Quote | None:
        """What stands at that time; None where the stored prices are too old to tell."""
        path = self._path(symbol, minute_of(at))
        if path is None:
            return None
        n = self._stretch_of(at)
        return self._quote(path, minute_of(at), n)

    def public_trade(self, symbol: str, at: datetime) -> PublicTrade | None:
        """What was traded in the stretch of that time, if anything was."""
        path = self._path(symbol, minute_of(at))
        n = self._stretch_of(at)
        if path is None or not path.traded[n]:
            return None
        return PublicTrade(int(path.last[n]), int(path.traded[n]), bool(path.is_at_ask[n]))

    def said(self, symbol: str, at: datetime) -> Quote | None:
        """What stood at that time, if the market moved then; None as well while it is paused."""
        return None if self.is_paused or at < self.resumed_at else self.quote(symbol, at)

    def first_quote(
        self, symbol: str, wanted: Callable[[Ints, Ints], Bools], *, after: datetime, until: datetime
    ) -> Quote | None:
        """The first quote said after `after`, up to `until`, that is wanted; `wanted` is asked of consecutive ones, of
        their bids and asks."""
        found = [*self._stretches(symbol, after, until)]
        if not found:
            return None
        bid = np.concatenate([path.bid[places] for _, path, places in found])
        ask = np.concatenate([path.ask[places] for _, path, places in found])
        is_wanted = wanted(bid, ask)
        place = int(np.argmax(is_wanted))
        if not is_wanted[place]:
            return None
        for minute, path, places in found:
            n = places.start + place
            if n < places.stop:
                return self._quote(path, minute, n)
            place -= places.stop - places.start
        raise AssertionError("a place is in one of the minutes")

    @property
    def horizon(self) -> datetime:
        """Up to when quotes can be told from the stored prices."""
        return minute_start(self.minute + 2)

    def close_minute(self, now: datetime) -> "tuple[ClosedMinute, Market]":
        """The bars of the minute, and the market in the minute after it, or in the present one if time was lost."""
        paths = {symbol: self._path_of(symbol, self.prices[symbol], self.minute) for symbol in sorted(self.prices)}
        closed = ClosedMinute(
            self.step + 1, self.closes_at, tuple(self._bar(symbol, path) for symbol, path in paths.items())
        )
        after = replace(
            self,
            minute=max(self.minute + 1, minute_of(now)),
            step=self.step + 1,
            prices={symbol: path.end for symbol, path in paths.items()},
        )
        is_next = after.minute == self.minute + 1
        return closed, replace(after, prices_before=self.prices if is_next else None)

    def pause(self) -> "Market":
        return self if self.is_paused else replace(self, is_paused=True, shown_at=None)

    def resume(self, now: datetime) -> "Market":
        return replace(self, is_paused=False, resumed_at=now, shown_at=None) if self.is_paused else self

    def show_step(self, now: datetime) -> "tuple[ClosedMinute | None, Market]":
        """One round of quotes while paused, and the bars of the stored minute if it is over."""
        if not self.is_paused:
            raise FeedNotPaused
        closed, after = self.close_minute(now) if now >= self.closes_at else (None, self)
        return closed, replace(after, rounds=after.rounds + 1, shown_at=now)

    def _path(self, symbol: str, minute: int) -> MinutePath | None:
        """Of the stored minute, of the one before it, or of the one after it while that is not stored yet."""
        if minute == self.minute - 1 and self.prices_before is not None:
            return self._path_of(symbol, self.prices_before[symbol], minute)
        if minute not in (self.minute, self.minute + 1):
            return None
        path = self._path_of(symbol, self.prices[symbol], self.minute)
        return path if minute == self.minute else self._path_of(symbol, path.end, minute)

    def _path_of(self, symbol: str, state: PriceState, minute: int) -> MinutePath:
        return minute_path(self.instruments[symbol], state, minute, seed=self.seed, stretches=self.stretches)

    def _stretch_of(self, at: datetime) -> int:
        return min((at - minute_start(minute_of(at))) // self.stretch, self.stretches - 1)

    def _quote(self, path: MinutePath, minute: int, n: int) -> Quote:
        return Quote(
            minute_start(minute) + n * self.stretch,
            int(path.bid[n]),
            int(path.bid_size[n]),
            int(path.ask[n]),
            int(path.ask_size[n]),
        )

    def _stretches(self, symbol: str, after: datetime, until: datetime) -> Iterator[tuple[int, MinutePath, slice]]:
        """The places in each minute's path that begin after `after`, up to `until`."""
        for minute in (self.minute - 1, self.minute, self.minute + 1):
            start = minute_start(minute)
            first = 0 if after < start else (after - start) // self.stretch + 1
            last = min((until - start) // self.stretch, self.stretches - 1)
            path = self._path(symbol, minute) if first <= last else None
            if path is not None:
                yield minute, path, slice(first, last + 1)

    def _bar(self, symbol: str, path: MinutePath) -> Bar:
        scale = self.instruments[symbol].scale
        return Bar(
            symbol=symbol,
            open_at=minute_start(self.minute),
            close_at=self.closes_at,
            open=scale.price(int(path.last[0])),
            high=scale.price(int(path.last.max())),
            low=scale.price(int(path.last.min())),
            close=scale.price(int(path.last[-1])),
            volume=scale.quantity(int(path.traded.sum())),
            trades=int(np.count_nonzero(path.traded)),
        )
