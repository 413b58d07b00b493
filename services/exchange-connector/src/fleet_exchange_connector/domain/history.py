"""The simulated market's past: days of minute bars, cut into records, the newest day first."""

from functools import lru_cache

from fleet_exchange_connector.domain.bars import Bar
from fleet_exchange_connector.domain.instruments import Instrument
from fleet_exchange_connector.domain.market import Market
from fleet_exchange_connector.domain.prices import MINUTES_A_DAY, BarArrays, PriceState, history
from fleet_exchange_connector.domain.times import minute_start


def records(market: Market, days: int) -> int:
    """How many there are: one of each symbol and day, of 1,440 bars."""
    return days * len(market.instruments)


def record(market: Market, first_prices: dict[str, PriceState], number: int, days: int) -> tuple[Bar, ...]:
    """The bars of a record, oldest first; they end at the price with which the market opened."""
    symbols = sorted(market.instruments)
    days_back, place = divmod(number, len(symbols))
    symbol = symbols[place]
    instrument = market.instruments[symbol]
    past = _past(instrument, first_prices[symbol], market.first_minute, days, market.seed)
    end = (days - days_back) * MINUTES_A_DAY
    return tuple(_bar(instrument, past, n) for n in range(end - MINUTES_A_DAY, end))


# One entry of each symbol: about 2 MB each, for as long as history is being sent.
@lru_cache(maxsize=8)
def _past(instrument: Instrument, end: PriceState, end_minute: int, days: int, seed: int) -> BarArrays:
    return history(instrument, end, end_minute, days=days, seed=seed)


def forget() -> None:
    """Gives the memory back once all is sent."""
    _past.cache_clear()


def _bar(instrument: Instrument, past: BarArrays, n: int) -> Bar:
    scale = instrument.scale
    minute = past.first_minute + n
    return Bar(
        symbol=instrument.symbol,
        open_at=minute_start(minute),
        close_at=minute_start(minute + 1),
        open=scale.price(int(past.open[n])),
        high=scale.price(int(past.high[n])),
        low=scale.price(int(past.low[n])),
        close=scale.price(int(past.close[n])),
        volume=scale.quantity(int(past.volume[n])),
        trades=int(past.trades[n]),
    )
