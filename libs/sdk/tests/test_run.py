"""The rules of the in-process run, by example and against whatever is asked for."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
from fleet_sdk.accounts import Outcome
from fleet_sdk.bars import Bar, steps
from fleet_sdk.orders import signal_id
from fleet_sdk.parameters import Parameters
from fleet_sdk.run import Deployment, RunResult, run
from fleet_sdk.strategy import Context, Strategy
from fleet_simulator import ConstantLatency, Side, TimeInForce, UnknownModel
from hypothesis import example, given, settings
from hypothesis import strategies as st

CENT = Decimal("0.01")
FEE, TICK, FACTOR = Decimal("0.001"), Decimal("0.0001"), Decimal("1.05")
START = datetime(2026, 1, 5, tzinfo=UTC)


class ScriptParameters(Parameters, frozen=True):
    pass


class Script(Strategy[ScriptParameters]):
    """Does at the nth step what it was told to do there, and keeps what it saw."""

    parameters_type = ScriptParameters

    def __init__(self, **steps: Any) -> None:
        super().__init__()
        self.steps = steps
        self.seen: list[tuple[Any, int]] = []

    def on_step(self, context: Context) -> None:
        self.seen.append((context.position("X/USD"), len(context.open_orders)))
        act = self.steps.get(f"at_{len(self.seen)}")
        if act:
            act(context)


def bars(*prices: tuple[str, str, str, str]) -> list[Bar]:
    """Daily bars (open, high, low, close) of X/USD."""
    return [
        Bar(
            symbol="X/USD",
            open_at=START + timedelta(days=n),
            close_at=START + timedelta(days=n + 1),
            open=Decimal(o),
            high=Decimal(h),
            low=Decimal(lo),
            close=Decimal(c),
            volume=Decimal(1000),
        )
        for n, (o, h, lo, c) in enumerate(prices)
    ]


def play(found: Iterable[Bar], *scripts: Script, **options: Any) -> RunResult:
    deployments = [Deployment(UUID(int=n), "A", script, ["X/USD"]) for n, script in enumerate(scripts)]
    return run(deployments, steps(found), **{"fee_rate": FEE, "tick": Decimal("0.01"), **options})


FLAT = ("100", "102", "98", "100")


def test_a_signal_fills_from_the_next_bar_on_and_the_strategy_then_knows() -> None:
    script = Script(at_1=lambda c: c.buy("X/USD", 3))
    result = play(bars(FLAT, ("101.25", "103", "99", "100"), FLAT), script)
    assert [(f.price, f.fee, f.market_at) for f in result.fills] == [
        (Decimal("101.25"), Decimal("0.30375"), START + timedelta(days=2))
    ]
    assert result.fills[0].signal_id == signal_id(UUID(int=0), START + timedelta(days=1), 0)
    assert script.seen == [(0, 0), (3, 0), (3, 0)]


def test_orders_rest_are_cancelled_expire_and_are_protected() -> None:
    script = Script(
        at_1=lambda c: [
            c.buy("X/USD", 1, limit_price=Decimal(97)),
            c.buy("X/USD", 2, limit_price=Decimal(97), time_in_force=TimeInForce.DAY),
            c.buy("X/USD", 3, limit_price=Decimal(97), time_in_force=TimeInForce.IOC),
        ],
        at_2=lambda c: [c.cancel(c.open_orders[0]), c.buy("X/USD", 4)],
    )
    result = play(bars(FLAT, FLAT, ("105.01", "106", "90", "100"), FLAT), script)
    assert [(o.outcome, o.reason) for o in result.orders] == [
        (Outcome.CANCELED, "requested"),
        (Outcome.EXPIRED, None),
        (Outcome.CANCELED, "immediate_or_cancel"),
        (Outcome.CANCELED, "price_protection"),
    ]
    assert script.seen == [(0, 0), (0, 1), (0, 0), (0, 0)]
    assert not result.fills


def test_a_stop_gets_out_through_a_gap() -> None:
    script = Script(at_1=lambda c: c.buy("X/USD", 3), at_2=lambda c: c.sell("X/USD", 3, stop_price=Decimal(95)))
    result = play(bars(FLAT, FLAT, ("60", "62", "58", "61")), script)
    assert [f.price for f in result.fills] == [Decimal(100), Decimal(60)]


def test_what_cannot_be_paid_held_or_sized_is_denied() -> None:
    script = Script(
        at_1=lambda c: [
            c.buy("X/USD", 9),
            c.buy("X/USD", 1),
            c.sell("X/USD", 1),
            c.buy("X/USD", Decimal("0.5"), limit_price=Decimal(1)),
            c.buy("X/USD", 1, limit_price=Decimal("1.001")),
        ],
        at_2=lambda c: [c.sell("X/USD", 5, limit_price=Decimal(200)), c.sell("X/USD", 5)],
    )
    result = play(bars(FLAT, FLAT, FLAT), script, initial_cash=Decimal("945.945"))
    assert [(o.outcome, o.reason) for o in result.orders] == [
        (Outcome.FILLED, None),  # 9 x 105 and 0.1 % of it: all there is
        (Outcome.DENIED, "insufficient_funds"),
        (Outcome.DENIED, "insufficient_funds"),
        (Outcome.DENIED, "invalid_quantity"),
        (Outcome.DENIED, "invalid_price"),
        (Outcome.OPEN, None),
        (Outcome.DENIED, "insufficient_funds"),
    ]


def ends(result: RunResult) -> list[tuple[str, str | None, Outcome, str | None]]:
    return [(str(o.asked.type), o.leg and str(o.leg), o.outcome, o.reason) for o in result.orders]


def test_a_bracket_enters_at_its_stop_and_leaves_at_its_target() -> None:
    bracket: dict[str, Any] = {"stop_price": Decimal("103.5"), "take_profit": Decimal(108), "stop_loss": Decimal(99)}
    script = Script(at_1=lambda c: c.buy("X/USD", 3, **bracket))
    result = play(bars(FLAT, ("101", "104", "100.5", "103"), ("105", "109", "104", "108")), script)
    assert [(str(f.side), f.price, f.liquidity) for f in result.fills] == [
        ("buy", Decimal("103.5"), "taker"),
        ("sell", Decimal(108), "maker"),
    ]
    assert len({f.signal_id for f in result.fills}) == 1, "an exit's fills are of the signal of its entry"
    assert ends(result) == [
        ("stop", None, Outcome.FILLED, None),
        ("limit", "take_profit", Outcome.FILLED, None),
        ("stop", "stop_loss", Outcome.CANCELED, "oco"),
    ]
    assert script.seen == [(0, 0), (3, 2), (0, 0)], "the exits are open orders of the deployment"


def test_an_entry_that_is_cancelled_takes_its_exits_along() -> None:
    script = Script(
        at_1=lambda c: c.buy("X/USD", 3, limit_price=90, take_profit=110, stop_loss=80),
        at_2=lambda c: c.cancel(c.open_orders[2]),
    )
    result = play(bars(FLAT, FLAT, FLAT), script)
    assert [(outcome, reason) for _, _, outcome, reason in ends(result)] == [
        (Outcome.CANCELED, "requested"),
        (Outcome.CANCELED, "parent_ended"),
        (Outcome.CANCELED, "parent_ended"),
    ]
    assert script.seen == [(0, 0), (0, 3), (0, 0)]


def test_exits_reserve_once_and_are_cancelled_together() -> None:
    script = Script(
        at_1=lambda c: c.buy("X/USD", 3, take_profit=110, stop_loss=80),
        at_2=lambda c: [c.sell("X/USD", 1), c.cancel(c.open_orders[0])],
        at_3=lambda c: c.oco("X/USD", Side.SELL, 3, take_profit=102, stop_loss=90),
    )
    result = play(bars(FLAT, FLAT, FLAT, FLAT), script)
    assert [(outcome, reason) for _, _, outcome, reason in ends(result)] == [
        (Outcome.FILLED, None),
        (Outcome.CANCELED, "requested"),
        (Outcome.CANCELED, "requested"),
        (Outcome.DENIED, "insufficient_funds"),  # what the exits hold is not there twice
        (Outcome.FILLED, None),
        (Outcome.CANCELED, "oco"),
    ]
    assert [f.price for f in result.fills] == [100, 102]


def test_a_trailing_stop_follows_and_an_order_ends_with_its_time() -> None:
    script = Script(
        at_1=lambda c: [c.buy("X/USD", 2), c.buy("X/USD", 1, limit_price=90, expires_at=c.now + timedelta(days=2))],
        at_2=lambda c: c.sell("X/USD", 2, trail_percent=Decimal(5)),
    )
    result = play(bars(FLAT, FLAT, ("101", "110", "101", "108"), ("107", "108", "100", "102"), FLAT), script)
    assert [f.price for f in result.fills] == [100, Decimal("104.50")], "5 % below the best price, 110"
    assert ends(result)[1] == ("limit", None, Outcome.EXPIRED, None)


def test_positions_are_the_deployments_own() -> None:
    first, second = Script(at_1=lambda c: c.buy("X/USD", 3)), Script(at_1=lambda c: c.buy("X/USD", 2))
    result = play(bars(FLAT, FLAT), first, second)
    assert (first.seen[-1], second.seen[-1]) == ((3, 0), (2, 0))
    assert result.positions == {("A", "X/USD"): 5}


def test_a_share_of_the_volume_fills_in_parts_and_fees_add_up() -> None:
    script = Script(at_1=lambda c: c.buy("X/USD", 25))
    result = play(bars(FLAT, FLAT, FLAT, FLAT), script, volume_share=Fraction(1, 100))
    assert [f.quantity for f in result.fills] == [10, 10, 5]
    assert sum(f.fee for f in result.fills) == Decimal("2.5")
    assert script.seen == [(0, 0), (10, 1), (20, 1), (25, 0)]


def test_a_run_assumes_what_it_is_told_to() -> None:
    """slippage for who takes, fees by who takes, an order that is on its way for longer than the market is closed, and the
    path that is worse for who has a stop and a limit in one bar"""
    day = 86_400_000_000_000
    script = Script(at_1=lambda c: c.buy("X/USD", 10), at_2=lambda c: c.sell("X/USD", 10, limit_price=101))
    result = play(
        bars(FLAT, FLAT, FLAT), script, fee_rate=None, fees="maker_taker:0.001,0.002", slippage="half_spread:0.01"
    )
    assert [(f.price, f.fee, f.liquidity) for f in result.fills] == [
        (Decimal("100.50"), Decimal("2.01"), "taker"),
        (Decimal(101), Decimal("1.01"), "maker"),
    ]
    late = Script(at_1=lambda c: c.buy("X/USD", 1))
    result = play(
        bars(FLAT, ("101", "102", "98", "100"), ("102", "103", "98", "100")), late, latency=ConstantLatency(day // 2)
    )
    assert [f.price for f in result.fills] == [102]
    for path, left_at in (("nearer_extreme", 103), ("worst_first", 98)):
        both = Script(
            at_1=lambda c: c.buy("X/USD", 1), at_2=lambda c: c.oco("X/USD", Side.SELL, 1, take_profit=103, stop_loss=98)
        )
        result = play(bars(FLAT, FLAT, ("101", "103", "98", "100")), both, bar_path=path)
        assert result.fills[-1].price == left_at


def test_what_names_no_model_stops_a_run() -> None:
    with pytest.raises(UnknownModel, match="slippage is one of"):
        play(bars(FLAT), Script(), slippage="some")
    with pytest.raises(ValueError, match="either a fee rate or fees"):
        play(bars(FLAT), Script(), fees="flat:0.001")


def test_prices_off_the_grid_stop_a_run() -> None:
    with pytest.raises(ValueError, match=r"multiple of 0\.01"):
        play(bars(("100.001", "102", "98", "100")), Script())


WISHES = st.tuples(
    st.sampled_from(["market", "limit", "stop", "touch", "trail", "bracket", "oto", "oco", "cancel"]),
    st.sampled_from(Side),
    st.integers(1, 5),
    st.integers(-2, 2),
    st.integers(1, 3),
)
"""What to ask for: side, quantity, how far from the close, and how far the exits lie from there."""


def ask(context: Context, kind: str, side: Side, quantity: int, away: int, far: int) -> None:
    bar = context.bar("X/USD")
    assert bar is not None
    price = bar.close + away
    send = context.buy if side is Side.BUY else context.sell
    up = far if side is Side.BUY else -far
    match kind:
        case "market":
            send("X/USD", quantity)
        case "limit":
            send("X/USD", quantity, limit_price=price)
        case "stop":
            send("X/USD", quantity, stop_price=price)
        case "touch":
            send("X/USD", quantity, touch_price=price, limit_price=price + 1)
        case "trail":
            send("X/USD", quantity, trail_amount=far)
        case "bracket":
            send("X/USD", quantity, limit_price=price, take_profit=price + up, stop_loss=price - up)
        case "oto":
            send("X/USD", quantity, stop_price=price, stop_loss=price - up)
        case "oco":
            context.oco("X/USD", side, quantity, take_profit=price - up, stop_loss=price + up)
        case _ if context.open_orders:
            context.cancel(context.open_orders[quantity % len(context.open_orders)])


@given(
    st.lists(st.lists(WISHES, max_size=3), min_size=4, max_size=8),
    st.lists(st.lists(st.integers(96, 104), min_size=4, max_size=4), min_size=9, max_size=9),
    st.sampled_from([None, Fraction(1, 100), Fraction(1, 300)]),
    st.sampled_from([{}, {"slippage": "half_spread:0.03"}, {"slippage": "square_root", "bar_path": "worst_first"}]),
)
@example(
    [
        [("bracket", Side.BUY, 3, 0, 1), ("limit", Side.BUY, 1, 0, 1)],
        [("market", Side.SELL, 3, 0, 1)],
        [],
        [("market", Side.SELL, 3, 0, 1)],
    ],
    [[96] * 4, [96, 96, 97, 97], *[[96] * 4] * 7],
    Fraction(1, 300),
    {},
)  # a stop-loss that has filled all there was, whose entry then fills on to its end
@settings(max_examples=200)
def test_whatever_is_asked_for_nothing_is_sold_or_spent_that_is_not_there(
    wishes: list[list[Any]], prices: list[list[int]], share: Fraction | None, models: dict[str, str]
) -> None:
    """What an order and its exits reserve covers whatever they fill, in whatever order they do."""

    def asking(these: list[Any]) -> Callable[[Context], None]:
        def act(context: Context) -> None:
            for wish in these:
                ask(context, *wish)

        return act

    script = Script(**{f"at_{n}": asking(these) for n, these in enumerate(wishes, 2)})
    script.steps["at_1"] = lambda context: context.buy("X/USD", 5)
    found = []
    for four in prices:
        low, first, last, high = sorted(four)
        found.append((str(first), str(high), str(low), str(last)))
    result = play(bars(*found), script, volume_share=share, initial_cash=Decimal(1500), **models)
    cash, held = Decimal(1500), Decimal(0)
    for fill in result.fills:
        sign = 1 if fill.side is Side.BUY else -1
        cash -= sign * fill.quantity * fill.price + fill.fee
        held += sign * fill.quantity
        assert held >= 0, "no more is sold than is held"
        assert cash >= 0, "no more is spent than there is"
    filled = {order.order_id: order.filled_quantity for order in result.orders}
    for order in result.orders:
        assert order.filled_quantity <= order.asked.quantity
        if order.legs:
            exits = sum(filled[leg.order_id] for leg in order.legs)
            most = (
                order.filled_quantity
                if order.order_class.has_waiting_legs
                else order.asked.quantity - order.filled_quantity
            )
            assert exits <= most, "exits close what was opened, once"
