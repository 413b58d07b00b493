"""The real daily bars, from the packaged history; read with the standard library (its own module would import pandas)."""

import csv
import gzip
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TextIO, cast

from fleet_exchange_connector.domain.bars import NEW_YORK, Bar
from fleet_exchange_connector.domain.instruments import STOCKS, Instrument
from fleet_exchange_connector.domain.prices import PriceState

FIRST, LAST = date(2011, 3, 1), date(2013, 3, 1)
"""The range that is offered: in it no price has more than four decimals and no stock was split."""
_OPENS, _CLOSES = time(9, 30), time(16)


@cache
def stock_bars() -> MappingProxyType[str, tuple[Bar, ...]]:
    """By symbol, oldest first: prices as they were traded, not adjusted for later splits and dividends."""
    found: dict[str, list[Bar]] = {stock.symbol: [] for stock in STOCKS}
    package = files("bokeh_sampledata").joinpath("_data/stocks.csv.gz")
    with package.open("rb") as packed, gzip.open(packed, "rt", encoding="ascii", newline="") as text:
        for row in csv.DictReader(cast(TextIO, text)):
            symbol, day = f"{row['Ticker']}/USD", date.fromisoformat(row["Date"])
            if symbol in found and FIRST <= day <= LAST:
                found[symbol].append(_bar(symbol, day, row))
    return MappingProxyType({symbol: tuple(sorted(bars, key=lambda b: b.open_at)) for symbol, bars in found.items()})


def first_prices(instruments: Mapping[str, Instrument]) -> dict[str, PriceState]:
    """Where the simulated market opened: at a stock's last real close, else at the instrument's own first price."""
    bars = stock_bars()
    return {
        symbol: PriceState.of(instrument.first_price or bars[symbol][-1].close)
        for symbol, instrument in instruments.items()
    }


def _bar(symbol: str, day: date, row: dict[str, str]) -> Bar:
    return Bar(
        symbol=symbol,
        open_at=datetime.combine(day, _OPENS, NEW_YORK).astimezone(UTC),
        close_at=datetime.combine(day, _CLOSES, NEW_YORK).astimezone(UTC),
        open=Decimal(row["Open"]),
        high=Decimal(row["High"]),
        low=Decimal(row["Low"]),
        close=Decimal(row["Close"]),
        volume=Decimal(row["Volume"]),
    )
