"""Order types above the core book, by example: groups, reduce-only, icebergs, auctions, replaces, splits."""

import time
from typing import Any

import pytest
from exchange_events import exchange, plain
from fleet_simulator.events import (
    Event,
    Filled,
    Rejected,
    Replaced,
    ReplaceRejected,
)
from fleet_simulator.orders import (
    Cancel,
    OrderType,
    Place,
    Replace,
    Side,
    TimeInForce,
)


def order(ref: str, side: Side, quantity: int, limit: int | None = None, **changes: Any) -> Place:
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    values = {"account_id": "A", "command_sequence": 1, "type": kind, "limit_price": limit, **changes}
    return Place(ref, side=side, quantity=quantity, **values)


def told(events: list[Event]) -> list[tuple[Any, ...] | None]:
    return [plain(event) for event in events]


def test_a_bracket_follows_the_fills_of_its_entry() -> None:
    target = exchange()
    target.apply(order("profit", Side.SELL, 10, 110, oco_group="g", parent_ref="entry"), 0)
    stop: dict[str, Any] = {"type": OrderType.STOP, "stop_price": 90, "oco_group": "g", "parent_ref": "entry"}
    target.apply(order("loss", Side.SELL, 10, **stop), 0)
    assert target.orders["profit"].remaining == 0
    target.apply(order("entry", Side.BUY, 10, 100), 0)
    target.apply(order("s1", Side.SELL, 4, 100, account_id="B"), 1)
    assert (target.orders["profit"].resting, target.orders["loss"].remaining) == (4, 4)
    target.apply(order("b1", Side.BUY, 1, 110, account_id="B"), 2)
    assert (target.orders["profit"].resting, target.orders["loss"].remaining) == (3, 3)
    target.apply(order("s2", Side.SELL, 6, 100, account_id="B"), 3)
    assert (target.orders["profit"].resting, target.orders["loss"].remaining) == (9, 9)
    target.apply(order("bid", Side.BUY, 20, 89, account_id="B"), 4)
    low = target.apply(order("print", Side.SELL, 1, 89, account_id="C"), 5)
    assert told(low)[-4:] == [
        ("triggered", "loss", 89),
        ("canceled", "profit", "oco"),
        ("filled", "loss", 9, 89, "taker"),
        ("filled", "bid", 9, 89, "maker"),
    ]


def test_children_end_with_a_parent_that_never_filled() -> None:
    target = exchange()
    target.apply(order("child", Side.SELL, 10, 110, parent_ref="entry"), 0)
    target.apply(order("entry", Side.BUY, 10, 100), 0)
    assert told(target.apply(Cancel("entry", "A", 2), 1)) == [
        ("canceled", "entry", "requested"),
        ("canceled", "child", "parent_ended"),
    ]


def test_children_end_with_a_parent_that_is_rejected() -> None:
    target = exchange()
    target.apply(order("child", Side.SELL, 10, 110, parent_ref="entry"), 0)
    refused = target.apply(order("entry", Side.BUY, 0, 100), 0)
    assert isinstance(refused[0], Rejected)
    assert told(refused[1:]) == [("canceled", "child", "parent_ended")]


def test_a_child_may_have_children_of_its_own() -> None:
    target = exchange()
    target.apply(order("child", Side.SELL, 10, 110, parent_ref="entry"), 0)
    target.apply(order("grandchild", Side.BUY, 5, 90, parent_ref="child"), 0)
    target.apply(order("entry", Side.BUY, 10, 100), 0)
    target.apply(order("s", Side.SELL, 10, 100, account_id="B"), 1)
    target.apply(order("b", Side.BUY, 4, 110, account_id="B"), 2)
    assert (target.orders["child"].remaining, target.orders["grandchild"].resting) == (6, 2)


def test_reduce_only_is_cut_to_the_position_and_follows_it() -> None:
    target = exchange()
    assert told(target.apply(order("none", Side.SELL, 5, 110, reduce_only=True), 0))[-1] == (
        "canceled",
        "none",
        "reduce_only",
    )
    target.apply(order("ask", Side.SELL, 8, 100, account_id="B"), 1)
    target.apply(order("buy", Side.BUY, 8, 100), 1)
    assert told(target.apply(order("out", Side.SELL, 20, 110, reduce_only=True), 2))[-1] == ("replaced", "out", 8)
    target.apply(order("plain", Side.SELL, 3, 111), 3)
    assert target.orders["out"].resting == 5, "the plain order may sell three of the eight"


def test_an_order_cut_below_its_minimum_ends() -> None:
    target = exchange()
    target.apply(order("ask", Side.SELL, 3, 100, account_id="B"), 0)
    target.apply(order("buy", Side.BUY, 3, 100), 0)
    target.apply(order("bid", Side.BUY, 9, 99, account_id="B"), 1)
    cut = target.apply(order("out", Side.SELL, 9, 99, reduce_only=True, minimum_quantity=5), 2)
    assert told(cut)[-2:] == [("replaced", "out", 3), ("canceled", "out", "minimum_quantity")]


def test_an_iceberg_loses_its_place_with_each_slice() -> None:
    target = exchange()
    target.apply(order("berg", Side.SELL, 10, 100, display_quantity=4), 0)
    target.apply(order("plain", Side.SELL, 5, 100, account_id="B"), 0)
    fills = [
        e
        for e in target.apply(order("b", Side.BUY, 11, 100, account_id="C"), 1)
        if isinstance(e, Filled) and e.order_ref != "b"
    ]
    assert [(e.order_ref, e.last_quantity) for e in fills] == [("berg", 4), ("plain", 5), ("berg", 2)]
    assert target.orders["berg"].resting == 2


def test_an_account_of_many_reduce_only_orders_holds_nobody_up() -> None:
    target = exchange()
    target.apply(order("ask", Side.SELL, 5_000, 100, account_id="B"), 0)
    target.apply(order("bid", Side.BUY, 5_000, 100), 0)
    began_at = time.process_time()
    for n in range(1_000):
        target.apply(order(f"out{n}", Side.SELL, 2, 200, reduce_only=True), 1)
    bought = target.apply(order("buy", Side.BUY, 2, 200, account_id="B"), 2)
    assert time.process_time() - began_at < 8, "the venue stands still meanwhile"
    assert [(e.order_ref, e.last_quantity) for e in bought if isinstance(e, Filled)] == [("buy", 2), ("out0", 2)]


def test_an_at_close_order_trades_in_the_auction_or_not_at_all() -> None:
    target = exchange()
    target.apply(order("moc", Side.BUY, 10, time_in_force=TimeInForce.AT_CLOSE), 0)
    target.apply(order("loc", Side.SELL, 4, 101, time_in_force=TimeInForce.AT_CLOSE, account_id="B"), 0)
    target.apply(order("ask", Side.SELL, 3, 102, account_id="B"), 0)
    events = target.auction(TimeInForce.AT_CLOSE, 100, 1)
    assert told(events)[-1] == ("canceled", "moc", "auction")
    assert [(e.order_ref, e.last_quantity, e.last_price) for e in events if isinstance(e, Filled)] == [
        ("moc", 4, 102), ("loc", 4, 102), ("moc", 3, 102), ("ask", 3, 102),
    ]  # fmt: skip


def test_an_auction_over_a_deep_book_takes_no_time_for_each_price() -> None:
    target = exchange()
    for n in range(1, 4_001):
        target.apply(order(f"bid{n}", Side.BUY, 10, n), 0)
    target.apply(order("moc", Side.SELL, 10, time_in_force=TimeInForce.AT_CLOSE, account_id="B"), 0)
    began_at = time.process_time()
    events = target.auction(TimeInForce.AT_CLOSE, 4_000, 1)
    assert time.process_time() - began_at < 2, "the venue stands still meanwhile"
    assert [(e.order_ref, e.last_price) for e in events if isinstance(e, Filled)] == [
        ("bid4000", 4_000),
        ("moc", 4_000),
    ]


def test_replaces_and_refusals() -> None:
    target = exchange()
    target.apply(order("a", Side.BUY, 10, 100), 0)
    target.apply(order("b", Side.SELL, 10, 105, account_id="B", post_only=True), 0)
    assert target.apply(Replace("b", "B", 2, limit_price=100), 1) == [ReplaceRejected("b", "B", 1, "post_only")]
    assert target.apply(Replace("a", "B", 2, quantity=5), 1) == [ReplaceRejected("a", "B", 1, "unknown_order")]
    assert target.apply(Replace("a", "A", 2, quantity=5), 1) == [Replaced("a", "A", 1, 5, 100, None, "requested")]
    assert told(target.apply(Replace("a", "A", 3, limit_price=105), 2))[1:] == [
        ("filled", "a", 5, 105, "taker"),
        ("filled", "b", 5, 105, "maker"),
    ]
    same = order("c", Side.SELL, 1, 110, oco_group="g")
    target.apply(same, 3)
    for wrong, reason in (
        (order("d", Side.SELL, 1, 111, oco_group="g"), "invalid_group"),
        (order("d", Side.SELL, 1, 111, stop_price=5), "invalid_price"),
        (order("d", Side.SELL, 1, type=OrderType.TRAILING_STOP), "invalid_price"),
        (order("d", Side.SELL, 9999, 111, display_quantity=1), "invalid_quantity"),
        (order("d", Side.SELL, 1, 111, time_in_force=TimeInForce.GTD), "invalid_time_in_force"),
        (order("d", Side.SELL, 1, 111, time_in_force=TimeInForce.GTD, expires_at=1 << 63), "invalid_time_in_force"),
        (order("d", Side.SELL, 1, 111, time_in_force=TimeInForce.GTD, expires_at=-1), "invalid_time_in_force"),
    ):
        assert target.apply(wrong, 4) == [Rejected("d", "A", 4, reason)]


def test_splits_and_dividends_adjust_what_rests() -> None:
    target = exchange()
    target.apply(order("buy", Side.BUY, 3, 101), 0)
    target.apply(order("sell", Side.SELL, 3, 121), 0)
    target.apply(order("stop", Side.SELL, 3, type=OrderType.STOP, stop_price=91), 0)
    target.split(2, 1, 1)
    assert [(o.quantity, o.limit_price, o.stop_price) for o in target.orders.values()] == [
        (6, 50, None),
        (6, 61, None),
        (6, None, 46),
    ]
    target.dividend(5, 2)
    assert [(o.limit_price, o.stop_price) for o in target.orders.values()] == [(45, None), (61, None), (None, 41)]
    assert (target.book.best(0), target.book.best(1)) == (45, 61)
    with pytest.raises(ValueError, match="was"):
        target.split(0, 1, 3)
