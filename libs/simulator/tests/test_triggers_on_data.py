"""Stops, trailing stops, if-touched orders, OCOs and brackets on bars and quotes, against a model that is plainly right."""

import importlib.util
from decimal import Decimal
from pathlib import Path
from typing import Any

from data_markets import show
from fleet_simulator import (
    Accepted,
    Bar,
    Cancel,
    Canceled,
    CancelRejected,
    Event,
    Expired,
    FeeSchedule,
    Filled,
    Market,
    OrderType,
    Place,
    Quote,
    Replaced,
    Side,
    TimeInForce,
    Triggered,
)
from hypothesis import given, settings
from hypothesis import strategies as st

_spec = importlib.util.spec_from_file_location("naive_triggers", Path(__file__).with_name("naive_triggers.py"))
assert _spec and _spec.loader
_naive = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_naive)

PRICES = st.integers(94, 106)
LIFETIME = 3
Move = tuple[int, Place] | tuple[int, Cancel] | Bar | Quote | int


@st.composite
def places(draw: st.DrawFn, /, ref: str, now: int, **fixed: Any) -> Place:
    kind = fixed.pop("type", None) or draw(st.sampled_from(OrderType))
    time = draw(st.sampled_from([TimeInForce.GTC, TimeInForce.GTC, TimeInForce.DAY, TimeInForce.GTD]))
    is_trailing = kind is OrderType.TRAILING_STOP
    trail = (
        draw(st.sampled_from([(1, None), (3, None), (None, 10_000), (None, 25_000)])) if is_trailing else (None, None)
    )
    asked: dict[str, Any] = {
        "account_id": draw(st.sampled_from("AB")),
        "side": draw(st.sampled_from(Side)),
        "quantity": draw(st.integers(1, 9)),
        "limit_price": draw(PRICES) if kind.has_limit else None,
        "protection_price": None if kind.has_limit else draw(st.sampled_from([None, 95, 105])),
        "stop_price": draw(PRICES) if kind.is_triggered and not is_trailing else None,
        "expires_at": now + draw(st.integers(1, 12)) if time is TimeInForce.GTD else None,
    }
    return Place(
        order_ref=ref, command_sequence=0, type=kind, time_in_force=time, trail_amount=trail[0], trail_ppm=trail[1],
        **{**asked, **fixed},
    )  # fmt: skip


@st.composite
def groups(draw: st.DrawFn, number: int, now: int) -> list[Place]:
    """An OCO pair, or a bracket, OTO: exits first. One leg rests, the other is a stop."""
    side, account = draw(st.sampled_from(Side)), draw(st.sampled_from("AB"))
    other = Side.SELL if side is Side.BUY else Side.BUY
    legs: dict[str, Any] = {"side": other, "account_id": account, "quantity": draw(st.integers(1, 9))}
    parent = f"o{number}"
    is_bracket = draw(st.booleans())
    if is_bracket:
        legs["parent_ref"] = parent
    if draw(st.integers(0, 3)):
        legs["oco_group"] = f"g{number}"
    stop = draw(st.sampled_from([OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP]))
    found = [
        draw(places(f"o{number}t", now, type=OrderType.LIMIT, **legs)),
        draw(places(f"o{number}s", now, type=stop, **legs)),
    ]
    found = found[: draw(st.integers(1, 2))]
    return [*found, draw(places(parent, now, side=side, account_id=account))] if is_bracket else found


@st.composite
def moves(draw: st.DrawFn, kinds: str) -> list[Move]:
    found: list[Move] = []
    now = 0
    for number in range(draw(st.integers(1, 30))):
        now += draw(st.integers(0, 3))
        match draw(st.sampled_from("ppggc" + kinds + "s")):
            case "p":
                found.append((now, draw(places(f"o{number}", now))))
            case "g":
                found += [(now, place) for place in draw(groups(number, now))]
            case "c":
                ref = f"o{draw(st.integers(0, number))}{draw(st.sampled_from(['', 't', 's']))}"
                found.append((now, Cancel(ref, draw(st.sampled_from("AB")), 0)))
            case "b":
                low, first, last, high = sorted(draw(st.lists(PRICES, min_size=4, max_size=4)))
                first, last = draw(st.sampled_from([(first, last), (last, first), (low, high), (high, low)]))
                open_at, now = max(0, now - draw(st.integers(0, 2))), now + draw(st.integers(1, 4))
                found.append(Bar(open_at, now, first, high, low, last, draw(st.sampled_from([0, 9, 9, 9]))))
            case "q":
                bid, sizes = draw(PRICES), st.sampled_from([0, 5, 5, 5])
                found.append(Quote(now, bid, draw(sizes), bid + draw(st.integers(0, 3)), draw(sizes)))
            case _:
                found.append(now)
    return found


def tell(naive: Any, move: Move) -> None:
    match move:
        case Bar():
            naive.bar(move)
        case Quote():
            naive.quote(move)
        case int():
            naive.session_end(move)
        case at, command:
            naive.apply(command, at)


def plain(event: Event) -> tuple[Any, ...]:
    match event:
        case Accepted(ref):
            return "accepted", ref
        case Triggered(ref, _, _, price):
            return "triggered", ref, price
        case Filled():
            return "filled", event.order_ref, event.last_quantity, event.last_price, str(event.liquidity)
        case Canceled():
            return "canceled", event.order_ref, event.reason
        case Replaced():
            return "replaced", event.order_ref, event.quantity, event.reason
        case Expired(ref):
            return "expired", ref
        case CancelRejected(ref):
            return "cancel_rejected", ref
        case _:
            raise AssertionError(f"nothing is refused here, was {event}")


@given(st.one_of(moves("bbbbb"), moves("qqqqq"), moves("bbbqq")))
@settings(max_examples=200)
def test_the_market_and_the_naive_model_say_the_same(found: list[Move]) -> None:
    target = Market("X/USD", FeeSchedule.of(Decimal(0), tick=Decimal(1), lot=Decimal(1)), quote_lifetime_ns=LIFETIME)
    naive = _naive.NaiveTriggers(LIFETIME)
    for move in found:
        before = len(naive.out)
        tell(naive, move)
        assert [plain(event) for event in show(target, move)] == naive.out[before:], move
