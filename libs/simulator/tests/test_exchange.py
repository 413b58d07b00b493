"""All order types above the core book: against the naive model, their laws, restore at any point, and by example."""

import importlib.util
import json
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from fleet_simulator.auction import clearing
from fleet_simulator.book import NaiveBook
from fleet_simulator.book_exchange import BookExchange
from fleet_simulator.events import (
    Accepted,
    Canceled,
    Event,
    Expired,
    Filled,
    Rejected,
    Replaced,
    ReplaceRejected,
    Triggered,
)
from fleet_simulator.fees import MakerTaker
from fleet_simulator.orders import (
    Cancel,
    Command,
    Order,
    OrderType,
    Phase,
    Place,
    Replace,
    SelfTrade,
    Side,
    TimeInForce,
)
from hypothesis import given, settings
from hypothesis import strategies as st

_spec = importlib.util.spec_from_file_location("naive_exchange", Path(__file__).with_name("naive_exchange.py"))
assert _spec and _spec.loader
_naive = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_naive)

FEES = MakerTaker.of(tick=Decimal("0.01"), lot=Decimal(1))
PRICES = st.integers(95, 105)


def exchange() -> BookExchange:
    return BookExchange(FEES, NaiveBook())


@st.composite
def places(draw: st.DrawFn, number: int, *, wild: bool = False) -> Place:
    """Orders of all types; `wild` adds what the naive model does not know: parents, reduce-only, auctions, prevention."""
    kind = draw(st.sampled_from([OrderType.LIMIT, OrderType.LIMIT, *OrderType]))
    times = [TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC, TimeInForce.GTD]
    time = draw(st.sampled_from(times + ([TimeInForce.FOK, TimeInForce.AT_CLOSE, TimeInForce.DAY] if wild else [])))
    if time is TimeInForce.AT_CLOSE and kind.is_triggered:
        kind = OrderType.LIMIT
    quantity = draw(st.integers(1, 30))
    is_trailing = kind is OrderType.TRAILING_STOP
    shows_part = kind.has_limit and draw(st.booleans()) and time is not TimeInForce.AT_CLOSE
    return Place(
        order_ref=f"o{number}",
        account_id=draw(st.sampled_from("ABC")),
        command_sequence=number,
        side=draw(st.sampled_from(Side)),
        type=kind,
        quantity=quantity,
        time_in_force=time,
        limit_price=draw(PRICES) if kind.has_limit else None,
        stop_price=draw(PRICES) if kind.is_triggered and not is_trailing else None,
        trail_amount=draw(st.integers(1, 4)) if is_trailing else None,
        display_quantity=draw(st.integers(1, 10)) if shows_part else None,
        expires_at=number + draw(st.integers(1, 12)) if time is TimeInForce.GTD else None,
        oco_group=draw(st.sampled_from([None, None, "g1", "g2"])),
        reduce_only=wild and draw(st.booleans()),
        self_trade=draw(st.sampled_from(SelfTrade)) if wild else SelfTrade.ALLOW,
        parent_ref=f"o{number + draw(st.integers(1, 3))}" if wild and draw(st.integers(0, 4)) == 0 else None,
    )


@st.composite
def commands(draw: st.DrawFn, *, wild: bool = False) -> list[Command]:
    found: list[Command] = []
    for number in range(draw(st.integers(1, 25))):
        ref, account = f"o{draw(st.integers(0, number))}", draw(st.sampled_from("ABC"))
        match draw(st.sampled_from("ppppppc" + ("r" if wild else ""))):
            case "p":
                found.append(draw(places(number, wild=wild)))
            case "c":
                found.append(Cancel(ref, account, number))
            case _:
                quantity, price = draw(st.integers(1, 40)), draw(PRICES)
                found.append(
                    Replace(
                        ref, account, number, *draw(st.sampled_from([(quantity,), (None, price), (quantity, price)]))
                    )
                )
    return found


def plain(event: Event) -> tuple[Any, ...] | None:
    match event:
        case Accepted(ref):
            return "accepted", ref
        case Triggered(ref, _, _, price):
            return "triggered", ref, price
        case Filled():
            return "filled", event.order_ref, event.last_quantity, event.last_price, str(event.liquidity)
        case Canceled(ref, _, _, reason):
            return "canceled", ref, reason
        case Expired(ref):
            return "expired", ref
        case Replaced(ref, _, _, quantity):
            return "replaced", ref, quantity
        case _:
            return None


@given(commands())
@settings(max_examples=120, deadline=None)
def test_exchange_and_naive_model_say_the_same(found: list[Command]) -> None:
    target, naive = exchange(), _naive.NaiveExchange()
    for at, command in enumerate(found):
        naive.expire(at)
        events = target.apply(command, at)
        told = [event for event in map(plain, events) if event is not None]
        if isinstance(command, Cancel):
            if any(isinstance(event, Canceled) for event in events):
                naive.cancel(command.order_ref)
        elif not any(isinstance(event, Rejected) for event in events):
            assert isinstance(command, Place)
            naive.place(
                command.order_ref,
                type=str(command.type),
                buy=command.side is Side.BUY,
                quantity=command.quantity,
                limit=command.limit_price,
                stop=command.stop_price,
                trail=command.trail_amount,
                display=command.display_quantity,
                ioc=command.time_in_force is TimeInForce.IOC,
                expires=command.expires_at,
                oco=command.oco_group,
            )
        assert told == naive.out
        naive.out.clear()


def drive(target: BookExchange, command: Command, at: int) -> list[Event]:
    """A command; now and then an auction, a session's end, a split or a dividend."""
    events = target.apply(command, at)
    if at % 7 == 6:
        events += target.auction(TimeInForce.AT_CLOSE, 100, at) + target.end_session(at)
    if at % 11 == 10:
        events += target.split(3, 2, at) + target.dividend(2, at)
    return events


@given(commands(wild=True), st.data())
@settings(max_examples=40, deadline=None)
def test_an_exchange_restored_at_any_point_goes_on_alike(found: list[Command], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(found)))
    target, other = exchange(), exchange()
    for at, command in enumerate(found[:cut]):
        drive(target, command, at)
    other.restore(json.loads(json.dumps(target.snapshot())))
    assert other.snapshot() == target.snapshot()
    for at, command in enumerate(found[cut:], cut):
        assert drive(other, command, at) == drive(target, command, at)
        assert other.state_hash() == target.state_hash()


@given(commands(wild=True))
@settings(max_examples=120, deadline=None)
def test_the_laws_of_orders(found: list[Command]) -> None:
    target = exchange()
    orders: dict[str, Place] = {}
    ended: set[str] = set()
    filled: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for at, command in enumerate(found):
        before = {ref: order.limit_price for ref, order in target.orders.items()}
        events = target.apply(command, at)
        if isinstance(command, Place) and not any(isinstance(event, Rejected) for event in events):
            orders[command.order_ref] = command
        bought = sold = 0
        for event in events:
            assert event.order_ref not in ended or not isinstance(event, Filled | Canceled | Expired | Triggered)
            if isinstance(event, Canceled | Expired):
                ended.add(event.order_ref)
            if isinstance(event, Replaced) and event.limit_price:
                before[event.order_ref] = event.limit_price
            if isinstance(event, Filled):
                place = orders[event.order_ref]
                worst = before.get(event.order_ref) or place.limit_price
                signed = event.last_quantity if place.side is Side.BUY else -event.last_quantity
                assert worst is None or (event.last_price <= worst if signed > 0 else event.last_price >= worst)
                assert event.fee >= 0
                bought, sold = bought + max(signed, 0), sold + max(-signed, 0)
                filled[event.order_ref] += event.last_quantity
                assert event.cumulative_quantity == filled[event.order_ref]
                if place.reduce_only:
                    assert held[event.account_id] * signed < 0, "it never opens or increases a position"
                    assert abs(signed) <= abs(held[event.account_id]), "nor turns it round"
                held[event.account_id] += signed
        assert bought == sold, "what is bought is sold"
        assert {account: target.positions.of(account) for account in "ABC"} == {a: held[a] for a in "ABC"}
        for ref, order in target.orders.items():
            assert 0 <= order.resting <= order.remaining
            if order.display_quantity and order.phase is Phase.BOOK:
                assert order.resting <= order.display_quantity, "an iceberg shows no more than its display"
            assert filled[ref] == order.filled_quantity <= order.quantity or order.phase is Phase.PARENT
        in_book = sum(row[5] for row in target.book.orders().tolist())
        assert in_book == sum(order.resting for order in target.orders.values())
        best = target.book.best(0), target.book.best(1)
        assert None in best or best[0] < best[1], "a book never crosses"  # type: ignore[operator]


@given(
    st.lists(st.tuples(st.booleans(), st.one_of(st.none(), st.integers(90, 110)), st.integers(1, 50)), max_size=12),
    st.one_of(st.none(), st.integers(85, 115)),
)
@settings(max_examples=120, deadline=None)
def test_the_auctions_price_is_that_of_a_scan_of_all_ticks(
    found: list[tuple[bool, int | None, int]], reference: int | None
) -> None:
    orders = []
    for n, (buy, price, quantity) in enumerate(found):
        kind = OrderType.LIMIT if price else OrderType.MARKET
        side = Side.BUY if buy else Side.SELL
        place = Place(str(n), "A", n, side, kind, quantity, limit_price=price)
        orders.append(Order.of(place, accepted_at=0, arrival=n, account=0))
    best: tuple[int, ...] = (0,)
    for tick in range(80, 121):
        if not any(price for _, price, _ in found) and tick != reference:
            continue
        bought = sum(q for buy, price, q in found if buy and (price is None or price >= tick))
        sold = sum(q for buy, price, q in found if not buy and (price is None or price <= tick))
        best = min(best, (-min(bought, sold), abs(bought - sold), abs(tick - reference) if reference else 0, tick))
    answer = clearing(orders, reference)
    if len(best) == 1 or not best[0]:
        assert answer is None
    elif reference:
        assert answer == (best[3], -best[0])
    else:  # any price that is as good
        assert answer is not None
        bought, sold = (
            sum(o.remaining for o in orders if o.is_buy is buy and o.takes(answer.price)) for buy in (True, False)
        )
        assert (-min(bought, sold), abs(bought - sold)) == best[:2]


# -- by example ----------------------------------------------------------------------------------------------------


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
