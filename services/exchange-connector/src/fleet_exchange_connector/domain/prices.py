"""The simulated price process: every number is a function of (seed, symbol, minute) and of the price before it.

Log returns are Student-t (five degrees of freedom: fat tails) with a volatility that switches between three regimes
and follows the hours of the day; stocks are liveliest at the open and close of New York, crypto a little by day.
Floats are statistics here; what leaves are integers: prices in ticks, quantities in lots.
"""

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from fleet_exchange_connector.domain.instruments import Instrument

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

MINUTES_A_DAY = 1440
_MINUTES_A_YEAR = 365 * MINUTES_A_DAY
_MICRO = Decimal("0.000001")

_REGIME_VOLATILITY = np.array([0.6, 1.0, 2.2])
_REGIME_WEIGHT = np.array([0.5, 0.4, 0.1])
_REGIME_LEFT = 0.015
"""Chance a minute that a regime ends: it lasts about an hour."""
_TAILS = 5
_TAIL_SCALE = float(np.sqrt((_TAILS - 2) / _TAILS))
_FARTHEST = 8.0
"""No return is further than this many standard deviations; a price moves a few percent a minute at the very most."""
_FLOOR_INCREMENTS = 100
"""A price never falls below this many increments, so that bid and ask stay above 0."""
_SIDE_FLIPS = 0.3
_LIVE, _HISTORY = 0, 1


@dataclass(frozen=True, slots=True)
class PriceState:
    """Where a price stands at the start of a minute: millionths of the quote currency, and the regime."""

    micros: int
    regime: int = 1

    @classmethod
    def of(cls, price: Decimal) -> "PriceState":
        return cls(int(price / _MICRO))


@dataclass(frozen=True, slots=True, eq=False)
class MinutePath:
    """One minute of a market in equal stretches. `last` is at the bid or at the ask; `traded` lots of public trades
    go at `last`, 0 where nothing traded, by a buyer where `is_at_ask`. `end` is where the next minute starts."""

    last: Ints
    bid: Ints
    ask: Ints
    bid_size: Ints
    ask_size: Ints
    traded: Ints
    is_at_ask: NDArray[np.bool_]
    end: PriceState


@dataclass(frozen=True, slots=True, eq=False)
class BarArrays:
    """Bars of consecutive minutes from `first_minute`: prices in ticks, volume in lots."""

    first_minute: int
    open: Ints
    high: Ints
    low: Ints
    close: Ints
    volume: Ints
    trades: Ints


@lru_cache(maxsize=64)
def minute_path(instrument: Instrument, state: PriceState, minute: int, *, seed: int, stretches: int) -> MinutePath:
    """The minute (since 1970) that follows `state`, in so many stretches."""
    random = _random(seed, instrument, _LIVE, minute)
    regime = state.regime
    if random.random() < _REGIME_LEFT:
        regime = int(random.choice(3, p=_REGIME_WEIGHT))
    activities = _activity(instrument, np.array([minute]))
    activity = float(activities[0])
    sigma = float(_minute_sigma(instrument, activities)[0] * _REGIME_VOLATILITY[regime])
    step_sigma = sigma / np.sqrt(stretches)
    increment = int(instrument.increment / _MICRO)
    path = state.micros * np.exp(np.cumsum(_returns(random, stretches) * step_sigma - step_sigma**2 / 2))
    path = np.maximum(path, _FLOOR_INCREMENTS * increment)

    ticks = int(instrument.increment / instrument.tick)
    last = np.rint(path / increment).astype(np.int64)
    narrowest = np.maximum(1, np.rint(last * instrument.spread_bps / 10_000).astype(np.int64))
    width = narrowest + random.choice(3, stretches, p=[0.6, 0.3, 0.1])
    is_at_ask = (random.integers(2) + np.cumsum(random.random(stretches) < _SIDE_FLIPS)) % 2 == 1
    bid = np.where(is_at_ask, last - width, last)
    trades_here = random.random(stretches) < min(0.9, 60 * 0.6 * activity / stretches)
    return MinutePath(
        last=last * ticks,
        bid=bid * ticks,
        ask=(bid + width) * ticks,
        bid_size=_sizes(random, instrument, stretches, 5.0),
        ask_size=_sizes(random, instrument, stretches, 5.0),
        traded=np.where(trades_here, _sizes(random, instrument, stretches, 1.0), 0),
        is_at_ask=is_at_ask,
        end=PriceState(int(np.rint(path[-1])), regime),
    )


def history(instrument: Instrument, end: PriceState, end_minute: int, *, days: int, seed: int) -> BarArrays:
    """The days of minutes before `end_minute`, drawn forwards and shifted so that they end at the price `end`."""
    count = days * MINUTES_A_DAY
    first = end_minute - count
    random = _random(seed, instrument, _HISTORY, end_minute)
    activity = _activity(instrument, np.arange(first, end_minute))
    changes = np.cumsum(random.random(count) < _REGIME_LEFT)
    regimes = random.choice(3, count + 1, p=_REGIME_WEIGHT)[changes]
    sigma = _minute_sigma(instrument, activity) * _REGIME_VOLATILITY[regimes]
    path = np.concatenate(([0.0], np.cumsum(_returns(random, count) * sigma - sigma**2 / 2)))
    path += np.log(end.micros) - path[-1]
    opened, closed = path[:-1], path[1:]
    # The extremes of a Brownian bridge from open to close (its maximum has this law exactly).
    up, down = (np.sqrt((closed - opened) ** 2 - 2 * sigma**2 * np.log(1 - random.random(count))) for _ in range(2))
    increment = int(instrument.increment / _MICRO)
    ticks = int(instrument.increment / instrument.tick)

    def grid(logarithm: Floats) -> Ints:
        return np.maximum(_FLOOR_INCREMENTS, np.rint(np.exp(logarithm) / increment).astype(np.int64)) * ticks

    trades = random.poisson(60 * 0.6 * activity)
    return BarArrays(
        first_minute=first,
        open=grid(opened),
        high=grid((opened + closed + up) / 2),
        low=grid((opened + closed - down) / 2),
        close=grid(closed),
        volume=trades * _sizes(random, instrument, count, 1.0),
        trades=trades.astype(np.int64),
    )


def _random(seed: int, instrument: Instrument, purpose: int, minute: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, crc32(instrument.symbol.encode()), purpose, minute]))


def _returns(random: np.random.Generator, count: int) -> Floats:
    """Of mean 0 and standard deviation 1."""
    return np.clip(random.standard_t(_TAILS, count) * _TAIL_SCALE, -_FARTHEST, _FARTHEST)


def _minute_sigma(instrument: Instrument, activity: Floats) -> Floats:
    return np.sqrt(activity / _MINUTES_A_YEAR) * instrument.volatility


def _activity(instrument: Instrument, minutes: Ints) -> Floats:
    """How lively each minute is, about 1 on average: a U over New York's hours for stocks, a wave for crypto."""
    of_day = minutes % MINUTES_A_DAY
    if not instrument.is_stock:
        return 1.0 + 0.4 * np.sin(2 * np.pi * (of_day - 480) / MINUTES_A_DAY)
    opens, closes = 14 * 60 + 30, 21 * 60
    place = (2 * of_day - opens - closes) / (closes - opens)
    return np.where(np.abs(place) <= 1, 1.4 + 1.4 * place**2, 0.7)


def _sizes(random: np.random.Generator, instrument: Instrument, count: int, factor: float) -> Ints:
    drawn = random.lognormal(np.log(instrument.trade_lots * factor), 0.7, count)
    return np.maximum(1, np.rint(drawn)).astype(np.int64)
