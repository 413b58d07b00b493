"""Bars as strategies see them, and steps: all bars of one market time."""

from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal
from itertools import groupby

import msgspec


class Bar(msgspec.Struct, frozen=True, kw_only=True):
    """One bar of one symbol: what was traded in [open_at, close_at). Times are aware UTC."""

    symbol: str
    open_at: datetime
    close_at: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal

    @property
    def available_at(self) -> datetime:
        """The market time from which a strategy may see it: its close."""
        return self.close_at


class Step(msgspec.Struct, frozen=True):
    """All bars of one market time, in alphabetical order of their symbols."""

    market_at: datetime
    bars: tuple[Bar, ...]


def steps(bars: Iterable[Bar]) -> Iterator[Step]:
    """Groups bars, in any order, into steps by their close, in order of time."""
    ordered = sorted(bars, key=lambda bar: (bar.close_at, bar.symbol))
    for market_at, found in groupby(ordered, key=lambda bar: bar.close_at):
        yield Step(market_at, tuple(found))
