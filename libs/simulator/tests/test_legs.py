"""Brackets whatever happens to them: self-trade prevention, orders that only reduce, splits and dividends on the way."""

from decimal import Decimal
from typing import Any

import pytest
from fleet_simulator.book import NaiveBook
from fleet_simulator.book_exchange import BookExchange
from fleet_simulator.events import Canceled, Event, Expired, Filled, Rejected, Replaced
from fleet_simulator.fees import MakerTaker
from fleet_simulator.orders import Cancel, OrderType, Phase, Place, SelfTrade, Side
from fleet_simulator.scale import OffGrid, trail_ppm
from hypothesis import given, settings
from hypothesis import strategies as st

FEES = MakerTaker.of(tick=Decimal("0.01"), lot=Decimal(1))
ENTRY, PROFIT, LOSS = "entry", "profit", "loss"
LEGS = PROFIT, LOSS


def exchange() -> BookExchange:
    return BookExchange(FEES, NaiveBook())


def placed(ref: str, side: Side, quantity: int, limit: int | None, **changes: Any) -> Place:
    kind = OrderType.MARKET if limit is None else OrderType.LIMIT
    values = {"account_id": "A", "command_sequence": 0, "type": kind, "limit_price": limit, **changes}
    return Place(ref, side=side, quantity=quantity, **values)


def bracket(target: BookExchange, quantity: int = 10, **changes: Any) -> list[Event]:
    """Buys at 100, sells again at 110, or at 90 or worse."""
    legs = {"oco_group": "g", "parent_ref": ENTRY}
    stop: dict[str, Any] = {"type": OrderType.STOP, "stop_price": 90}
    return [
        *target.apply(placed(PROFIT, Side.SELL, quantity, 110, **legs, **changes), 0),
        *target.apply(placed(LOSS, Side.SELL, quantity, None, **legs, **stop, **changes), 0),
        *target.apply(placed(ENTRY, Side.BUY, quantity, 100, **changes), 0),
    ]


class Reader:
    """Knows of the orders what their events say, and no more."""

    def __init__(self) -> None:
        self.quantity: dict[str, int] = {}
        self.filled: dict[str, int] = {}
        self.ended: set[str] = set()

    def place(self, place: Place) -> None:
        self.quantity[place.order_ref] = 0 if place.parent_ref else place.quantity
        self.filled[place.order_ref] = 0

    def hear(self, events: list[Event]) -> None:
        for event in events:
            ref = event.order_ref
            if isinstance(event, Canceled | Expired | Rejected):
                assert ref not in self.ended, "an order ends once"
                self.ended.add(ref)
            elif isinstance(event, Replaced | Filled):
                assert ref not in self.ended, f"nothing is told of what has ended, was {event}"
                if isinstance(event, Replaced):
                    self.quantity[ref] = event.quantity
                else:
                    self.filled[ref] = event.cumulative_quantity
        for ref in sorted(self.quantity, key=lambda ref: ref in LEGS):  # an entry before its legs
            is_full = 0 < self.quantity[ref] <= self.filled[ref]
            if is_full and not (ref in LEGS and ENTRY not in self.ended):
                self.ended.add(ref)

    @property
    def open(self) -> set[str]:
        return self.quantity.keys() - self.ended


ACTIONS = st.one_of(
    st.tuples(st.just("trade"), st.sampled_from(Side), st.sampled_from([None, 88, 99, 100, 110]), st.integers(1, 12)),
    st.tuples(st.just("own"), st.sampled_from(Side), st.sampled_from([99, 100, 110]), st.integers(1, 6)),
    st.tuples(st.just("cancel"), st.sampled_from([ENTRY, *LEGS])),
    st.tuples(st.just("split"), st.sampled_from([(2, 1), (3, 2), (1, 3), (1, 10)])),
    st.tuples(st.just("dividend"), st.integers(1, 2)),
)


@given(st.lists(ACTIONS, max_size=14), st.sampled_from(SelfTrade), st.booleans(), st.booleans())
@settings(max_examples=250)
def test_whatever_happens_legs_protect_what_was_bought_and_all_is_told(
    actions: list[tuple[Any, ...]], self_trade: SelfTrade, reduce_only: bool, starts_short: bool
) -> None:
    """The legs together never sell more than the entry has bought, and events alone tell which orders are open."""
    target, reader = exchange(), Reader()

    def do(place: Place, at: int) -> None:
        reader.place(place)
        reader.hear(target.apply(place, at))

    if starts_short:
        do(placed("bid", Side.BUY, 6, 105, account_id="B"), 0)
        do(placed("short", Side.SELL, 6, 105), 0)
    rules: dict[str, Any] = {"self_trade": self_trade, "oco_group": "g"}
    stop: dict[str, Any] = {"type": OrderType.STOP, "stop_price": 90}
    do(placed(PROFIT, Side.SELL, 10, 110, parent_ref=ENTRY, **rules), 0)
    do(placed(LOSS, Side.SELL, 10, None, parent_ref=ENTRY, **rules, **stop), 0)
    do(placed(ENTRY, Side.BUY, 10, 100, self_trade=self_trade, reduce_only=reduce_only and starts_short), 0)
    bought = sold = 0  # by the group, in today's lots
    for at, (what, *values) in enumerate(actions, 1):
        before = dict(reader.filled)
        match what:
            case "trade" | "own":
                side, limit, quantity = values
                account = "A" if what == "own" else "B"
                do(placed(f"{what}{at}", side, quantity, limit, account_id=account, self_trade=self_trade), at)
            case "cancel":
                reader.hear(target.apply(Cancel(values[0], "A", at), at))
            case "split":
                numerator, denominator = values[0]
                reader.hear(target.split(numerator, denominator, at))
                bought, sold = (each * numerator // denominator for each in (bought, sold))
            case _:
                reader.hear(target.dividend(values[0], at))
        bought += reader.filled[ENTRY] - before[ENTRY]
        sold += sum(reader.filled[leg] - before[leg] for leg in LEGS)
        assert reader.open == set(target.orders)
        splits = sum(1 for each in actions[:at] if each[0] == "split")
        for leg in LEGS:
            if leg in target.orders:
                assert sold + target.orders[leg].remaining <= bought + 2 * splits, "never more than was bought"
        for order in target.orders.values():
            assert order.phase is Phase.PARENT or order.remaining > 0


def test_a_leg_that_is_full_when_its_entry_ends_is_filled() -> None:
    target = exchange()
    bracket(target)
    target.apply(placed("s", Side.SELL, 4, 100, account_id="B"), 1)
    target.apply(placed("b", Side.BUY, 4, 110, account_id="B"), 2)
    ended = target.apply(Cancel(ENTRY, "A", 3), 3)
    assert ended == [
        Canceled(ENTRY, "A", 3, "requested"),
        Replaced(PROFIT, "A", 3, 4, 110, None, "parent_ended"),
        Canceled(LOSS, "A", 3, "parent_ended"),
    ]
    assert not target.orders


def test_what_self_trade_prevention_takes_from_an_entry_its_legs_do_not_sell() -> None:
    target = exchange()
    bracket(target)
    target.apply(placed("own", Side.SELL, 4, 100, self_trade=SelfTrade.DECREMENT), 1)
    assert target.orders[ENTRY].remaining == 6
    target.apply(placed("s", Side.SELL, 6, 100, account_id="B"), 2)
    assert [target.orders[leg].remaining for leg in LEGS] == [6, 6]


def test_what_self_trade_prevention_leaves_nothing_of_is_canceled() -> None:
    target = exchange()
    target.apply(placed("rests", Side.BUY, 3, 100), 0)
    events = target.apply(placed("own", Side.SELL, 5, 100, self_trade=SelfTrade.DECREMENT), 1)
    assert events[1:] == [
        Replaced("own", "A", 1, 2, 100, None, "self_trade"),
        Canceled("rests", "A", 1, "self_trade"),
    ]
    assert list(target.orders) == ["own"]


def test_an_entry_that_only_reduces_brings_legs_for_what_it_reduces() -> None:
    target = exchange()
    target.apply(placed("bid", Side.BUY, 6, 105, account_id="B"), 0)
    target.apply(placed("short", Side.SELL, 6, 105), 0)
    bracket(target, 10, reduce_only=True)
    assert target.orders[ENTRY].quantity == 6
    target.apply(placed("s", Side.SELL, 3, 100, account_id="B"), 1)
    assert target.orders[PROFIT].granted == 3


def test_a_split_carries_on_what_is_still_to_be_released() -> None:
    target = exchange()
    bracket(target)
    target.apply(placed("s1", Side.SELL, 4, 100, account_id="B"), 1)
    target.split(2, 1, 2)
    assert [target.orders[leg].remaining for leg in LEGS] == [8, 8]
    target.apply(placed("s2", Side.SELL, 5, 50, account_id="B"), 3)
    assert [target.orders[leg].remaining for leg in LEGS] == [13, 13]
    target.apply(placed("s3", Side.SELL, 7, 50, account_id="B"), 4)
    assert ([target.orders[leg].remaining for leg in LEGS], target.positions.of("A")) == ([20, 20], 20)
    assert (target.orders[PROFIT].limit_price, target.orders[LOSS].stop_price) == (55, 45)


def test_a_leg_that_a_split_leaves_no_lot_of_waits_for_the_rest_of_its_entry() -> None:
    target = exchange()
    bracket(target, 100)
    target.apply(placed("s1", Side.SELL, 4, 100, account_id="B"), 1)
    target.split(1, 10, 2)
    assert [target.orders[leg].phase for leg in LEGS] == [Phase.PARENT, Phase.PARENT]
    target.apply(placed("s2", Side.SELL, 9, 1000, account_id="B"), 3)
    assert [target.orders[leg].remaining for leg in LEGS] == [9, 9]


def test_a_minimum_that_was_met_before_a_split_does_not_bind_again() -> None:
    target = exchange()
    target.apply(placed("s", Side.SELL, 5, 100, account_id="B"), 0)
    target.apply(placed("b", Side.BUY, 9, 100, minimum_quantity=5), 1)
    target.split(3, 1, 2)
    assert target.orders["b"].remaining == 12


@pytest.mark.parametrize("percent", ["1.50001", "1E+90", "NaN", "Infinity"])
def test_a_trail_off_the_grid_is_no_trail(percent: str) -> None:
    with pytest.raises(OffGrid):
        trail_ppm(Decimal(percent))
    assert trail_ppm(Decimal("1.5")) == 15_000
