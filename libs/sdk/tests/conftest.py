"""Real daily bars of the package bokeh-sampledata, as the demo replays them."""

import csv
import gzip
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import bokeh_sampledata
import pytest
from fleet_sdk.bars import Bar


@pytest.fixture(scope="session")
def stock_bars() -> list[Bar]:
    path = Path(bokeh_sampledata.__file__).parent / "_data" / "stocks.csv.gz"
    with gzip.open(path, "rt", newline="") as file:
        return [
            Bar(
                symbol=f"{row['Ticker']}/USD",
                open_at=day + timedelta(hours=14, minutes=30),
                close_at=day + timedelta(hours=21),
                open=Decimal(row["Open"]),
                high=Decimal(row["High"]),
                low=Decimal(row["Low"]),
                close=Decimal(row["Close"]),
                volume=Decimal(row["Volume"]),
            )
            for row in csv.DictReader(file)
            if (day := datetime.fromisoformat(row["Date"]).replace(tzinfo=UTC)) >= datetime(2011, 3, 1, tzinfo=UTC)
        ]
