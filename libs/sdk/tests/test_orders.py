"""What a strategy may ask for: the conditions of an order, its exits, and what does not go together."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from fleet_sdk.bars import Bar
from fleet_sdk.orders import CancelIntent, Leg, OpenOrder, OrderClass, SubmitIntent, oco_intent, submit_intent
from fleet_sdk.runner import Runner
from fleet_sdk.strategy import Context, Strategy
from fleet_simulator import OrderType, Side, TimeInForce
from fleet_simulator.admission import conditions_refusal
from hypothesis import given
from hypothesis import strategies as st

D = Decimal
NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def buy(**conditions: Any) -> SubmitIntent:
    return submit_intent(0, "X/USD", Side.BUY, 10, **conditions)


@pytest.mark.parametrize(
    ("conditions", "kind"),
    [
        ({}, OrderType.MARKET),
        ({"limit_price": 9}, OrderType.LIMIT),
        ({"stop_price": 9}, OrderType.STOP),
        ({"stop_price": 9, "limit_price": 10}, OrderType.STOP_LIMIT),
        ({"touch_price": 9}, OrderType.MARKET_IF_TOUCHED),
        ({"touch_price": 9, "limit_price": 10}, OrderType.LIMIT_IF_TOUCHED),
        ({"trail_amount": 1}, OrderType.TRAILING_STOP),
        ({"trail_percent": Decimal("1.5")}, OrderType.TRAILING_STOP),
    ],
)
def test_the_type_of_an_order_follows_from_its_conditions(conditions: dict[str, Any], kind: OrderType) -> None:
    intent = buy(**conditions)
    assert intent.type is kind
    assert intent.stop_price == conditions.get("stop_price", conditions.get("touch_price"))
    assert (intent.order_class, intent.time_in_force, list(intent.legs())) == (OrderClass.SIMPLE, TimeInForce.GTC, [])


@pytest.mark.parametrize(
    ("conditions", "words"),
    [
        ({"stop_price": 9, "touch_price": 8}, "waits for one price.*stop_price and touch_price"),
        ({"trail_amount": 1, "trail_percent": 1}, "waits for one price"),
        ({"trail_amount": 1, "limit_price": 9}, "trailing stop has no limit_price"),
        ({"trail_percent": 100}, "below 100"),
        ({"trail_percent": Decimal("0.00001")}, "at most 4 decimals"),
        ({"limit_price": -1}, "limit_price must be above 0, was -1"),
        ({"time_in_force": TimeInForce.GTD}, "gtd and expires_at go together"),
        ({"time_in_force": TimeInForce.DAY, "expires_at": NOON}, "gtd and expires_at go together"),
        ({"expires_at": NOON.replace(tzinfo=None)}, "time zone"),
        ({"stop_price": 9, "time_in_force": TimeInForce.AT_OPEN}, "not in an auction"),
        ({"post_only": True}, "post_only is of orders with a limit_price"),
        ({"limit_price": 9, "post_only": True, "time_in_force": TimeInForce.IOC}, "post_only rests"),
        ({"stop_loss_limit": 8}, "needs a stop_loss"),
        ({"stop_loss": 9, "reduce_only": True}, "opens nothing"),
        ({"stop_loss": 9, "take_profit": 8}, "stop_loss must be below take_profit 8, was 9"),
        ({"limit_price": 10, "take_profit": 10}, "entry must be below take_profit 10, was 10"),
        ({"stop_price": 10, "stop_loss": 11}, "stop_loss must be below entry 10, was 11"),
    ],
)
def test_what_does_not_go_together_is_refused_in_words(conditions: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        buy(**conditions)


@pytest.mark.parametrize("wrong", [0.5, True, "1"])
def test_only_exact_numbers_are_prices(wrong: Any) -> None:
    with pytest.raises(TypeError, match="stop_price must be a Decimal or int"):
        buy(stop_price=wrong)


@pytest.mark.parametrize("wrong", [Decimal("1E+24"), 10**24, Decimal("1E-101"), Decimal("NaN")])
def test_what_cannot_be_written_out_is_no_price(wrong: Any) -> None:
    with pytest.raises(ValueError, match="stop_price must be"):
        buy(stop_price=wrong)


prices = st.none() | st.integers(1, 99)


@given(
    st.fixed_dictionaries(
        {
            **dict.fromkeys(("limit_price", "stop_price", "touch_price", "trail_amount", "trail_percent"), prices),
            "time_in_force": st.none() | st.sampled_from(TimeInForce),
            "expires_at": st.none() | st.just(NOON),
            "post_only": st.booleans(),
        }
    )
)
def test_what_is_not_refused_here_is_admitted_by_the_simulator(conditions: dict[str, Any]) -> None:
    """And the other way round, but for a second price to wait for, which there is no word for there."""
    intent = None
    try:
        intent = buy(**conditions)
    except ValueError as error:
        if "waits for one price" in str(error) or "trailing stop has no limit_price" in str(error):
            return
    has_limit = conditions["limit_price"] is not None
    stop = conditions["stop_price"] or conditions["touch_price"]
    kinds = {
        (False, None): OrderType.LIMIT if has_limit else OrderType.MARKET,
        (True, "stop"): OrderType.STOP_LIMIT if has_limit else OrderType.STOP,
        (True, "touch"): OrderType.LIMIT_IF_TOUCHED if has_limit else OrderType.MARKET_IF_TOUCHED,
    }
    trails = conditions["trail_amount"] or conditions["trail_percent"]
    waits = "stop" if conditions["stop_price"] else "touch" if stop else None
    percent = conditions["trail_percent"]
    expires_at = conditions["expires_at"]
    refusal = conditions_refusal(
        OrderType.TRAILING_STOP if trails else kinds[stop is not None, waits],
        conditions["time_in_force"] or (TimeInForce.GTD if expires_at else TimeInForce.GTC),
        limit_price=conditions["limit_price"],
        stop_price=stop,
        trail_amount=conditions["trail_amount"],
        trail_ppm=None if percent is None else percent * 10_000,
        expires_at=expires_at,
        post_only=conditions["post_only"],
    )
    assert (intent is None) is (refusal is not None), refusal


def test_the_exits_of_an_entry_are_orders_of_the_other_side() -> None:
    entry = buy(limit_price=100, take_profit=110, stop_loss=95, stop_loss_limit=94, expires_at=NOON)
    assert (entry.order_class, entry.time_in_force) == (OrderClass.BRACKET, TimeInForce.GTD)
    assert buy(stop_loss=95).order_class is buy(take_profit=95).order_class is OrderClass.OTO
    (first, profit), (second, loss) = entry.legs()
    assert (first, profit.side, profit.type, profit.limit_price) == (
        Leg.TAKE_PROFIT,
        Side.SELL,
        OrderType.LIMIT,
        D(110),
    )
    assert (second, loss.type, loss.stop_price, loss.limit_price) == (Leg.STOP_LOSS, OrderType.STOP_LIMIT, D(95), D(94))
    assert {(leg.quantity, leg.expires_at) for leg in (profit, loss)} == {(D(10), NOON)}
    (_, kept) = next(buy(take_profit=9, time_in_force=TimeInForce.IOC).legs())
    assert kept.time_in_force is TimeInForce.GTC, "the entry is over at once, its exit is not"


def test_an_oco_is_a_limit_and_a_stop_of_one_side() -> None:
    given_: dict[str, Any] = {"stop_loss_limit": None, "expires_at": None}
    pair = oco_intent(0, "X/USD", Side.SELL, 10, take_profit=110, stop_loss=90, **given_)
    assert (pair.order_class, pair.type, pair.limit_price) == (OrderClass.OCO, OrderType.LIMIT, D(110))
    assert [(name, leg.side, leg.type, leg.stop_price) for name, leg in pair.legs()] == [
        (Leg.STOP_LOSS, Side.SELL, OrderType.STOP, D(90))
    ]
    with pytest.raises(ValueError, match="stop_loss must be above take_profit 110"):
        oco_intent(0, "X/USD", Side.BUY, 10, take_profit=110, stop_loss=90, **given_)


def test_a_strategy_asks_through_its_context() -> None:
    asked: list[Any] = []
    exit_ = OpenOrder(
        signal_id=UUID(int=5), symbol="X/USD", side=Side.SELL, type=OrderType.STOP, quantity=Decimal(1),
        filled_quantity=Decimal(0), stop_price=Decimal(9), order_class=OrderClass.BRACKET, leg=Leg.STOP_LOSS,
    )  # fmt: skip

    class Asker(Strategy[Any]):
        def __init__(self) -> None: ...

        def on_step(self, context: Context) -> None:
            context.buy("X/USD", 1, stop_price=12, expires_at=context.now + timedelta(days=1))
            context.oco("X/USD", Side.SELL, 1, take_profit=13, stop_loss=8)
            context.cancel(context.open_orders[0])
            with pytest.raises(ValueError, match="expires_at must be after"):
                context.buy("X/USD", 1, expires_at=context.now)
            with pytest.raises(ValueError, match="one of the deployment's"):
                context.buy("Y/USD", 1)

    one = Decimal(1)
    bar = Bar(symbol="X/USD", open_at=NOON, close_at=NOON, open=one, high=one, low=one, close=one, volume=one)
    asked += Runner(Asker(), ["X/USD"]).step(NOON, [bar], {}, [exit_])
    assert [type(each) for each in asked] == [SubmitIntent, SubmitIntent, CancelIntent]
    assert [each.number for each in asked] == [0, 1, 2]
    assert asked[0].expires_at == NOON + timedelta(days=1)
    assert asked[2].target_signal_id == exit_.signal_id
