"""What a deployment may become, which steps it runs when, and what its orders leave it with."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from fleet_strategy.domain import (
    Deployment,
    DeploymentOrder,
    DeploymentState,
    DeploymentStopped,
    PendingSteps,
    Reason,
    Step,
    Told,
)
from fleet_strategy.service import learn_order
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 1, 5, tzinfo=UTC)
SYMBOLS = ("AAPL/USD", "GOOG/USD", "IBM/USD")


def at(step: int) -> datetime:
    return NOW + timedelta(minutes=step)


def deployment(number: int = 1, symbols: tuple[str, ...] = SYMBOLS, last_step: int | None = None) -> Deployment:
    return Deployment(
        deployment_id=UUID(int=number),
        strategy_id=UUID(int=100),
        strategy_version=1,
        builtin="sma_cross",
        account_id=UUID(int=200),
        user_id=UUID(int=300),
        symbols=symbols,
        timeframe="1m",
        parameters={},
        mode="paper",
        max_order_notional=None,
        expires_at=None,
        state=DeploymentState.ACTIVE,
        reason=None,
        version=1,
        last_step_at=None if last_step is None else at(last_step),
        body_hash="",
        created_at=NOW,
        updated_at=NOW,
    )


def test_a_failed_deployment_is_paused_with_the_reason_until_it_is_resumed() -> None:
    failed = deployment().fail(Reason("strategy_failed", "ZeroDivisionError: division by zero"), now=at(1))
    assert (failed.state, failed.reason and failed.reason.code) == (DeploymentState.PAUSED, "strategy_failed")
    resumed = failed.resume(now=at(2), market_at=at(2))
    assert (resumed.state, resumed.reason, resumed.last_step_at) == (DeploymentState.ACTIVE, None, at(2))


@given(st.lists(st.sampled_from(["pause", "resume", "stop", "fail"])))
def test_a_stopped_deployment_stays_stopped_and_each_change_is_a_version(actions: list[str]) -> None:
    current, has_stopped = deployment(), False
    for action in actions:
        try:
            if action == "pause":
                after = current.pause(now=NOW)
            elif action == "resume":
                after = current.resume(now=NOW, market_at=None)
            elif action == "stop":
                after = current.stop(now=NOW)
            else:
                after = current.fail(Reason("strategy_failed", "x"), now=NOW)
        except DeploymentStopped:
            assert has_stopped
            assert action != "stop"
            continue
        has_stopped = has_stopped or action == "stop"
        assert (after.state is DeploymentState.STOPPED) == has_stopped
        assert after.version - current.version == (after.state is not current.state)
        current = after


def test_a_step_waits_for_each_bar_of_the_deployment_that_belongs_to_it() -> None:
    step = Step("1m", at(1), ("AAPL/USD", "IBM/USD"))
    one = deployment(1, ("AAPL/USD", "GOOG/USD"))
    two = deployment(2, ("AAPL/USD", "IBM/USD"))
    told: set[Told] = {("AAPL/USD", "1m", at(1))}
    runs, done = PendingSteps([step], told).runnable([one, two])
    assert (runs, done) == ([(step, [one])], [])
    runs, done = PendingSteps([step], told | {("IBM/USD", "1m", at(1))}).runnable(
        [replace(one, last_step_at=at(1)), two]
    )
    assert (runs, done) == ([(step, [two])], [step])


def test_a_step_of_another_timeframe_is_none_of_its_business() -> None:
    step = Step("1d", at(1), SYMBOLS)
    assert PendingSteps([step], set()).runnable([deployment()]) == ([], [step])


def test_a_step_whose_bar_cannot_come_any_more_is_run_without_it() -> None:
    steps = [Step("1m", at(n), SYMBOLS) for n in (3, 1, 2)]
    one = deployment()
    runs, done = PendingSteps(steps, set(), most_waiting=2).runnable([one])
    assert (runs, done) == ([(steps[1], [one])], [steps[1]])
    runs, done = PendingSteps([*steps, Step("1d", at(1), SYMBOLS)], set(), most_waiting=3).runnable([one])
    assert (runs, done) == ([], [Step("1d", at(1), SYMBOLS)])


@given(st.integers(1, 9), st.integers(0, 4), st.integers(1, 4))
def test_what_is_too_much_at_once_is_run_in_order_in_several_goes(most_runs: int, steps: int, deployments: int) -> None:
    pending = [Step("1m", at(n), ()) for n in range(1, steps + 1)]
    whole = [deployment(n) for n in range(1, deployments + 1)]
    ran: list[tuple[datetime, int]] = []
    goes = 0
    while pending:
        runs, done = PendingSteps(pending, set()).runnable(whole, most_runs)
        assert 0 < sum(len(ready) for _, ready in runs) <= most_runs
        for step, ready in runs:
            for each in ready:
                ran.append((step.market_at, each.deployment_id.int))
                whole[each.deployment_id.int - 1] = replace(
                    whole[each.deployment_id.int - 1], last_step_at=step.market_at
                )
        pending = [step for step in pending if step not in done]
        goes += 1
    assert sorted(ran) == ran == [(at(n), d) for n in range(1, steps + 1) for d in range(1, deployments + 1)]
    assert goes == -(-steps * deployments // most_runs)


@given(
    st.lists(
        st.tuples(st.sets(st.sampled_from(SYMBOLS), min_size=1), st.none() | st.integers(0, 4)), min_size=1, max_size=4
    ),
    st.permutations(
        [(symbol, step) for symbol in SYMBOLS for step in range(1, 5)] + [("step", n) for n in range(1, 5)]
    ),
)
def test_whatever_order_bars_and_steps_come_in_each_deployment_runs_each_step_once_in_order(
    wanted: list[tuple[set[str], int | None]], arrivals: list[tuple[str, int]]
) -> None:
    deployments = {
        UUID(int=n): deployment(n, tuple(sorted(symbols)), last) for n, (symbols, last) in enumerate(wanted, start=1)
    }
    ran: dict[UUID, list[datetime]] = {key: [] for key in deployments}
    steps: list[Step] = []
    told: set[Told] = set()
    for what, n in arrivals:
        if what == "step":
            steps.append(Step("1m", at(n), SYMBOLS))
        else:
            told.add((what, "1m", at(n)))
        runs, done = PendingSteps(steps, told).runnable(list(deployments.values()))
        for step, ready in runs:
            for each in ready:
                assert all((symbol, "1m", step.market_at) in told for symbol in each.symbols)
                ran[each.deployment_id].append(step.market_at)
                deployments[each.deployment_id] = replace(deployments[each.deployment_id], last_step_at=step.market_at)
        steps = [step for step in steps if step not in done]
    assert steps == []
    for key, times in ran.items():
        # A step that ended while a later one had been run before it came is past for the deployment.
        assert times == sorted(set(times))
        last = wanted[key.int - 1][1] or 0
        assert all(market_at > at(last) for market_at in times)
        assert deployments[key].last_step_at == (at(4) if last < 4 else at(last))


class OrdersInMemory:
    def __init__(self) -> None:
        self.orders: dict[UUID, DeploymentOrder] = {}
        self.position = Decimal(0)

    def order(self, order_id: UUID) -> DeploymentOrder | None:
        return self.orders.get(order_id)

    def save_order(self, order: DeploymentOrder, *, moved: Decimal) -> None:
        self.orders[order.order_id] = order
        self.position += moved


def order(number: int, version: int, side: str = "buy") -> DeploymentOrder:
    """Each version has filled one more."""
    return DeploymentOrder(
        order_id=UUID(int=number),
        deployment_id=UUID(int=1),
        signal_id=UUID(int=number),
        symbol="AAPL/USD",
        side=side,
        order_type="limit",
        quantity=Decimal(10),
        filled_quantity=Decimal(version),
        limit_price=Decimal(100),
        status="partially_filled",
        is_open=True,
        version=version,
    )


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 5))))
def test_a_position_is_the_sum_of_the_newest_words_about_its_orders(told: list[tuple[int, int]]) -> None:
    uow = OrdersInMemory()
    sides = {1: "buy", 2: "sell", 3: "buy"}
    newest: dict[int, int] = {}
    for number, version in told:
        learn_order(uow, order(number, version, sides[number]))
        newest[number] = max(version, newest.get(number, 0))
    signed = (version if sides[number] == "buy" else -version for number, version in newest.items())
    assert uow.position == sum(signed)


@pytest.mark.parametrize("market_at", [None, at(3), at(9)])
def test_resuming_an_active_deployment_skips_nothing(market_at: datetime | None) -> None:
    current = deployment(last_step=2)
    assert current.resume(now=NOW, market_at=market_at) is current
