"""Orders of all types filled from data: their laws, and restored at any point."""

import json
from collections import Counter
from fractions import Fraction
from typing import Any

from data_markets import Move, market, show
from fleet_simulator import (
    Accepted,
    Bar,
    Cancel,
    Canceled,
    Expired,
    Filled,
    Market,
    OrderType,
    Phase,
    Place,
    Quote,
    Replace,
    Replaced,
    Side,
    TimeInForce,
)
from fleet_simulator.inputs import BookSnapshot, Trade
from fleet_simulator.latency import LogNormalLatency
from fleet_simulator.market import BarPath
from fleet_simulator.slippage import HalfSpread
from hypothesis import given, settings
from hypothesis import strategies as st

PRICES = st.integers(92, 108)


@st.composite
def places(draw: st.DrawFn, number: int, now: int) -> Place:
    kind = draw(st.sampled_from(OrderType))
    time = draw(st.sampled_from([TimeInForce.GTC, TimeInForce.GTC, *TimeInForce]))
    if time.is_auction and kind.is_triggered:
        kind = OrderType.MARKET
    is_trailing = kind is OrderType.TRAILING_STOP
    quantity = draw(st.integers(1, 30))
    return Place(
        order_ref=f"o{number}",
        account_id=draw(st.sampled_from("AB")),
        command_sequence=number,
        side=draw(st.sampled_from(Side)),
        type=kind,
        quantity=quantity,
        time_in_force=time,
        limit_price=draw(PRICES) if kind.has_limit else None,
        protection_price=None if kind.has_limit else draw(st.sampled_from([None, 90, 110])),
        stop_price=draw(PRICES) if kind.is_triggered and not is_trailing else None,
        trail_amount=draw(st.integers(1, 5)) if is_trailing else None,
        display_quantity=draw(st.integers(1, 8))
        if kind.has_limit and not time.is_auction and draw(st.booleans())
        else None,
        expires_at=now + draw(st.integers(1, 20)) if time is TimeInForce.GTD else None,
        reduce_only=draw(st.integers(0, 3)) == 0,
        oco_group=draw(st.sampled_from([None, None, "g1", "g2"])),
        parent_ref=f"o{number + draw(st.integers(1, 3))}" if draw(st.integers(0, 5)) == 0 else None,
    )


@st.composite
def moves(draw: st.DrawFn, *, only: str = "bqtk") -> list[Move]:
    found: list[Move] = []
    now = 0
    for number in range(draw(st.integers(1, 24))):
        now += draw(st.integers(0, 4))
        match draw(st.sampled_from("pppppcrs" + 3 * only)):
            case "p":
                found.append((now, draw(places(number, now))))
            case "c":
                found.append((now, Cancel(f"o{draw(st.integers(0, number))}", draw(st.sampled_from("AB")), number)))
            case "r":
                ref, account = f"o{draw(st.integers(0, number))}", draw(st.sampled_from("AB"))
                quantity, price = draw(st.integers(1, 40)), draw(PRICES)
                choice = draw(st.sampled_from([(quantity,), (None, price), (quantity, None, price)]))
                found.append((now, Replace(ref, account, number, *choice)))
            case "b":
                low, first, last, high = sorted(draw(st.lists(PRICES, min_size=4, max_size=4)))
                first, last = draw(st.sampled_from([(first, last), (last, first), (low, high), (high, low)]))
                open_at, now = max(0, now - draw(st.integers(0, 3))), now + draw(st.integers(1, 5))
                found.append(Bar(open_at, now, first, high, low, last, draw(st.integers(0, 60))))
            case "q":
                bid, sizes = draw(PRICES), st.integers(0, 30)
                found.append(Quote(now, bid, draw(sizes), bid + draw(st.integers(0, 3)), draw(sizes)))
            case "t":
                aggressor = draw(st.sampled_from([None, *Side]))
                found.append(Trade(now, draw(PRICES), draw(st.integers(1, 30)), aggressor))
            case "k":
                mid, levels = draw(PRICES), st.lists(st.integers(1, 20), max_size=4)
                bids = tuple((mid - 1 - n, size) for n, size in enumerate(draw(levels)))
                asks = tuple((mid + n, size) for n, size in enumerate(draw(levels)))
                found.append(BookSnapshot(now, bids, asks))
            case _:
                found.append(now)
    return found


rules = st.sampled_from(
    [
        {},
        {"share": Fraction(1, 3)},
        {"path": BarPath.WORST_FIRST},
        {"share": Fraction(1), "slippage": HalfSpread(Fraction(2, 100)), "latency": LogNormalLatency(5, 0, 3)},
    ]
)


@given(moves(), rules, st.data())
@settings(max_examples=50)
def test_a_market_restored_at_any_point_goes_on_alike(
    found: list[Move], models: dict[str, Any], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(found)))
    target, other = market(**models), market(**models)
    for move in found[:cut]:
        show(target, move)
    other.restore(json.loads(json.dumps(target.snapshot())))
    assert other.snapshot() == target.snapshot()
    for move in found[cut:]:
        assert show(other, move) == show(target, move)
        assert other.state_hash() == target.state_hash()


def check_orders(target: Market, fees: Counter[str]) -> None:
    for ref, order in target.orders.items():
        assert 0 <= order.resting <= max(order.remaining, 0)
        assert order.fee == fees[ref]
        if order.display_quantity and order.phase is Phase.BOOK and not order.time_in_force.is_immediate:
            assert order.resting <= order.display_quantity
        assert not (order.phase is Phase.BOOK and order.resting == 0), "what can trade is in the book"


@given(moves(), rules)
@settings(max_examples=100)
def test_the_laws_of_filling(found: list[Move], models: dict[str, Any]) -> None:
    target = market(**models)
    orders: dict[str, Place] = {}
    accepted_at: dict[str, int] = {}
    limits: dict[str, int | None] = {}
    filled: Counter[str] = Counter()
    held: Counter[str] = Counter()
    fees: Counter[str] = Counter()
    groups: Counter[str] = Counter()
    ended: set[str] = set()
    orders.update(
        {move[1].order_ref: move[1] for move in found if isinstance(move, tuple) and isinstance(move[1], Place)}
    )
    for move in found:
        events = show(target, move)
        for event in events:
            if isinstance(event, Accepted):
                accepted_at[event.order_ref] = event.market_at
                limits[event.order_ref] = orders[event.order_ref].limit_price
            if isinstance(event, Replaced):
                limits[event.order_ref] = event.limit_price
            if isinstance(event, Canceled | Expired):
                assert event.order_ref not in ended, "an order ends once"
                ended.add(event.order_ref)
            if not isinstance(event, Filled):
                continue
            place, ref = orders[event.order_ref], event.order_ref
            assert ref not in ended, "what has ended does not fill"
            sign = 1 if place.side is Side.BUY else -1
            worst = limits[ref] or place.protection_price
            assert worst is None or sign * event.last_price <= sign * worst, "no fill is worse than the limit"
            if isinstance(move, Bar):
                assert accepted_at[ref] <= move.open_at and accepted_at[ref] < move.market_at, "nor before t+1"
                assert "slippage" in models or move.low <= event.last_price <= move.high
            if place.reduce_only:
                assert held[event.account_id] * sign < 0 and event.last_quantity <= abs(held[event.account_id])
            held[event.account_id] += sign * event.last_quantity
            filled[ref] += event.last_quantity
            fees[ref] += event.fee
            groups[place.oco_group or ref] += event.last_quantity
            assert event.cumulative_quantity == filled[ref]
            assert event.fee >= 0
        if isinstance(move, Bar | Trade) and (share := models.get("share") or (1 if isinstance(move, Trade) else None)):
            volume = move.volume if isinstance(move, Bar) else move.quantity
            taken = sum(event.last_quantity for event in events if isinstance(event, Filled))
            if "latency" not in models:
                assert taken <= volume * share
        check_orders(target, fees)
    assert {account: lots for account, lots in held.items() if lots} == dict(target.positions)
