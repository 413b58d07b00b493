"""The bars of the demo as the package has them, read apart from the fleet, which reads them too."""

import csv
import gzip
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.resources import files
from zoneinfo import ZoneInfo

from fleet_sdk.bars import Bar

from .scenario import END, START, SYMBOLS

_NEW_YORK = ZoneInfo("America/New_York")
_OPENS, _CLOSES = time(9, 30), time(16)


def packaged_bars(start: datetime = START, end: datetime = END) -> list[Bar]:
    """The daily bars of the demo's symbols that open in [start, end)."""
    with files("bokeh_sampledata").joinpath("_data/stocks.csv.gz").open("rb") as packed:
        rows = gzip.decompress(packed.read()).decode("ascii").splitlines()
    found = [_bar(row) for row in csv.DictReader(rows) if f"{row['Ticker']}/USD" in SYMBOLS]
    return [bar for bar in found if start <= bar.open_at < end]


def _bar(row: dict[str, str]) -> Bar:
    day = date.fromisoformat(row["Date"])
    return Bar(
        symbol=f"{row['Ticker']}/USD",
        open_at=datetime.combine(day, _OPENS, _NEW_YORK).astimezone(UTC),
        close_at=datetime.combine(day, _CLOSES, _NEW_YORK).astimezone(UTC),
        open=Decimal(row["Open"]),
        high=Decimal(row["High"]),
        low=Decimal(row["Low"]),
        close=Decimal(row["Close"]),
        volume=Decimal(row["Volume"]),
    )
