"""The market against the naive model, its laws, and its state at any point."""

import importlib.util
import json
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from fleet_simulator import (
    Accepted,
    Bar,
    Cancel,
    Canceled,
    CancelRejected,
    Command,
    Event,
    Expired,
    FeeSchedule,
    Filled,
    Market,
    OrderType,
    PastPrice,
    Place,
    Quote,
    Rejected,
    Replaced,
    ReplaceRejected,
    Scale,
    Side,
    TimeInForce,
    Triggered,
    command_order,
)
from hypothesis import given, settings
from hypothesis import strategies as st

_spec = importlib.util.spec_from_file_location("naive_market", Path(__file__).with_name("naive_market.py"))
assert _spec and _spec.loader
_naive = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_naive)

TICK, LOT, RATE, LIFETIME = Decimal("0.01"), Decimal("0.00001"), Decimal("0.00137"), 3
FEES = FeeSchedule.of(RATE, tick=TICK, lot=LOT)


@dataclass(frozen=True)
class SessionEnd:
    market_at: int


Move = tuple[int, Place] | tuple[int, Cancel] | Bar | Quote | SessionEnd


@st.composite
def moves(draw: st.DrawFn, *, quotes: bool = True, length: int = 40) -> list[Move]:
    """Commands, prices and session ends of one market, time going on between them (quotes may share a time)."""
    found: list[Move] = []
    now = 0
    for number in range(draw(st.integers(1, length))):
        kind = draw(st.sampled_from("pppppcbbbqqqs" if quotes else "pppppcbbbbbbs"))
        now += draw(st.integers(0, 4))
        if kind == "p":
            found.append((max(0, now - draw(st.integers(0, 3))), draw(places(number))))
        elif kind == "c":
            ref, account = f"o{draw(st.integers(0, number))}", draw(st.sampled_from("AB"))
            found.append((now, Cancel(ref, account, number)))
        elif kind == "b":
            low, first, last, high = sorted(draw(st.lists(st.integers(90, 110), min_size=4, max_size=4)))
            first, last = draw(st.sampled_from([(first, last), (last, first), (low, last), (high, first)]))
            open_at, now = now, now + draw(st.integers(1, 5))
            found.append(Bar(open_at, now, first, high, low, last, draw(st.integers(0, 60))))
        elif kind == "q":
            bid = draw(st.integers(90, 110))
            ask, sizes = bid + draw(st.integers(0, 4)), st.integers(0, 30)
            found.append(Quote(now, bid, draw(sizes), ask, draw(sizes)))
        else:
            found.append(SessionEnd(now))
    return found


@st.composite
def places(draw: st.DrawFn, number: int) -> Place:
    order_type = draw(st.sampled_from([OrderType.MARKET, OrderType.LIMIT]))
    price = draw(st.integers(90, 110))
    return Place(
        order_ref=f"o{draw(st.integers(number - 1, number))}",
        account_id=draw(st.sampled_from("AB")),
        command_sequence=number,
        side=draw(st.sampled_from(Side)),
        type=order_type,
        quantity=draw(st.integers(1, 40)),
        time_in_force=draw(st.sampled_from([TimeInForce.GTC, TimeInForce.IOC, TimeInForce.DAY])),
        limit_price=price if order_type is OrderType.LIMIT else None,
        protection_price=draw(st.sampled_from([None, price])) if order_type is OrderType.MARKET else None,
    )


shares = st.sampled_from([None, Fraction(1), Fraction(1, 3)])


def market(share: Fraction | None = None) -> Market:
    return Market("AAPL/USD", FEES, volume_share=share, quote_lifetime_ns=LIFETIME)


def show(target: Market, move: Move) -> list[Event]:
    """Events of one move; a bar that is not after the last price is refused and changes nothing."""
    if isinstance(move, tuple):
        return target.apply(move[1], move[0])
    if isinstance(move, SessionEnd):
        return target.end_session(move.market_at)
    return target.on_bar(move) if isinstance(move, Bar) else target.on_quote(move)


def naive_events(found: list[Move], share: Fraction | None) -> list[tuple[Any, ...]]:
    naive = _naive.NaiveMarket(RATE, TICK, LOT, share, LIFETIME)
    for move in found:
        if isinstance(move, tuple):
            naive.apply(move[1], move[0])
        elif isinstance(move, SessionEnd):
            naive.session_end(move.market_at)
        elif isinstance(move, Bar):
            naive.bar(move)
        else:
            naive.quote(move)
    return list(naive.out)


def plain(event: Event) -> tuple[Any, ...]:
    match event:
        case Accepted(ref, _, at):
            return "accepted", ref, at
        case Rejected(ref, _, at, reason):
            return "rejected", ref, at, reason
        case Canceled(ref, _, at, reason):
            return "canceled", ref, at, reason
        case CancelRejected(ref, _, at, reason):
            return "cancel_rejected", ref, at, reason
        case Expired(ref, _, at):
            return "expired", ref, at
        case Triggered(ref, _, at, price):
            return "triggered", ref, at, price
        case Replaced() | ReplaceRejected():
            raise AssertionError(f"nothing is replaced here, was {event}")
        case Filled(ref, _, at, number, quantity, price, cumulative, fee, liquidity):
            return "filled", ref, at, number, quantity, price, cumulative, Scale.fee(fee), str(liquidity)


@given(moves(), shares)
@settings(max_examples=200)
def test_market_and_naive_model_say_the_same(found: list[Move], share: Fraction | None) -> None:
    target = market(share)
    events = [plain(event) for move in found for event in show(target, move)]
    assert events == naive_events(found, share)


@given(moves(), shares, st.data())
@settings(max_examples=60)
def test_a_market_restored_at_any_point_goes_on_alike(
    found: list[Move], share: Fraction | None, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(found)))
    target, other = market(share), market(share)
    for move in found[:cut]:
        show(target, move)
    other.restore(json.loads(json.dumps(target.snapshot())))
    assert other.state_hash() == target.state_hash()
    for move in found[cut:]:
        assert show(other, move) == show(target, move)
        assert other.state_hash() == target.state_hash()


@given(moves(quotes=False), shares)
@settings(max_examples=80)
def test_fills_keep_the_laws_of_bars(found: list[Move], share: Fraction | None) -> None:
    target = market(share)
    orders: dict[str, tuple[int, Place]] = {}
    filled: dict[str, int] = {}
    for move in found:
        events = show(target, move)
        for event in events:
            if isinstance(event, Accepted) and isinstance(move, tuple) and isinstance(move[1], Place):
                orders[event.order_ref], filled[event.order_ref] = (event.market_at, move[1]), 0
        fills = [event for event in events if isinstance(event, Filled)]
        if fills:
            assert isinstance(move, Bar), "only a price fills"
            traded = sum(fill.last_quantity for fill in fills)
            assert share is None or traded <= move.volume * share
        for fill in fills:
            accepted_at, order = orders[fill.order_ref]
            assert isinstance(move, Bar)
            assert accepted_at <= move.open_at, "an order never fills on a bar that opened before it"
            assert accepted_at < move.market_at
            assert move.low <= fill.last_price <= move.high
            worst = order.limit_price or order.protection_price
            if worst is not None:
                sign = 1 if order.side is Side.BUY else -1
                assert sign * fill.last_price <= sign * worst
            filled[fill.order_ref] += fill.last_quantity
            assert fill.cumulative_quantity == filled[fill.order_ref] <= order.quantity


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=8), st.integers(1, 10**7))
def test_the_fee_is_that_of_the_whole_however_it_is_cut(quantities: list[int], price: int) -> None:
    charged, notional = 0, 0
    for quantity in quantities:
        notional += quantity * price
        charged += FEES.fee(notional) - charged
    assert charged == FEES.fee(sum(quantities) * price)


# -- the documented rules, by example ------------------------------------------------------------------------------


def buy(ref: str = "o1", **changes: Any) -> Place:
    values = {"account_id": "A", "command_sequence": 1, "side": Side.BUY, "type": OrderType.MARKET, "quantity": 10}
    return Place(ref, **{**values, **changes})


def limit(price: int, **changes: Any) -> Place:
    return buy(**{"type": OrderType.LIMIT, "limit_price": price, **changes})


def bar(at: int, first: int = 100, high: int = 104, low: int = 97, last: int = 101, volume: int = 1000) -> Bar:
    return Bar(at - 10, at, first, high, low, last, volume)


def fills(events: list[Event]) -> list[tuple[str, int, int]]:
    return [(e.order_ref, e.last_quantity, e.last_price) for e in events if isinstance(e, Filled)]


def test_a_market_order_fills_at_the_next_bars_open() -> None:
    target = market()
    target.on_bar(bar(10))
    assert target.apply(buy(), 10) == [Accepted("o1", "A", 10)]
    assert fills(target.on_bar(bar(20, first=102))) == [("o1", 10, 102)]
    assert not target.orders


def test_an_order_does_not_fill_on_the_bar_it_was_decided_on() -> None:
    target = market()
    target.on_bar(bar(10))
    target.apply(buy(), 3)  # a time that would let it fill on a bar already shown counts as that bar's close
    assert target.orders["o1"].accepted_at == 10
    with pytest.raises(PastPrice):
        target.on_bar(bar(10))
    assert fills(target.on_bar(bar(15))) == []  # opened at 5, before the order
    assert fills(target.on_bar(bar(25))) == [("o1", 10, 100)]


def test_a_limit_fills_at_the_open_when_that_is_better_and_else_at_its_limit() -> None:
    target = market()
    target.apply(limit(98, ref="below"), 0)
    target.apply(limit(103, ref="above"), 0)
    target.apply(limit(96, ref="beyond"), 0)
    assert fills(target.on_bar(bar(10))) == [("above", 10, 100), ("below", 10, 98)]
    assert list(target.orders) == ["beyond"]


def test_the_nearer_extreme_comes_first() -> None:
    for high, order in ((104, ["buy", "sell"]), (102, ["sell", "buy"])):
        target = market()
        target.apply(limit(98, ref="buy"), 0)
        target.apply(limit(102, ref="sell", side=Side.SELL), 0)
        assert [ref for ref, _, _ in fills(target.on_bar(bar(10, high=high)))] == order


def test_a_market_order_beyond_its_protection_price_is_cancelled() -> None:
    target = market()
    target.apply(buy(protection_price=99), 0)
    target.apply(buy("o2", side=Side.SELL, protection_price=101), 0)
    target.apply(buy("o3", protection_price=100), 0)
    assert target.on_bar(bar(10))[:2] == [
        Canceled("o1", "A", 10, "price_protection"),
        Canceled("o2", "A", 10, "price_protection"),
    ]
    assert not target.orders


def test_ioc_sees_one_open_and_day_one_session() -> None:
    target = market(Fraction(1, 1000))
    target.apply(buy("ioc", quantity=3, time_in_force=TimeInForce.IOC), 0)
    target.apply(limit(90, ref="day", time_in_force=TimeInForce.DAY), 0)
    events = target.on_bar(bar(10))
    assert fills(events) == [("ioc", 1, 100)]
    assert events[-1] == Canceled("ioc", "A", 10, "immediate_or_cancel")
    target.apply(limit(90, ref="next", time_in_force=TimeInForce.DAY), 10)
    assert target.end_session(10) == [Expired("day", "A", 10)]
    assert list(target.orders) == ["next"]


def test_a_standing_quote_fills_at_once_unless_stale() -> None:
    target = market()
    target.on_quote(Quote(10, 99, 50, 101, 50))
    assert fills(target.apply(buy(), 11)) == [("o1", 10, 101)]
    assert fills(target.apply(limit(101, ref="taker"), 11)) == [("taker", 10, 101)]
    assert fills(target.apply(limit(100, ref="maker"), 11)) == []
    assert fills(target.apply(buy("late"), 10 + LIFETIME + 1)) == []
    assert fills(target.on_quote(Quote(20, 97, 50, 98, 50))) == [("late", 10, 98), ("maker", 10, 100)]


def test_a_quote_that_is_told_again_is_not_whole_again_and_the_next_one_is() -> None:
    target = market(Fraction(1))
    target.on_quote(Quote(10, 99, 50, 101, 6, since=10))
    assert fills(target.apply(buy(), 11)) == [("o1", 6, 101)]
    assert target.on_quote(Quote(12, 99, 50, 101, 6, since=10)) == []
    assert fills(target.apply(buy("o2"), 12)) == []
    assert fills(target.on_quote(Quote(13, 99, 50, 102, 16, since=13))) == [("o1", 4, 102), ("o2", 10, 102)]


def test_what_a_quote_has_not_enough_for_goes_on_at_the_next_ones_price_until_one_does_not_reach_it() -> None:
    target = market(Fraction(1))
    target.on_quote(Quote(10, 99, 50, 101, 4))
    assert fills(target.apply(limit(110), 10)) == [("o1", 4, 101)]
    (filled,) = target.on_quote(Quote(11, 99, 50, 102, 3))
    assert isinstance(filled, Filled)
    assert (filled.last_quantity, filled.last_price, filled.liquidity) == (3, 102, "taker")
    assert target.on_quote(Quote(12, 110, 50, 111, 3)) == []
    (filled,) = target.on_quote(Quote(13, 101, 50, 102, 2))
    assert isinstance(filled, Filled)
    assert (filled.last_quantity, filled.last_price, filled.liquidity) == (2, 110, "maker"), "it has rested by then"


def test_commands_are_refused_with_a_reason() -> None:
    target = market()
    target.apply(limit(90), 5)
    for wrong, reason in (
        (limit(90), "duplicate_order_ref"),
        (buy("o2", quantity=0), "invalid_quantity"),
        (buy("o2", limit_price=5), "invalid_price"),
        (buy("o2", type=OrderType.LIMIT), "invalid_price"),
        (limit(0, ref="o2"), "invalid_price"),
    ):
        before = target.state_hash()
        assert target.apply(wrong, 6) == [Rejected(wrong.order_ref, "A", 6, reason)]
        assert target.state_hash() == before
    assert target.apply(Cancel("o1", "B", 1), 7) == [CancelRejected("o1", "B", 7, "unknown_order")]
    assert target.apply(Cancel("o1", "A", 2, reason="halted"), 7) == [Canceled("o1", "A", 7, "halted")]


def test_commands_sort_by_account_then_sequence() -> None:
    found: list[Command] = [Cancel("x", "B", 1), buy("y", command_sequence=10), buy("z", command_sequence=9)]
    assert [c.order_ref for c in sorted(found, key=command_order)] == ["z", "y", "x"]


def test_bad_prices_are_refused() -> None:
    for wrong in ((0, 10, 5, 4, 3, 5, 1), (0, 10, 5, 6, 0, 5, 1), (11, 10, 5, 6, 4, 5, 1), (0, 10, 5, 6, 4, 5, -1)):
        with pytest.raises(ValueError, match="was"):
            Bar(*wrong)
    for wrong_quote in ((1, 10, 1, 9, 1), (1, 0, 1, 9, 1), (1, 5, -1, 9, 1)):
        with pytest.raises(ValueError, match="was"):
            Quote(*wrong_quote)
