"""Orders of all types filled from data: the documented rules, by example."""

from fractions import Fraction
from typing import Any

import pytest
from data_markets import market
from fleet_simulator import (
    Accepted,
    Bar,
    Cancel,
    Canceled,
    Event,
    Expired,
    Filled,
    OrderType,
    Place,
    Quote,
    Rejected,
    Side,
    TimeInForce,
    Triggered,
)
from fleet_simulator.inputs import BookDelta, BookSnapshot, Trade
from fleet_simulator.latency import ConstantLatency, LogNormalLatency
from fleet_simulator.market import BarPath, BrokenBook
from fleet_simulator.slippage import HalfSpread


def order(ref: str, side: Side = Side.BUY, quantity: int = 10, limit: int | None = None, **changes: Any) -> Place:
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    return Place(
        ref,
        side=side,
        quantity=quantity,
        **{"account_id": "A", "command_sequence": 1, "type": kind, "limit_price": limit, **changes},
    )


def stop(ref: str, side: Side, price: int, **changes: Any) -> Place:
    return order(ref, side, **{"type": OrderType.STOP, "stop_price": price, **changes})


def bar(at: int, first: int = 100, high: int = 104, low: int = 97, last: int = 101, volume: int = 1000) -> Bar:
    return Bar(at - 10, at, first, high, low, last, volume)


def fills(events: list[Event]) -> list[tuple[str, int, int]]:
    return [(e.order_ref, e.last_quantity, e.last_price) for e in events if isinstance(e, Filled)]


def test_stops_fill_at_their_price_on_the_way_and_at_the_open_beyond_it() -> None:
    target = market()
    for each in (
        stop("b", Side.BUY, 103),
        stop("s", Side.SELL, 98),
        stop("gap", Side.SELL, 102),
        stop("no", Side.SELL, 96),
    ):
        target.apply(each, 0)
    assert fills(target.on_bar(bar(10))) == [("gap", 10, 100), ("s", 10, 98), ("b", 10, 103)]
    assert fills(target.on_bar(bar(20, 90, 91, 89, 90))) == [("no", 10, 90)]


def test_a_stop_limit_rests_at_its_limit_and_an_if_touched_order_waits_for_a_better_price() -> None:
    target = market()
    target.apply(order("sl", Side.BUY, type=OrderType.STOP_LIMIT, stop_price=103, limit_price=101), 0)
    target.apply(stop("mit", Side.BUY, 98, type=OrderType.MARKET_IF_TOUCHED), 0)
    target.apply(order("lit", Side.SELL, type=OrderType.LIMIT_IF_TOUCHED, stop_price=103, limit_price=104), 0)
    events = target.on_bar(bar(10))
    assert fills(events) == [("mit", 10, 98), ("lit", 10, 104), ("sl", 10, 101)]
    assert [e.order_ref for e in events if isinstance(e, Triggered)] == ["mit", "sl", "lit"]


def test_a_trailing_stop_follows_the_path_within_the_bar() -> None:
    for path, filled in ((BarPath.NEARER_EXTREME, [("t", 10, 102)]), (BarPath.WORST_FIRST, [("t", 10, 98)])):
        target = market(path=path)
        target.apply(order("t", Side.SELL, type=OrderType.TRAILING_STOP, trail_amount=2), 0)
        assert fills(target.on_bar(bar(10, 100, 100, 99, 100))) == []
        assert target.take_changed() == {"t"}
        assert target.orders["t"].mark == 100
        assert (
            fills(
                target.on_bar(bar(20, 100, 104, 98, 101) if path is BarPath.WORST_FIRST else bar(20, 100, 104, 99, 101))
            )
            == filled
        )


def test_of_stop_and_limit_the_worse_comes_first_on_the_conservative_path() -> None:
    def bracketed(path: BarPath) -> list[tuple[str, int, int]]:
        target = market(path=path)
        target.apply(stop("loss", Side.SELL, 97, oco_group="g"), 0)
        target.apply(order("profit", Side.SELL, limit=103, oco_group="g"), 0)
        return fills(target.on_bar(bar(10, 100, 103, 96, 100)))

    assert bracketed(BarPath.NEARER_EXTREME) == [("profit", 10, 103)]
    assert bracketed(BarPath.WORST_FIRST) == [("loss", 10, 97)]


def test_an_exit_that_fills_as_its_entry_does_leaves_the_other_nothing() -> None:
    target = market()
    target.apply(order("profit", Side.SELL, limit=99, oco_group="g", parent_ref="entry"), 0)
    target.apply(stop("loss", Side.SELL, 98, oco_group="g", parent_ref="entry"), 0)
    target.apply(order("entry"), 0)
    assert fills(target.on_bar(bar(10))) == [("entry", 10, 100), ("profit", 10, 100)]
    assert not target.orders and not target.positions


def test_a_bracket_enters_at_the_open_and_leaves_on_the_way() -> None:
    target = market()
    target.apply(order("profit", Side.SELL, limit=103, oco_group="g", parent_ref="entry"), 0)
    target.apply(stop("loss", Side.SELL, 95, oco_group="g", parent_ref="entry"), 0)
    target.apply(order("entry"), 0)
    assert fills(target.on_bar(bar(10))) == [("entry", 10, 100), ("profit", 10, 103)]
    assert not target.orders


def test_at_open_and_at_close_orders_fill_there_or_end() -> None:
    target = market()
    target.apply(order("open", time_in_force=TimeInForce.AT_OPEN), 0)
    target.apply(order("beyond", limit=99, time_in_force=TimeInForce.AT_OPEN), 0)
    target.apply(order("close", time_in_force=TimeInForce.AT_CLOSE), 0)
    first = target.on_bar(bar(10))
    assert fills(first) == [("open", 10, 100)]
    assert Canceled("beyond", "A", 10, "auction") in first
    target.apply(order("next", time_in_force=TimeInForce.AT_CLOSE), 10)
    assert fills(target.end_session(10)) == [("close", 10, 101)]
    assert list(target.orders) == ["next"]


def test_fok_minimum_and_post_only_at_their_first_price() -> None:
    target = market(Fraction(1, 100))
    target.apply(order("fok", quantity=11, time_in_force=TimeInForce.FOK), 0)
    target.apply(order("min", quantity=30, limit=101, minimum_quantity=11), 0)
    target.apply(order("post", limit=101, post_only=True), 0)
    target.apply(order("fine", quantity=20, limit=101, minimum_quantity=10), 0)
    events = target.on_bar(bar(10))
    assert {(e.order_ref, e.reason) for e in events if isinstance(e, Canceled)} == {
        ("fok", "fill_or_kill"),
        ("min", "minimum_quantity"),
        ("post", "post_only"),
    }
    assert fills(events) == [("fine", 10, 100)]


def test_gtd_orders_see_only_the_open_of_the_bar_in_which_they_end() -> None:
    target = market()
    target.apply(order("before", limit=100, time_in_force=TimeInForce.GTD, expires_at=10), 0)
    target.apply(order("open", limit=100, time_in_force=TimeInForce.GTD, expires_at=15), 0)
    target.apply(order("way", limit=98, time_in_force=TimeInForce.GTD, expires_at=15), 0)
    events = target.on_bar(bar(20))
    assert fills(events) == [("open", 10, 100)]
    assert [(e.order_ref, e.market_at) for e in events if isinstance(e, Expired)] == [("before", 10), ("way", 15)]


def test_a_book_is_taken_level_by_level_and_not_twice() -> None:
    target = market()
    target.on_book(BookSnapshot(10, ((99, 5),), ((101, 4), (102, 5), (105, 50))))
    assert fills(target.apply(order("m", protection_price=103), 11)) == [("m", 4, 101), ("m", 5, 102)]
    assert fills(target.apply(order("again", limit=102), 11)) == []
    assert fills(target.on_book_delta(BookDelta(12, asks=((101, 3),)))) == [("again", 3, 102)]
    with pytest.raises(BrokenBook):
        target.on_book_delta(BookDelta(13, bids=((103, 1),)))
    with pytest.raises(BrokenBook):
        target.on_book_delta(BookDelta(14, bids=((98, 1),)))


def test_a_resting_order_waits_for_what_stood_before_it() -> None:
    target = market()
    target.on_book(BookSnapshot(10, ((100, 30), (99, 5)), ((102, 40),)))
    target.apply(order("queued", limit=100), 11)
    target.apply(order("first", limit=101), 11)
    target.apply(order("deep", limit=97), 11)
    assert [target.orders[ref].ahead for ref in ("queued", "first", "deep")] == [30, 0, 0]
    assert fills(target.on_trade(Trade(12, 101, 4, Side.SELL))) == [("first", 4, 101)]
    assert fills(target.on_trade(Trade(13, 101, 4, Side.BUY))) == []
    target.on_trade(Trade(14, 100, 20, Side.SELL))
    assert target.orders["queued"].ahead == 10
    target.on_book_delta(BookDelta(15, bids=((100, 8),)))
    assert target.orders["queued"].ahead == 8
    assert fills(target.on_trade(Trade(16, 100, 11, Side.SELL))) == [("queued", 3, 100)]
    assert fills(target.on_trade(Trade(17, 96, 11, Side.SELL))) == [("queued", 7, 100), ("deep", 4, 97)]


def test_quotes_elect_by_the_side_that_would_be_taken() -> None:
    target = market()
    target.on_quote(Quote(10, 99, 50, 101, 50))
    target.apply(stop("b", Side.BUY, 102), 11)
    target.apply(stop("now", Side.BUY, 101), 11)
    assert list(target.orders) == ["b"], "a quote that stands is a price that a stop sees as it comes"
    assert fills(target.on_quote(Quote(12, 102, 50, 103, 50))) == [("b", 10, 103)]


def test_what_an_account_sends_arrives_in_its_order_however_long_it_takes() -> None:
    target = market(latency=LogNormalLatency(3, sigma=2.0))
    for n in range(20):
        target.apply(order(f"o{n}", limit=90, command_sequence=2 * n), 0)
        target.apply(Cancel(f"o{n}", "A", 2 * n + 1), 0)
    events = target.on_quote(Quote(10**12, 99, 50, 100, 50))
    assert [(type(e), e.order_ref) for e in events] == [
        (kind, f"o{n}") for n in range(20) for kind in (Accepted, Canceled)
    ]


def test_who_takes_from_a_quote_pays_slippage_up_to_its_limit() -> None:
    target = market(slippage=HalfSpread(Fraction(4, 100)))
    target.on_quote(Quote(10, 99, 50, 100, 50))
    assert fills(target.apply(order("free"), 10)) == [("free", 10, 102)]
    assert fills(target.apply(order("limit", limit=101), 10)) == [("limit", 10, 101)]
    assert fills(target.apply(order("out", Side.SELL), 10)) == [("out", 10, 97)]
    target.apply(order("rests", limit=98), 10)
    assert fills(target.on_quote(Quote(11, 96, 50, 97, 50))) == [("rests", 10, 98)]
    target.on_book(BookSnapshot(12, ((99, 10),), ((100, 4), (101, 10))))
    assert fills(target.apply(order("book"), 12)) == [("book", 4, 100), ("book", 6, 101)], "a book's levels are known"


def test_latency_lets_an_order_miss_the_bar_and_slippage_makes_it_dearer() -> None:
    target = market(latency=ConstantLatency(5), slippage=HalfSpread(Fraction(4, 100)))
    assert target.apply(order("late"), 0) == []
    assert fills(target.on_bar(Bar(4, 10, 100, 104, 97, 101, 1000))) == []
    assert target.on_bar(Bar(10, 20, 100, 104, 97, 101, 1000))[0] == Accepted("late", "A", 10)
    assert not target.orders
    target.apply(order("capped", protection_price=101), 20)
    assert fills(target.on_bar(bar(40))) == [("capped", 10, 101)]


def test_prices_that_fill_nothing_elect_nothing() -> None:
    target = market()
    target.apply(stop("s", Side.SELL, 98), 0)
    assert target.on_bar(bar(10, volume=0)) == []
    target.on_quote(Quote(20, 90, 5, 91, 5))
    assert not target.orders
    target.apply(stop("late", Side.SELL, 98), 24)
    assert list(target.orders) == ["late"], "the quote is stale"
    assert isinstance(target.apply(stop("s", Side.SELL, 0), 25)[0], Rejected)
