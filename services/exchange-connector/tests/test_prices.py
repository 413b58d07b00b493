"""The simulated price process: plausible, never at or below 0, and the same for the same seed and time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import numpy as np
from fleet_exchange_connector.domain import history
from fleet_exchange_connector.domain.instruments import CRYPTO, STOCKS, Instrument, offered
from fleet_exchange_connector.domain.market import Market
from fleet_exchange_connector.domain.prices import PriceState, minute_path
from fleet_exchange_connector.domain.times import minute_of, minute_start
from fleet_exchange_connector.store.stocks import first_prices
from hypothesis import given
from hypothesis import strategies as st

ALL = (*STOCKS, *CRYPTO)
OPENED = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def a_market(seed: int = 7, at: datetime = OPENED) -> Market:
    instruments = offered("simulated")
    return Market(
        instruments=instruments,
        seed=seed,
        stretches=150,
        first_minute=minute_of(at),
        minute=minute_of(at),
        step=0,
        prices=first_prices(instruments),
        resumed_at=at,
    )


@given(
    instrument=st.sampled_from(ALL),
    price=st.decimals("0.01", "200000", places=2),
    regime=st.integers(0, 2),
    minute=st.integers(0, 40_000_000),
    seed=st.integers(0, 2**32),
)
def test_every_minute_is_plausible(instrument: Instrument, price: Decimal, regime: int, minute: int, seed: int) -> None:
    state = PriceState(int(price * 1_000_000), regime)
    path = minute_path(instrument, state, minute, seed=seed, stretches=60)
    assert path.bid.min() > 0
    assert (path.bid < path.ask).all()
    assert (path.bid <= path.last).all() and (path.last <= path.ask).all()
    assert path.bid_size.min() > 0 and path.ask_size.min() > 0
    assert path.traded.min() >= 0
    assert path.end.micros > 0
    minute_path.cache_clear()
    again = minute_path(instrument, state, minute, seed=seed, stretches=60)
    assert again is not path
    assert (again.bid == path.bid).all() and again.end == path.end
    other = minute_path(instrument, state, minute, seed=seed + 1, stretches=60)
    assert other.end != path.end or (other.traded != path.traded).any()


def test_spreads_are_a_few_increments_of_a_stock() -> None:
    market = a_market()
    for stock in STOCKS:
        path = minute_path(stock, market.prices[stock.symbol], market.minute, seed=1, stretches=150)
        cents = (path.ask - path.bid) // int(stock.increment / stock.tick)
        assert min(cents) >= 1 and max(cents) <= 8


def test_history_is_a_month_that_ends_where_the_market_opens() -> None:
    market, days = a_market(), 30
    prices = dict(market.prices)
    count = history.records(market, days)
    assert count == 210
    newest = {record[0].symbol: record for record in (history.record(market, prices, n, days) for n in range(7))}
    oldest = {record[0].symbol: record for record in (history.record(market, prices, n, days) for n in range(203, 210))}
    assert set(newest) == set(oldest) == set(market.instruments)
    for symbol, bars in newest.items():
        assert len(bars) == 1440
        assert bars[-1].close_at == minute_start(market.first_minute)
        first = market.prices[symbol].micros
        assert abs(bars[-1].close * 1_000_000 - first) <= 5_000, "within half a cent of the opening price"
        assert oldest[symbol][0].open_at == bars[-1].close_at - timedelta(days=30)
        for bar, following in pairwise(bars):
            assert bar.close_at == following.open_at
            assert bar.close == following.open
            assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
            assert (bar.volume == 0) == (bar.trades == 0)
    history.forget()
    assert history.record(market, prices, 3, days) == newest[history.record(market, prices, 3, days)[0].symbol]


def test_volatility_has_regimes_and_volume_follows_the_hours() -> None:
    market = a_market()
    bars = [bar for n in range(0, 210, 7) for bar in history.record(market, dict(market.prices), n, 30)]
    returns = np.diff(np.log([float(bar.close) for bar in sorted(bars, key=lambda b: b.open_at)]))
    size = np.abs(returns)
    assert np.corrcoef(size[:-1], size[1:])[0, 1] > 0.05, "large moves follow large moves"
    kurtosis = float(np.mean(returns**4) / np.mean(returns**2) ** 2)
    assert kurtosis > 4, "tails are fatter than normal"
    at_open = [bar.volume for bar in bars if (bar.open_at.hour, bar.open_at.minute // 30) == (14, 1)]
    at_night = [bar.volume for bar in bars if bar.open_at.hour == 3]
    assert sum(at_open) / len(at_open) > 1.5 * float(sum(at_night) / len(at_night))


def test_the_minute_after_the_stored_one_is_the_one_that_will_be_stored() -> None:
    market = a_market()
    following = OPENED + timedelta(seconds=61)
    ahead = {symbol: market.quote(symbol, following) for symbol in market.prices}
    _, stored = market.close_minute(OPENED + timedelta(minutes=1))
    assert {symbol: stored.quote(symbol, following) for symbol in market.prices} == ahead
    assert market.quote("AAPL/USD", OPENED + timedelta(minutes=2)) is None, "too far from the stored prices to tell"


def test_a_minute_closes_with_the_bars_of_its_quotes() -> None:
    market = a_market()
    closed, after = market.close_minute(OPENED + timedelta(minutes=1))
    assert (closed.step, closed.market_at) == (1, OPENED + timedelta(minutes=1))
    assert [bar.symbol for bar in closed.bars] == sorted(market.instruments)
    scale = market.instruments["AAPL/USD"].scale
    for bar in closed.bars:
        assert bar.low <= bar.open <= bar.high and bar.low <= bar.close <= bar.high
    quotes = [market.quote("AAPL/USD", OPENED + n * market.stretch) for n in range(150)]
    assert max(scale.price(q.ask) for q in quotes if q) >= closed.bars[0].high
    assert min(scale.price(q.bid) for q in quotes if q) <= closed.bars[0].low
    assert (after.minute, after.step) == (market.minute + 1, 1)


def test_a_market_that_was_away_goes_on_from_its_stored_price() -> None:
    market = a_market()
    back = OPENED + timedelta(hours=3)
    closed, after = market.close_minute(back)
    assert closed.market_at == OPENED + timedelta(minutes=1)
    assert after.minute == minute_of(back)
    quote = after.quote("BTC/USD", back)
    assert quote is not None
    was = closed.bars[1].close
    assert abs(after.instruments["BTC/USD"].scale.price(quote.bid) / was - 1) < Decimal("0.01")


@given(ask=st.integers(-300, 300), bid=st.integers(-300, 300), first=st.integers(0, 280), last=st.integers(0, 299))
def test_the_first_quote_wanted_is_the_one_that_looking_at_every_quote_finds(
    ask: int, bid: int, first: int, last: int
) -> None:
    market = a_market()
    opening = market.quote("AAPL/USD", OPENED)
    assert opening is not None
    ask_at_most, bid_at_least = opening.ask + ask * 100, opening.bid + bid * 100
    after, until = OPENED + first * market.stretch, OPENED + last * market.stretch
    found = market.first_quote(
        "AAPL/USD", lambda bids, asks: (asks <= ask_at_most) | (bids >= bid_at_least), after=after, until=until
    )
    naive = None
    for n in range(first + 1, last + 1):
        quote = market.quote("AAPL/USD", OPENED + n * market.stretch)
        if quote is not None and (quote.ask <= ask_at_most or quote.bid >= bid_at_least):
            naive = quote
            break
    assert found == naive


def test_time_without_a_feed_is_not_looked_at() -> None:
    market = replace(a_market(), is_paused=True)
    resumed = market.resume(OPENED + timedelta(minutes=5))
    assert not resumed.is_paused
    assert resumed.resumed_at == OPENED + timedelta(minutes=5)
    assert resumed.resume(OPENED) is resumed
