"""All order types above the core book: against the naive model, their laws, restore at any point."""

import importlib.util
import json
from collections import Counter
from pathlib import Path

from exchange_events import exchange, plain
from fleet_simulator.auction import clearing
from fleet_simulator.book_exchange import BookExchange
from fleet_simulator.events import (
    Canceled,
    Event,
    Expired,
    Filled,
    Rejected,
    Replaced,
    Triggered,
)
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

PRICES = st.integers(95, 105)


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


@given(commands())
@settings(max_examples=120)
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
@settings(max_examples=40)
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
@settings(max_examples=120)
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
@settings(max_examples=120)
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
