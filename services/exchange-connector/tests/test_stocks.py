"""The packaged history, and the steps a replay makes of it."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from uuid import uuid4

import pytest
from fleet_exchange_connector.domain.bars import as_instant, steps
from fleet_exchange_connector.domain.instruments import STOCKS
from fleet_exchange_connector.domain.replays import (
    MarketTimePast,
    NoBars,
    Phase,
    Replay,
    ReplayRunning,
    ReplayStatus,
    check_start,
)
from fleet_exchange_connector.store.stocks import stock_bars

SYMBOLS = tuple(stock.symbol for stock in STOCKS)
START, END = as_instant(date(2011, 3, 1)), as_instant(date(2013, 3, 2))


def test_the_real_bars_are_all_there_and_exact() -> None:
    bars = stock_bars()
    assert {symbol: len(found) for symbol, found in bars.items()} == {
        "AAPL/USD": 504,
        "FB/USD": 196,
        "GOOG/USD": 504,
        "IBM/USD": 504,
        "MSFT/USD": 504,
    }
    first = bars["AAPL/USD"][0]
    assert (first.open, first.high, first.low, first.close) == tuple(
        map(Decimal, ("355.47", "355.72", "347.681", "349.31"))
    )
    assert first.volume == 16_290_600
    assert (first.open_at, first.close_at) == (
        datetime(2011, 3, 1, 14, 30, tzinfo=UTC),
        datetime(2011, 3, 1, 21, tzinfo=UTC),
    )
    summer = next(bar for bar in bars["AAPL/USD"] if bar.open_at.month == 7)
    assert (summer.open_at.hour, summer.close_at.hour) == (13, 20), "New York keeps summer time"
    for stock in STOCKS:
        for bar in bars[stock.symbol]:
            assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
            for price in (bar.open, bar.high, bar.low, bar.close):
                stock.scale.ticks(price)  # raises off the grid


def test_a_step_is_all_bars_of_one_market_time() -> None:
    found = steps(stock_bars(), SYMBOLS, START, END)
    assert len(found) == 504
    assert sum(len(step.bars) for step in found) == 2212
    assert all(a.market_at < b.market_at for a, b in pairwise(found))
    assert all(bar.close_at == step.market_at for step in found for bar in step.bars)
    assert found[0].symbols == ("AAPL/USD", "GOOG/USD", "IBM/USD", "MSFT/USD")
    assert found[-1].symbols == SYMBOLS
    one_day = steps(stock_bars(), ["IBM/USD"], as_instant(date(2012, 1, 3)), as_instant(date(2012, 1, 4)))
    assert [step.market_at for step in one_day] == [datetime(2012, 1, 3, 21, tzinfo=UTC)]


def test_what_cannot_be_started_says_why() -> None:
    found = steps(stock_bars(), SYMBOLS, START, END)
    with pytest.raises(NoBars):
        check_start([], None, None)
    with pytest.raises(ReplayRunning):
        check_start(found, uuid4(), None)
    with pytest.raises(MarketTimePast):
        check_start(found, None, found[0].market_at)
    check_start(found, None, found[0].market_at - timedelta(seconds=1))


def test_a_replay_walks_through_every_phase_of_every_step() -> None:
    now = datetime(2026, 1, 5, tzinfo=UTC)
    found = steps(stock_bars(), SYMBOLS, START, END)[:2]
    replay = Replay(
        replay_id=uuid4(),
        user_id=uuid4(),
        symbols=SYMBOLS,
        timeframe="1d",
        start_at=START,
        end_at=END,
        pace=Decimal(4),
        steps=2,
        bars_total=8,
        created_at=now,
        updated_at=now,
    )
    places = [replay.place]
    for step in found:
        replay = replay.opened(step)
        places.append(replay.place)
        replay = replay.told(step)
        assert replay.due_at(now) == now, "only steps are spread out by the pace"
        places.append(replay.place)
        replay = replay.closed()
        assert replay.due_at(now) == (now if replay.is_over else now + timedelta(seconds=0.25))
        places.append(replay.place)
    assert places == [0, 1, 2, 3, 4, 5, 6]
    assert replay.is_over
    assert (replay.ended().status, replay.bars, replay.phase) == (ReplayStatus.DONE, 8, Phase.OPEN)
    assert replay.to_be_ended(now).ended().status is ReplayStatus.DONE
