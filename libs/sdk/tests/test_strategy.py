"""Context, parameters, builtins and restarts."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import jsonschema  # type: ignore[import-untyped]
import pytest
from fleet_sdk.bars import Bar, steps
from fleet_sdk.builtin import BUILTINS, BuyAndHold, SmaCross, UnknownBuiltin, create, schema
from fleet_sdk.orders import CancelIntent, OpenOrder, SubmitIntent
from fleet_sdk.parameters import InvalidParameter
from fleet_sdk.runner import Runner
from fleet_sdk.strategy import Context, Strategy
from fleet_simulator import OrderType, Side, TimeInForce
from hypothesis import given
from hypothesis import strategies as st

START = datetime(2026, 1, 5, tzinfo=UTC)


def bar(n: int, close: int | str = 100, symbol: str = "X/USD") -> Bar:
    price = Decimal(close)
    at = START + timedelta(minutes=n)
    return Bar(
        symbol=symbol, open_at=at - timedelta(minutes=1), close_at=at, open=price, high=price, low=price, close=price,
        volume=Decimal(1),
    )  # fmt: skip


class Probe(Strategy[Any]):
    """Hands each of its calls to the test."""

    parameters_type = BuyAndHold.parameters_type

    def __init__(self, act: Any, lookback: int = 3) -> None:
        super().__init__()
        self.act, self.bars, self.starts = act, lookback, 0

    @property
    def lookback(self) -> int:
        return self.bars

    def on_start(self, context: Context) -> None:
        self.starts += 1

    def on_step(self, context: Context) -> None:
        self.act(context)


def step(runner: Runner, n: int, *bars: Bar, **given_: Any) -> tuple[Any, ...]:
    at = START + timedelta(minutes=n)
    return runner.step(at, bars or (bar(n),), given_.get("positions", {}), given_.get("open_orders", ()))


def test_a_strategy_sees_what_is_available_and_no_more() -> None:
    seen: list[Any] = []
    runner = Runner(Probe(lambda c: seen.append(c.history("X/USD", 3))), ["X/USD", "A/USD"])
    runner.warm_up([bar(7), bar(1), bar(2), bar(0)])  # one of them from the future
    step(runner, 3)
    assert seen[-1] == (bar(2), bar(3)), "the newest three are kept, one is not available yet"
    step(runner, 8, bar(8), bar(8, symbol="other"))
    assert seen[-1] == (bar(3), bar(7), bar(8))
    runner.warm_up([bar(7, "55")])
    assert runner.context.history("X/USD", 2) == (bar(7, "55"), bar(8)), "a corrected bar takes the other's place"


def test_a_step_is_all_bars_of_one_time_and_runs_once() -> None:
    seen: list[Any] = []
    probe = Probe(lambda c: seen.append((c.now, list(c.bars), c.bar("Z/USD"))))
    runner = Runner(probe, ["Z/USD", "A/USD", "M/USD"])
    step(runner, 1, bar(1, symbol="M/USD"), bar(1, symbol="A/USD"))
    step(runner, 2, bar(2, symbol="other"))
    assert seen == [(START + timedelta(minutes=1), ["A/USD", "M/USD"], None)]
    assert probe.starts == 1
    with pytest.raises(ValueError, match="after the last one"):
        step(runner, 1, bar(1, symbol="A/USD"))
    with pytest.raises(ValueError, match="close at"):
        step(runner, 3, bar(2, symbol="A/USD"))


def test_intents_are_numbered_within_a_step_and_checked() -> None:
    order = OpenOrder(
        signal_id=UUID(int=5), symbol="X/USD", side=Side.BUY, type=OrderType.LIMIT, quantity=Decimal(1),
        filled_quantity=Decimal(0), limit_price=Decimal(9),
    )  # fmt: skip

    def act(context: Context) -> None:
        context.sell("X/USD", context.position("X/USD"))
        context.buy("X/USD", 2, limit_price=Decimal("9.5"), time_in_force=TimeInForce.DAY)
        context.cancel(context.open_orders[0])

    given_ = {"positions": {"X/USD": Decimal("1.5")}, "open_orders": [order]}
    runner = Runner(Probe(act), ["X/USD"])
    first = step(runner, 1, **given_)
    assert first == (
        SubmitIntent(
            number=0, symbol="X/USD", side=Side.SELL, type=OrderType.MARKET, quantity=Decimal("1.5"), limit_price=None,
            time_in_force=TimeInForce.GTC,
        ),
        SubmitIntent(
            number=1, symbol="X/USD", side=Side.BUY, type=OrderType.LIMIT, quantity=Decimal(2),
            limit_price=Decimal("9.5"), time_in_force=TimeInForce.DAY,
        ),
        CancelIntent(number=2, symbol="X/USD", target_signal_id=UUID(int=5)),
    )  # fmt: skip
    assert step(runner, 2, **given_) == first, "numbers start anew with each step"

    for wrong in (0.5, True, "1"):
        with pytest.raises(TypeError, match="Decimal or int"):
            runner.context.buy("X/USD", wrong)  # type: ignore[arg-type]
    for amount in (0, -1, Decimal("NaN"), Decimal("Infinity")):
        with pytest.raises(ValueError, match="above 0"):
            runner.context.buy("X/USD", amount)
    with pytest.raises(ValueError, match="one of the deployment's"):
        runner.context.buy("Y/USD", 1)
    with pytest.raises(ValueError, match="lookback of 3"):
        runner.context.history("X/USD", 4)


@given(st.lists(st.integers(95, 105), min_size=5, max_size=60), st.integers(1, 3), st.integers(1, 3), st.data())
def test_a_deployment_rebuilt_after_any_step_decides_alike(
    closes: list[int], fast: int, more: int, data: st.DataObject
) -> None:
    """SmaCross, with a position that follows its intents; the rebuilt one knows stored bars and the snapshot only."""
    bars = [bar(n, close) for n, close in enumerate(closes)]
    cut = data.draw(st.integers(0, len(bars)))
    decided: list[list[Any]] = []
    for rebuild in (False, True):
        runner, held, intents = Runner(SmaCross(fast=fast, slow=fast + more), ["X/USD"]), Decimal(0), []
        for n, each in enumerate(bars):
            if rebuild and n == cut:
                stored = json.loads(json.dumps(runner.snapshot()))
                runner = Runner(SmaCross(fast=fast, slow=fast + more), ["X/USD"])
                runner.warm_up(reversed(bars[:n]))
                runner.restore(stored)
            for intent in step(runner, n, each, positions={"X/USD": held}):
                held += intent.quantity if intent.side is Side.BUY else -intent.quantity
                intents.append((n, intent))
        decided.append(intents)
    assert decided[0] == decided[1]


def test_a_restart_is_no_start_and_remembers() -> None:
    runner = Runner(create("buy_and_hold", {"quantity": "7"}), ["X/USD"])
    assert [intent.quantity for intent in step(runner, 1)] == [7]
    stored = json.loads(json.dumps(runner.snapshot()))
    again = Runner(BuyAndHold(quantity=7), ["X/USD"])
    again.restore(stored)
    assert again.market_at == START + timedelta(minutes=1)
    assert step(again, 2) == ()
    probe = Probe(lambda c: None)
    started = Runner(probe, ["X/USD"])
    started.restore({"market_at": START.isoformat(), "state": {}})
    step(started, 1)
    assert probe.starts == 0
    with pytest.raises(ValueError, match="keeps no state"):
        SmaCross().restore({"x": 1})


def test_sma_cross_turns_from_equal_averages_too() -> None:
    runner = Runner(SmaCross(fast=1, slow=2), ["X/USD"])
    runner.warm_up([bar(0, 10), bar(1, 10)])
    (sell,) = step(runner, 2, bar(2, 9), positions={"X/USD": Decimal(3)})
    assert (sell.side, sell.quantity) == (Side.SELL, 3)
    assert step(runner, 3, bar(3, 9)) == ()


def test_sma_cross_cancels_a_waiting_buy_and_sells_what_it_holds() -> None:
    runner = Runner(SmaCross(fast=1, slow=2, quantity=5), ["X/USD"])
    runner.warm_up([bar(0, 10), bar(1, 10)])
    assert [i.side for i in step(runner, 2, bar(2, 11))] == [Side.BUY]
    waiting = OpenOrder(
        signal_id=UUID(int=1), symbol="X/USD", side=Side.BUY, type=OrderType.MARKET, quantity=Decimal(5),
        filled_quantity=Decimal(2),
    )  # fmt: skip
    cancel, sell = step(runner, 3, bar(3, 9), positions={"X/USD": Decimal(2)}, open_orders=[waiting])
    assert (cancel.target_signal_id, sell.side, sell.quantity) == (UUID(int=1), Side.SELL, 2)


@pytest.mark.parametrize(
    ("parameters", "field", "code"),
    [
        ({"fast": 0}, "fast", "invalid"),
        ({"fast": "10"}, "fast", "invalid"),
        ({"fast": 30}, "slow", "invalid"),
        ({"slow": 10_001}, "slow", "invalid"),
        ({"quantity": 0.5}, "quantity", "invalid"),
        ({"quantity": "NaN"}, "quantity", "invalid"),
        ({"quantity": "many"}, "quantity", "invalid"),
        ({"quantity": True}, "quantity", "invalid"),
        ({"quantity": "-1"}, "quantity", "invalid"),
        ({"quantity": "1E+24"}, "quantity", "invalid"),
        ({"quantity": 10**24}, "quantity", "invalid"),
        ({"quantity": "1E-101"}, "quantity", "invalid"),
        ({"self": 1}, "self", "unknown"),
    ],
)
def test_a_wrong_parameter_is_named(parameters: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(InvalidParameter) as error:
        create("sma_cross", parameters)
    assert (error.value.field, error.value.code) == (field, code)


def test_schemas_are_json_schema_and_fit() -> None:
    for name in BUILTINS:
        jsonschema.Draft202012Validator.check_schema(schema(name))
        jsonschema.validate({"quantity": "5"}, schema(name))
        create(name, {"quantity": "5"})
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"fast": 0}, schema("sma_cross"))
    with pytest.raises(UnknownBuiltin, match="was nothing"):
        schema("nothing")
    assert create("sma_cross", {"quantity": "0.5"}).parameters.quantity == Decimal("0.5")


def test_steps_group_by_close() -> None:
    found = list(steps([bar(2), bar(1, symbol="Z/USD"), bar(1, symbol="A/USD")]))
    assert [[b.symbol for b in each.bars] for each in found] == [["A/USD", "Z/USD"], ["X/USD"]]
