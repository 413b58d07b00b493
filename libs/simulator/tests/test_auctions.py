"""Self-trade prevention in a call auction: against a plain model, its law, and by example; both books alike."""

from typing import Any

import pytest
from exchange_events import FEES, exchange, plain
from fleet_simulator.book import Book, NaiveBook
from fleet_simulator.book.fast import FastBook
from fleet_simulator.book_exchange import BookExchange
from fleet_simulator.events import Filled
from fleet_simulator.orders import OrderType, Place, SelfTrade, Side, TimeInForce
from hypothesis import given, settings
from hypothesis import strategies as st


def at_close(ref: str, side: Side, quantity: int, limit: int | None = None, **changes: Any) -> Place:
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    fields = {"account_id": "A", "command_sequence": 1, "time_in_force": TimeInForce.AT_CLOSE, **changes}
    return Place(ref, side=side, type=kind, quantity=quantity, limit_price=limit, **fields)


@pytest.mark.parametrize("book", [NaiveBook, FastBook])
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (SelfTrade.CANCEL_NEWEST, [("canceled", "sell", "self_trade"), ("canceled", "buy", "auction")]),
        (SelfTrade.CANCEL_OLDEST, [("canceled", "buy", "self_trade"), ("canceled", "sell", "auction")]),
        (SelfTrade.CANCEL_BOTH, [("canceled", "buy", "self_trade"), ("canceled", "sell", "self_trade")]),
        (SelfTrade.DECREMENT, [("replaced", "buy", 6), ("canceled", "sell", "self_trade"), ("canceled", "buy", "auction")]),
    ],
)  # fmt: skip
def test_two_orders_of_one_account_do_not_trade_in_an_auction(
    book: type[Book], mode: SelfTrade, expected: list[tuple[str, ...]]
) -> None:
    target = BookExchange(FEES, book())
    target.apply(at_close("buy", Side.BUY, 10), 0)
    target.apply(at_close("sell", Side.SELL, 4, 99, self_trade=mode), 1)
    assert [plain(event) for event in target.auction(TimeInForce.AT_CLOSE, 100, 2)] == expected


def test_who_allows_it_trades_with_himself() -> None:
    target = exchange()
    target.apply(at_close("buy", Side.BUY, 10), 0)
    target.apply(at_close("sell", Side.SELL, 10, self_trade=SelfTrade.ALLOW), 1)
    assert [type(event) for event in target.auction(TimeInForce.AT_CLOSE, 100, 2)] == [Filled, Filled]


def test_what_rests_is_prevented_by_what_waited_for_the_auction() -> None:
    """The later one's word counts, and what rests keeps its place where it is only made smaller."""
    target = exchange()
    target.apply(at_close("rests", Side.BUY, 10, 100, time_in_force=TimeInForce.GTC), 0)
    target.apply(at_close("behind", Side.BUY, 10, 100, time_in_force=TimeInForce.GTC, account_id="B"), 0)
    target.apply(at_close("waits", Side.SELL, 4, self_trade=SelfTrade.DECREMENT), 1)
    target.apply(at_close("other", Side.SELL, 6, account_id="C"), 1)
    told = [plain(event) for event in target.auction(TimeInForce.AT_CLOSE, 100, 2)]
    assert told == [
        ("replaced", "rests", 6),
        ("canceled", "waits", "self_trade"),
        ("filled", "rests", 6, 100, "maker"),
        ("filled", "other", 6, 100, "maker"),
    ]


orders = st.lists(
    st.tuples(
        st.sampled_from("AAB"),
        st.sampled_from(Side),
        st.one_of(st.none(), st.integers(97, 103)),
        st.integers(1, 9),
        st.sampled_from(SelfTrade),
        st.booleans(),
    ),
    max_size=14,
)
Drawn = list[tuple[str, Side, int | None, int, SelfTrade, bool]]


def driven(book: Book, drawn: Drawn) -> tuple[BookExchange, dict[str, Place]]:
    """Orders that rest or wait for the close, and the exchange as it is when that comes."""
    target, placed = BookExchange(FEES, book), {}
    for n, (account, side, limit, quantity, mode, rests) in enumerate(drawn):
        time = TimeInForce.GTC if rests and limit is not None else TimeInForce.AT_CLOSE
        place = at_close(f"o{n}", side, quantity, limit, account_id=account, self_trade=mode, time_in_force=time)
        placed[place.order_ref] = place
        target.apply(place, n)
    return target, placed


def naively_prevented(target: BookExchange) -> dict[str, int]:
    """What is left of each order: those of an account meet by arrival, each the best of the other side first."""
    left = {ref: order.remaining for ref, order in target.orders.items()}
    waiting = {order.account_id for order in target.orders.values() if order.time_in_force is TimeInForce.AT_CLOSE}
    came: list[Any] = []
    for order in sorted(target.orders.values(), key=lambda o: o.priority):
        while order.account_id in waiting and order.self_trade is not SelfTrade.ALLOW and left[order.order_ref]:
            others = [o for o in came if o.account_id == order.account_id and o.side is not order.side]
            crossing = [
                o
                for o in others
                if left[o.order_ref]
                and (o.limit_price is None or order.limit_price is None or order.takes(o.limit_price))
            ]
            if not crossing:
                break
            sign = 1 if order.is_buy else -1
            met = min(crossing, key=lambda o: (o.limit_price is not None, sign * (o.limit_price or 0), o.priority))
            lost = min(left[order.order_ref], left[met.order_ref])
            mode = order.self_trade
            if mode is SelfTrade.DECREMENT:
                left[order.order_ref] -= lost
                left[met.order_ref] -= lost
            if mode in (SelfTrade.CANCEL_NEWEST, SelfTrade.CANCEL_BOTH):
                left[order.order_ref] = 0
            if mode in (SelfTrade.CANCEL_OLDEST, SelfTrade.CANCEL_BOTH):
                left[met.order_ref] = 0
        came.append(order)
    return left


@given(orders, st.one_of(st.none(), st.integers(96, 104)))
@settings(max_examples=150)
def test_prevention_is_that_of_the_plain_model_in_either_book(drawn: Drawn, reference: int | None) -> None:
    target, placed = driven(NaiveBook(), drawn)
    fast, _ = driven(FastBook(), drawn)
    left, before = naively_prevented(target), {ref: o.filled_quantity for ref, o in target.orders.items()}
    events = target.auction(TimeInForce.AT_CLOSE, reference, len(drawn))
    assert fast.auction(TimeInForce.AT_CLOSE, reference, len(drawn)) == events
    assert fast.state_hash() == target.state_hash()
    prevented = {told[1] for event in events if (told := plain(event)) and told[-1] == "self_trade"}
    assert prevented == {ref for ref, quantity in left.items() if not quantity}
    sides: dict[str, set[Side]] = {}
    for event in events:
        if isinstance(event, Filled):
            assert event.cumulative_quantity - before[event.order_ref] <= left[event.order_ref]
            sides.setdefault(event.account_id, set()).add(placed[event.order_ref].side)
    if all(mode is not SelfTrade.ALLOW for *_, mode, _ in drawn):
        assert all(len(found) == 1 for found in sides.values()), "nobody buys and sells at one price"
