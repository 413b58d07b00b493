"""Deployments on the market: each step once, in order, from what they remember and hold, whatever is killed."""

import random
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from fleet_contracts.core_engine import BarWithheld, SignalAccepted, SignalDropped
from fleet_contracts.data import BarClosed, BarsBackfilled
from fleet_contracts.exchange_connector import BarValues, MarketStepEnded
from fleet_contracts.strategy import Deployment, SignalRaised
from fleet_contracts.topics import CORE_ENGINE_MARKET, CORE_ENGINE_SIGNAL_OUTCOMES
from fleet_contracts.vocabulary import OrderClass, OrderStatus, OrderType, Side, Timeframe, TimeInForce
from fleet_sdk.bars import Bar
from fleet_sdk.builtin import create
from fleet_sdk.orders import SubmitIntent, signal_id
from fleet_sdk.runner import Runner
from fleet_strategy.domain import MOST_RUNS
from fleet_testkit.eventually import eventually
from msgspec import structs

CROSS = {"fast": 2, "slow": 3, "quantity": "5"}
UP, DOWN = (10, 9, 8, 12), (14, 9, 6)
"""Four closes after which CROSS buys, and three more of which it sells at the second."""


async def test_a_cross_raises_a_signal_with_an_id_that_is_known_before(
    strategy_service: Any, a_user: Any, symbols: Any
) -> None:
    deployment_id = await strategy_service.deployed(a_user, symbols[:1], **CROSS)
    for close in UP:
        number = await strategy_service.market_day({symbols[0]: close})
    (raised,) = await eventually(lambda: strategy_service.signals(a_user))
    at = strategy_service.day(number)
    assert raised.signal_id == signal_id(UUID(deployment_id), at, 0)
    assert (raised.side, raised.quantity, raised.symbol, raised.raised_at) == (Side.BUY, 5, symbols[0], at)
    assert (raised.grant_id, raised.account_id, raised.user_id) == (
        UUID(deployment_id),
        a_user.account_id,
        a_user.user_id,
    )


async def test_it_sells_what_its_own_orders_left_it_with(strategy_service: Any, a_user: Any, symbols: Any) -> None:
    deployment_id = await strategy_service.deployed(a_user, symbols[:1], **CROSS)
    other_id = await strategy_service.deployed(a_user, symbols[:1], **CROSS)
    for close in UP:
        await strategy_service.market_day({symbols[0]: close})
    raised = await heard(strategy_service, a_user, 2)
    assert [str(signal.deployment_id) for signal in raised] == [deployment_id, other_id], "in the order of creation"
    await strategy_service.trading_says(a_user, raised[0], OrderStatus.FILLED)
    await strategy_service.trading_says(a_user, raised[1], OrderStatus.REJECTED)
    assert (await strategy_service.deployment(a_user, deployment_id))["positions"] == [
        {"symbol": symbols[0], "quantity": "5"}
    ]
    for close in DOWN:
        number = await strategy_service.market_day({symbols[0]: close})
    await strategy_service.ran(a_user, other_id, number)
    (sold,) = await eventually(lambda: strategy_service.signals(a_user)[2:])
    assert (str(sold.deployment_id), sold.side, sold.quantity) == (deployment_id, Side.SELL, 5)


BREAKOUT = {"length": 2, "stop_ranges": "1", "quantity": "5"}


async def test_the_exits_of_an_order_are_the_deployments_own_orders(
    strategy_service: Any, a_user: Any, symbols: Any
) -> None:
    """entry and exits at work → entry filled → the exits are waited for → the target is filled → flat, and anew."""
    deployment_id = await strategy_service.deployed(a_user, symbols[:1], builtin="breakout", **BREAKOUT)
    for close in (10, 11, 12):
        await strategy_service.market_day({symbols[0]: close})
    (entry,) = await eventually(lambda: strategy_service.signals(a_user))
    assert (entry.order_type, entry.stop_price, entry.order_class) == (OrderType.STOP, 12, OrderClass.BRACKET)
    assert (entry.take_profit_price, entry.stop_loss_price, entry.time_in_force) == (14, 11, TimeInForce.GTC)
    (shown,) = (await strategy_service.deployment(a_user, deployment_id))["signals"]
    assert (shown["stop_price"], shown["take_profit_price"], shown["order_class"]) == ("12.00", "14.00", "bracket")

    filled, new, canceled = OrderStatus.FILLED, OrderStatus.NEW, OrderStatus.CANCELED
    await strategy_service.trading_fills_or_keeps(a_user, entry, filled, new, new, version=1)
    await strategy_service.holds(a_user, deployment_id, {symbols[0]: "5"})
    number = await strategy_service.market_day({symbols[0]: 12})
    await strategy_service.ran(a_user, deployment_id, number)
    assert strategy_service.signals(a_user) == [entry], "its exits are at work"

    await strategy_service.trading_fills_or_keeps(a_user, entry, filled, filled, canceled, version=2)
    await strategy_service.holds(a_user, deployment_id, {})
    await strategy_service.market_day({symbols[0]: 13})
    raised = await heard(strategy_service, a_user, 2)
    assert raised[1].stop_price == 13
    (_, shown) = (await strategy_service.deployment(a_user, deployment_id))["signals"]
    assert shown["order_status"] == "filled", "a signal shows its order, not an exit"


async def test_an_entry_that_still_waits_is_cancelled_by_its_signal(
    strategy_service: Any, a_user: Any, symbols: Any
) -> None:
    await strategy_service.deployed(a_user, symbols[:1], builtin="breakout", **BREAKOUT)
    for close in (10, 11, 12):
        await strategy_service.market_day({symbols[0]: close})
    (entry,) = await eventually(lambda: strategy_service.signals(a_user))
    new = OrderStatus.NEW
    await strategy_service.trading_fills_or_keeps(a_user, entry, new, new, new, version=1)
    for close in (11, 11):
        await strategy_service.market_day({symbols[0]: close})
    raised = await heard(strategy_service, a_user, 2)
    assert (raised[1].action, raised[1].target_signal_id) == ("cancel", entry.signal_id)


async def test_an_order_of_which_nothing_is_heard_yet_is_not_asked_for_again(
    strategy_service: Any, a_user: Any, symbols: Any
) -> None:
    """trading is away for some minutes: what it is asked for meanwhile it will place when it is back."""
    deployment_id = await strategy_service.deployed(a_user, symbols[:1], builtin="buy_the_dip", timeframe="1m")
    day = strategy_service.next_day()
    for minute in range(1, 6):
        close_at = strategy_service.day(day) + timedelta(minutes=minute)
        values = structs.replace(
            strategy_service.values_of(day, 100), open_at=close_at - timedelta(minutes=1), close_at=close_at
        )
        bar = BarClosed(symbol=symbols[0], venue="paper", timeframe=Timeframe.M1, bar=values)
        ended = MarketStepEnded(step=minute, market_at=close_at, timeframe=Timeframe.M1, symbols=symbols[:1])
        await strategy_service.say((CORE_ENGINE_MARKET, symbols[0], bar), (CORE_ENGINE_MARKET, "step", ended))

    async def has_run() -> bool:
        shown = await strategy_service.deployment(a_user, deployment_id)
        return bool(shown["last_step_at"]) and datetime.fromisoformat(shown["last_step_at"]) == close_at

    await eventually(has_run)
    shown = (await strategy_service.deployment(a_user, deployment_id))["signals"]
    assert [signal["action"] for signal in shown] == ["submit"]


async def test_a_step_waits_for_its_bars_whatever_order_they_come_in(
    strategy_service: Any, a_user: Any, symbols: Any
) -> None:
    both = await strategy_service.deployed(a_user, symbols, builtin="buy_and_hold")
    one = await strategy_service.deployed(a_user, symbols[:1], builtin="buy_and_hold")
    number = strategy_service.next_day()
    ended = strategy_service.step(number, symbols)
    await strategy_service.say(ended, ended, strategy_service.bar(symbols[0], number, 10))
    await strategy_service.ran(a_user, one, number)
    assert {str(signal.deployment_id) for signal in strategy_service.signals(a_user)} == {one}
    await strategy_service.say(ended)
    later = strategy_service.next_day()
    await strategy_service.say(
        strategy_service.bar(symbols[0], later, 11),
        strategy_service.bar(symbols[1], later, 11),
        strategy_service.step(later, symbols),
    )
    await strategy_service.ran(a_user, one, later)
    assert {str(signal.deployment_id) for signal in strategy_service.signals(a_user)} == {one}
    await strategy_service.say(strategy_service.bar(symbols[1], number, 10))
    await strategy_service.ran(a_user, both, later)
    raised = [signal for signal in strategy_service.signals(a_user) if str(signal.deployment_id) == both]
    at = strategy_service.day(number)
    assert [(signal.symbol, signal.raised_at) for signal in raised] == [(symbol, at) for symbol in symbols]


async def test_what_is_too_much_for_one_transaction_is_run_by_the_next(
    strategy_service: Any, a_user: Any, symbols: Any
) -> None:
    """the steps end → one record brings the bars of all: more runs than one transaction has, and no record after it"""
    users = (a_user, type(a_user)())
    deployed = [(user, await strategy_service.deployed(user, symbols[:1])) for user in users for _ in range(3)]
    numbers = [strategy_service.next_day() for _ in range(MOST_RUNS // len(deployed) + 5)]
    bars = tuple(strategy_service.values_of(number, 10) for number in numbers)
    await strategy_service.say(*(strategy_service.step(number, symbols[:1]) for number in numbers))
    history = BarsBackfilled(symbol=symbols[0], venue="paper", timeframe=Timeframe.D1, bars=bars)
    await strategy_service.say((CORE_ENGINE_MARKET, symbols[0], history))
    for user, deployment_id in deployed:
        await strategy_service.ran(user, deployment_id, numbers[-1])


async def test_a_withheld_bar_is_not_waited_for(strategy_service: Any, a_user: Any, symbols: Any) -> None:
    deployment_id = await strategy_service.deployed(a_user, symbols, builtin="buy_and_hold")
    number = strategy_service.next_day()
    withheld = BarWithheld(
        symbol=symbols[1], timeframe=Timeframe.D1, close_at=strategy_service.day(number), reason="late"
    )
    await strategy_service.say(
        strategy_service.step(number, symbols),
        strategy_service.bar(symbols[0], number, 10),
        (CORE_ENGINE_MARKET, symbols[1], withheld),
    )
    await strategy_service.ran(a_user, deployment_id, number)
    (signal,) = await eventually(lambda: strategy_service.signals(a_user))
    assert signal.symbol == symbols[0]


async def test_history_warms_up_and_is_not_acted_on(strategy_service: Any, a_user: Any, symbols: Any) -> None:
    numbers = [strategy_service.next_day() for _ in UP]
    values = [strategy_service.values_of(number, close) for number, close in zip(numbers, UP, strict=True)]
    older, newer = values[:2], values[2:]
    deployment_id = await strategy_service.deployed(a_user, symbols[1:], **CROSS)

    def backfilled(bars: list[BarValues]) -> Any:
        message = BarsBackfilled(symbol=symbols[1], venue="paper", timeframe=Timeframe.D1, bars=tuple(bars))
        return CORE_ENGINE_MARKET, symbols[1], message

    # The newest comes first, as the simulated feed sends its history; a cross inside it is past.
    await strategy_service.say(backfilled(newer), backfilled(older))
    for close in (11, 10, 7, 15):
        number = await strategy_service.market_day({symbols[1]: close})
    await strategy_service.ran(a_user, deployment_id, number)
    (signal,) = await eventually(lambda: strategy_service.signals(a_user))
    assert (signal.side, signal.raised_at) == (Side.BUY, strategy_service.day(number))


async def test_history_that_comes_late_is_seen_from_the_next_step_on(
    strategy_service: Any, a_user: Any, symbols: Any
) -> None:
    numbers = [strategy_service.next_day() for _ in range(3)]
    deployment_id = await strategy_service.deployed(a_user, symbols[1:], **CROSS)
    first = await strategy_service.market_day({symbols[1]: 6})
    await strategy_service.ran(a_user, deployment_id, first)
    bars = tuple(strategy_service.values_of(number, close) for number, close in zip(numbers, (10, 9, 8), strict=True))
    message = BarsBackfilled(symbol=symbols[1], venue="paper", timeframe=Timeframe.D1, bars=bars)
    await strategy_service.say((CORE_ENGINE_MARKET, symbols[1], message))
    second = await strategy_service.market_day({symbols[1]: 20})
    await strategy_service.ran(a_user, deployment_id, second)
    (signal,) = await eventually(lambda: strategy_service.signals(a_user))
    assert signal.raised_at == strategy_service.day(second)


async def test_what_core_engine_dropped_is_shown(strategy_service: Any, a_user: Any, symbols: Any) -> None:
    deployment_id = await strategy_service.deployed(a_user, symbols, builtin="buy_and_hold")
    number = await strategy_service.market_day({symbols[0]: 10, symbols[1]: 20})
    dropped, accepted = await heard(strategy_service, a_user, 2)
    who = {"deployment_id": dropped.deployment_id, "account_id": a_user.account_id, "user_id": a_user.user_id}
    await strategy_service.say(
        (
            CORE_ENGINE_SIGNAL_OUTCOMES,
            deployment_id,
            SignalDropped(signal_id=dropped.signal_id, reason="halted", **who),
        ),
        (CORE_ENGINE_SIGNAL_OUTCOMES, deployment_id, SignalAccepted(signal_id=accepted.signal_id, **who)),
    )

    async def shown() -> Any:
        signals = (await strategy_service.deployment(a_user, deployment_id))["signals"]
        return signals if all(signal["outcome"] for signal in signals) else None

    signals = await eventually(shown)
    assert [(s["symbol"], s["outcome"], s["reason"]) for s in signals] == [
        (symbols[1], "accepted", None),
        (symbols[0], "dropped", "halted"),
    ]
    assert datetime.fromisoformat(signals[0]["market_at"]) == strategy_service.day(number)


@pytest.mark.parametrize(
    ("spoilt", "error"),
    [
        ('snapshot = \'{"market_at": null, "state": {}}\'', "KeyError"),
        # As it could be made before parameters were bounded.
        ('parameters = \'{"quantity": "1E+140000"}\'', "InvalidParameter"),
    ],
    ids=["snapshot", "parameters"],
)
async def test_a_strategy_that_fails_is_paused_with_the_reason_and_others_go_on(
    strategy_service: Any, a_user: Any, symbols: Any, spoilt: str, error: str
) -> None:
    broken = await strategy_service.deployed(a_user, symbols[:1], builtin="buy_and_hold")
    healthy = await strategy_service.deployed(a_user, symbols[:1], builtin="buy_and_hold")
    await strategy_service.execute(f"UPDATE deployments SET {spoilt} WHERE deployment_id = $1", UUID(broken))
    number = await strategy_service.market_day({symbols[0]: 10})
    await strategy_service.ran(a_user, healthy, number)
    shown = await strategy_service.ran(a_user, broken, number)
    assert (shown["state"], shown["reason"]["code"]) == ("paused", "strategy_failed")
    assert error in shown["reason"]["detail"]
    await eventually(lambda: strategy_service.signals(a_user))
    assert [str(signal.deployment_id) for signal in strategy_service.signals(a_user)] == [healthy]
    said = await eventually(lambda: strategy_service.peers.heard_of(Deployment, broken)[1:])
    assert said[0].state.value == "paused"


async def test_a_paused_deployment_sees_no_steps_and_knows_their_bars_afterwards(
    strategy_service: Any, a_user: Any, symbols: Any
) -> None:
    deployment_id = await strategy_service.deployed(a_user, symbols[:1], **CROSS)
    witness = await strategy_service.deployed(a_user, symbols[:1], **CROSS)
    assert (await strategy_service.call(a_user, "POST", f"/deployments/{deployment_id}/pause")).status == 200
    for close in UP[:-1]:
        number = await strategy_service.market_day({symbols[0]: close})
    await strategy_service.ran(a_user, witness, number)
    assert (await strategy_service.call(a_user, "POST", f"/deployments/{deployment_id}/resume")).status == 200
    number = await strategy_service.market_day({symbols[0]: UP[-1]})
    await strategy_service.ran(a_user, deployment_id, number)
    raised = await heard(strategy_service, a_user, 2)
    assert {str(signal.deployment_id) for signal in raised} == {deployment_id, witness}


async def test_days_on_the_market_equal_the_same_strategy_in_process(
    strategy_service: Any, a_user: Any, symbols: Any
) -> None:
    deployment_id = await strategy_service.deployed(a_user, symbols, **CROSS)
    runner = Runner(create("sma_cross", CROSS), symbols)
    held: dict[str, Decimal] = dict.fromkeys(symbols, Decimal(0))
    prices = random.Random(7)
    seen = 0
    for _ in range(15):
        closes = {symbol: prices.randint(5, 15) for symbol in symbols[: prices.choice((1, 2, 2, 2))]}
        number = await strategy_service.market_day(closes)
        await strategy_service.ran(a_user, deployment_id, number)
        at = strategy_service.day(number)
        decided = runner.step(at, [bar_of(symbol, at, close) for symbol, close in closes.items()], held, ())
        expected = [intent for intent in decided if isinstance(intent, SubmitIntent)]
        raised = await heard(strategy_service, a_user, seen + len(expected))
        raised = raised[seen:]
        assert [(s.symbol, str(s.side), s.quantity) for s in raised] == [
            (i.symbol, str(i.side), i.quantity) for i in expected
        ]
        for signal in raised:
            await strategy_service.trading_says(a_user, signal, OrderStatus.FILLED)
            assert signal.quantity is not None
            held[signal.symbol] += signal.quantity if signal.side is Side.BUY else -signal.quantity
        seen += len(raised)
    assert seen > 2, "the random walk must cross, or nothing was compared"


async def heard(strategy_service: Any, user: Any, count: int) -> list[SignalRaised]:
    """All signals of the user, when there are so many; the relay sends them just after the step's commit."""
    await eventually(lambda: len(strategy_service.signals(user)) >= count)
    found: list[SignalRaised] = strategy_service.signals(user)
    return found


def bar_of(symbol: str, at: datetime, close: int) -> Bar:
    price = Decimal(close)
    return Bar(
        symbol=symbol,
        open_at=at - timedelta(hours=6, minutes=30),
        close_at=at,
        open=price,
        high=price,
        low=price,
        close=price,
        volume=Decimal(1000),
    )
