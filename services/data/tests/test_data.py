"""data over the real Kafka and PostgreSQL: what venues say is stored, passed on once, and shown."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from fleet_contracts import Message, Topic
from fleet_contracts.data import BarClosed, BarsBackfilled, BestQuote, InstrumentDefined
from fleet_contracts.exchange_connector import (
    BarValues,
    MarketStepEnded,
    Quote,
    Trade,
    VenueBarClosed,
    VenueBarsBackfilled,
    VenueStatus,
)
from fleet_contracts.topics import (
    EXCHANGE_CONNECTOR_BARS,
    EXCHANGE_CONNECTOR_MARKET_DATA,
    EXCHANGE_CONNECTOR_STATUS,
)
from fleet_contracts.vocabulary import Side, Timeframe, VenueStateWord
from fleet_testkit.eventually import eventually
from fleet_testkit.peers import Peers

MINUTE = timedelta(minutes=1)
MINUTES = Timeframe.M1


def values(open_at: datetime, close: str = "11") -> BarValues:
    return BarValues(
        open_at=open_at,
        close_at=open_at + MINUTE,
        open=Decimal(10),
        high=Decimal(12),
        low=Decimal(9),
        close=Decimal(close),
        volume=Decimal(100),
        trades=3,
    )


def bar(symbol: str, open_at: datetime, close: str = "11") -> tuple[Topic, str, Message]:
    told = VenueBarClosed(symbol=symbol, venue="paper", timeframe=MINUTES, bar=values(open_at, close))
    return EXCHANGE_CONNECTOR_BARS, symbol, told


def history(symbol: str, *bars: BarValues) -> tuple[Topic, str, Message]:
    told = VenueBarsBackfilled(symbol=symbol, venue="paper", timeframe=MINUTES, bars=bars)
    return EXCHANGE_CONNECTOR_BARS, symbol, told


def step(number: int, market_at: datetime, *symbols: str, timeframe: Timeframe = MINUTES) -> tuple[Topic, str, Message]:
    told = MarketStepEnded(step=number, market_at=market_at, timeframe=timeframe, symbols=symbols)
    return EXCHANGE_CONNECTOR_BARS, "step", told


def quote(symbol: str, bid: int, market_at: datetime, *, venue: str = "paper") -> tuple[Topic, str, Message]:
    one = Decimal(1)
    told = Quote(
        symbol=symbol, venue=venue, bid=Decimal(bid), bid_size=one, ask=bid + one, ask_size=one, market_at=market_at
    )
    return EXCHANGE_CONNECTOR_MARKET_DATA, symbol, told


def this_minute() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)


async def test_an_instrument_is_defined_once_for_what_its_venue_tells(data: Any) -> None:
    [symbol] = await data.define("AAPL")
    await data.others.say(data.instrument(symbol), data.instrument(symbol, tick_size="0.01"))
    await eventually(lambda: len(data.others.heard_of(InstrumentDefined, symbol)) == 2)
    first, second = data.others.heard_of(InstrumentDefined, symbol)
    assert (first.version, first.tick_size, first.reference_venue) == (1, Decimal("0.0001"), "paper")
    assert (second.version, second.tick_size, second.venues) == (2, Decimal("0.01"), ("paper",))
    status, market = await data.get(f"/{symbol.replace('/', '-')}")
    assert (status, market["symbol"], market["tick_size"], market["status"]) == (200, symbol, "0.01", "unavailable")


async def test_a_market_is_there_while_its_venue_is_heard(data: Any) -> None:
    [symbol] = await data.define("AAPL")

    async def is_shown(expected: str) -> bool:
        return bool((await data.get(f"/{symbol.replace('/', '-')}"))[1]["status"] == expected)

    async def tell(age_s: int, state: VenueStateWord, expected: str) -> None:
        heartbeat_at = datetime.now(UTC) - timedelta(seconds=age_s)
        told = VenueStatus(venue="paper", state=state, feed="simulated", heartbeat_at=heartbeat_at, capabilities=())
        await data.others.say((EXCHANGE_CONNECTOR_STATUS, "paper", told))
        await eventually(lambda: is_shown(expected))

    await tell(0, VenueStateWord.CONNECTED, "active")
    await tell(0, VenueStateWord.DISCONNECTED, "unavailable")
    await tell(20, VenueStateWord.CONNECTED, "active")
    await tell(40, VenueStateWord.CONNECTED, "unavailable")


async def test_an_instrument_whose_calendar_nobody_knows_is_set_aside_and_others_go_on(data: Any) -> None:
    [known] = await data.define("AAPL")
    odd = f"ODD{uuid4().hex[:6].upper()}/USD"
    await data.others.say(data.instrument(odd, calendar="XXXX"), data.instrument(known, tick_size="0.01"))
    await eventually(lambda: len(data.others.heard_of(InstrumentDefined, known)) == 2)

    async def parked() -> list[str]:
        return [key["reason"] for key in await data.parked() if key["key"] == f"{odd},paper"]

    (reason,) = await eventually(parked)
    assert "there is no calendar of this name, was XXXX" in reason
    assert (await data.get(f"/{odd.replace('/', '-')}"))[0] == 404


async def test_bars_are_passed_on_once_and_a_step_after_the_last_of_them(data: Any) -> None:
    aapl, msft = await data.define("AAPL", "MSFT")
    others, at = data.others, this_minute() - MINUTE
    await others.say(step(1, at + MINUTE, aapl, msft))
    await others.say(bar(aapl, at), bar(aapl, at), bar(aapl, at - 5 * MINUTE), market_at=at + MINUTE)
    await eventually(lambda: len(others.heard_of(BarClosed, aapl)) == 2)
    assert [one.bar.open_at for one in others.heard_of(BarClosed, aapl)] == [at, at - 5 * MINUTE]
    assert ended_steps(others, aapl) == []
    await others.say(bar(msft, at), market_at=at + MINUTE)
    await eventually(lambda: ended_steps(others, aapl))
    assert others.heard_of(BarClosed, msft)


async def test_a_bar_waits_for_its_instrument(data: Any) -> None:
    symbol = f"FB{uuid4().hex[:6].upper()}/USD"
    await data.others.say(bar(symbol, this_minute()))
    await data.others.say(data.instrument(symbol))
    await eventually(lambda: data.others.heard_of(BarClosed, symbol))


async def test_history_is_stored_passed_on_and_made_into_candles(data: Any) -> None:
    [symbol] = await data.define("IBM")
    start = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
    bars = [values(start + place * MINUTE, str(11 + place)) for place in range(10)]
    await data.others.say(history(symbol, *bars[5:]), history(symbol, *bars[:5]), history(symbol, *bars[:5]))
    await eventually(lambda: len(data.others.heard_of(BarsBackfilled, symbol)) == 2)
    assert data.others.heard_of(BarsBackfilled, symbol)[1].bars == tuple(bars[:5])
    path = f"/{symbol.replace('/', '%2F')}/candles?timeframe=5m&start=2026-01-05T14:30:00Z&limit=1"
    status, page = await data.get(path)
    assert (status, page["has_more"]) == (200, True)
    assert page["data"] == [
        {
            "open_at": "2026-01-05T14:30:00Z",
            "close_at": "2026-01-05T14:35:00Z",
            "open": "10",
            "high": "12",
            "low": "9",
            "close": "15",
            "volume": "500",
            "trades": 15,
            "state": "closed",
        }
    ]
    _, following = await data.get(f"{path}&cursor={page['next_cursor']}")
    assert ([one["open"] for one in following["data"]], following["has_more"]) == (["10"], False)
    _, last = await data.get(f"/{symbol.replace('/', '-')}/candles?limit=2&end=2026-01-05T14:39:30Z")
    assert ([one["close"] for one in last["data"]], last["has_more"]) == (["19", "20"], False)


@pytest.mark.parametrize(
    "bound", ["start=9999-12-31T23:00:00Z", "end=9999-12-31T23:00:00Z", "start=0001-01-01T00:00:00Z"]
)
async def test_candles_are_found_between_the_ends_of_the_calendar(data: Any, bound: str) -> None:
    [symbol] = await data.define("IBM")
    status, page = await data.get(f"/{symbol.replace('/', '-')}/candles?timeframe=1d&{bound}")
    assert (status, page["data"], page["has_more"]) == (200, [], False)


async def test_a_bar_that_closes_after_history_told_it_is_still_passed_on(data: Any) -> None:
    [symbol] = await data.define("GOOG")
    at = this_minute()
    await data.others.say(history(symbol, values(at)), bar(symbol, at), step(3, at + MINUTE, symbol))
    await eventually(lambda: ended_steps(data.others, symbol))
    assert len(data.others.heard_of(BarClosed, symbol)) == 1


async def test_of_many_quotes_few_are_sent_and_the_latest_in_the_end(data: Any) -> None:
    [symbol] = await data.define("AAPL")
    at = datetime.now(UTC)
    for number in range(60):
        await data.others.say(quote(symbol, 100 + number, at + timedelta(milliseconds=number)))
    await data.others.say(quote(symbol, 999, at + MINUTE, venue="elsewhere"))
    await eventually(lambda: (sent := data.others.heard_of(BestQuote, symbol)) and sent[-1].bid == 159)
    sent = [one for one in data.others.heard if isinstance(one.message, BestQuote) and one.key == symbol]
    gaps = [after.occurred_at - before.occurred_at for before, after in pairwise(sent)]
    assert all(gap >= timedelta(milliseconds=99) for gap in gaps)
    last: BestQuote = sent[-1].message
    assert last.stale_after == last.market_at + timedelta(seconds=10)
    status, ticker = await data.get(f"/{symbol.replace('/', '-')}/ticker")
    assert (status, ticker["bid"], ticker["ask"], ticker["stale"]) == (200, "159", "160", False)


async def test_prints_are_the_last_price_and_the_open_candle(data: Any) -> None:
    [symbol] = await data.define("MSFT")
    at = datetime.now(UTC)
    prints = [
        Trade(
            symbol=symbol,
            venue="paper",
            venue_trade_id=f"t{number}",
            price=Decimal(50 + number),
            quantity=Decimal(2),
            aggressor=Side.BUY,
            market_at=at + timedelta(microseconds=number),
        )
        for number in range(3)
    ]
    await data.others.say(quote(symbol, 50, at), *((EXCHANGE_CONNECTOR_MARKET_DATA, symbol, one) for one in prints))
    await eventually(lambda: (sent := data.others.heard_of(BestQuote, symbol)) and sent[-1].last == 52)
    path = f"/{symbol.replace('/', '-')}"
    _, trades = await data.get(f"{path}/trades?limit=2")
    assert [(one["trade_id"], one["side"]) for one in trades["data"]] == [("t2", "buy"), ("t1", "buy")]
    _, rest = await data.get(f"{path}/trades?limit=2&cursor={trades['next_cursor']}")
    assert [one["trade_id"] for one in rest["data"]] == ["t0"]
    for timeframe in ("1m", "1d"):
        _, candles = await data.get(f"{path}/candles?timeframe={timeframe}")
        [candle] = candles["data"]
        assert (candle["open"], candle["close"], candle["volume"], candle["state"]) == ("50", "52", "6", "open")


async def test_on_a_replay_the_close_of_a_bar_is_the_price(replayed_data: Any) -> None:
    aapl, msft = await replayed_data.define("AAPL", "MSFT")
    others = replayed_data.others
    for day in range(3):
        close_at = datetime(2012, 5, 16 + day, 20, 0, tzinfo=UTC)
        await others.say(step(day, close_at, aapl, msft, timeframe=Timeframe.D1), market_at=close_at)
        for symbol in (aapl, msft):
            told = BarValues(
                open_at=close_at - timedelta(hours=6, minutes=30),
                close_at=close_at,
                open=Decimal(10),
                high=Decimal(12),
                low=Decimal(9),
                close=Decimal(10 + day),
                volume=Decimal(100),
            )
            closed = VenueBarClosed(symbol=symbol, venue="paper", timeframe=Timeframe.D1, bar=told)
            await others.say((EXCHANGE_CONNECTOR_BARS, symbol, closed), market_at=close_at)
    await eventually(lambda: len(ended_steps(others, aapl)) == 3)
    await eventually(lambda: others.heard_of(BestQuote, aapl)[-1].last == 12)
    last = others.heard_of(BestQuote, aapl)[-1]
    assert (last.bid, last.ask) == (Decimal(12), Decimal(12))
    assert (last.market_at, last.stale_after) == (close_at, None)
    path = f"/{aapl.replace('/', '-')}"
    _, ticker = await replayed_data.get(f"{path}/ticker")
    assert (ticker["last"], ticker["volume"], ticker["stale"]) == ("12", "100", False)
    _, market = await replayed_data.get(path)
    assert (market["last_price"], market["change_24h"]) == ("12", "0.090909")
    _, candles = await replayed_data.get(f"{path}/candles?timeframe=1d&end=2012-05-18T00:00:00Z")
    assert [(one["close"], one["state"]) for one in candles["data"]] == [("10", "closed"), ("11", "closed")]
    _, candles = await replayed_data.get(f"{path}/candles?timeframe=1d&start=2012-05-17T10:00:00Z&limit=1")
    assert ([one["close"] for one in candles["data"]], candles["has_more"]) == (["11"], True)


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/NOSUCH-USD", 404, "not_found"),
        ("/NOSUCH%2FUSD/ticker", 404, "not_found"),
        ("/nonsense/candles", 404, "not_found"),
        ("/AAPL-USD/order-book", 404, "not_found"),
        ("/AAPL-USD/candles?timeframe=2m", 422, "invalid_request"),
        ("/AAPL-USD/candles?start=2026-01-05", 422, "invalid_request"),
        ("/AAPL-USD/candles?start=2026-01-05T00:00:00Z&end=2026-01-04T00:00:00Z", 422, "invalid_request"),
        ("/AAPL-USD/candles?limit=501", 422, "invalid_request"),
        ("?cursor=nonsense", 400, "bad_cursor"),
    ],
)
async def test_what_is_not_there_is_said(data: Any, path: str, status: int, code: str) -> None:
    answered, problem = await data.get(path)
    assert (answered, problem["code"]) == (status, code)


async def test_markets_are_listed_in_pages(data: Any) -> None:
    defined = await data.define("AAA", "AAB", "AAC")
    listed: list[str] = []
    cursor = ""
    while True:
        status, page = await data.get(f"?limit=2{cursor}")
        assert status == 200
        listed += [market["symbol"] for market in page["data"]]
        if not page["has_more"]:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert listed == sorted(set(listed))
    assert set(defined) <= set(listed)


async def test_reading_needs_the_scope(data: Any) -> None:
    assert (await data.get("", "trade"))[0] == 403


async def test_of_the_last_bars_in_many_records_one_passes_each_step_on(data: Any) -> None:
    symbols = await data.define("A", "B", "C")
    others, start = data.others, datetime(2026, 1, 6, tzinfo=UTC)
    for number in range(10):
        at = start + number * MINUTE
        await asyncio.gather(
            others.say(step(number, at + MINUTE, *symbols)), *(others.say(bar(symbol, at)) for symbol in symbols)
        )
    await eventually(lambda: len(ended_steps(others, symbols[0])) == 10)
    assert sorted(ended_steps(others, symbols[0])) == list(range(10))


def ended_steps(others: Peers, symbol: str) -> list[int]:
    return [one.step for one in others.heard_of(MarketStepEnded) if symbol in one.symbols]
