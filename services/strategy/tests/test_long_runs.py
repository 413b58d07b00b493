"""Strategies that take long: one transaction runs some of them, the next goes on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any, cast
from uuid import UUID

from fleet_sdk.bars import Bar
from fleet_strategy.domain import MOST_RUNNING_S, Deployment, DeploymentState, Step
from fleet_strategy.ports import Market
from fleet_strategy.runtime import Runners, run_ready_steps

NOW = datetime(2026, 1, 5, tzinfo=UTC)
SYMBOL = "AAPL/USD"


def at(number: int) -> datetime:
    return NOW + timedelta(minutes=number)


def deployment(number: int) -> Deployment:
    return Deployment(
        deployment_id=UUID(int=number),
        strategy_id=UUID(int=100),
        strategy_version=1,
        builtin="buy_and_hold",
        account_id=UUID(int=200),
        user_id=UUID(int=300),
        symbols=(SYMBOL,),
        timeframe="1m",
        parameters={},
        mode="paper",
        max_order_notional=None,
        expires_at=None,
        state=DeploymentState.ACTIVE,
        reason=None,
        version=1,
        last_step_at=None,
        body_hash="",
        created_at=NOW,
        updated_at=NOW,
    )


def bar(close_at: datetime) -> Bar:
    price = Decimal(100)
    prices = {"open": price, "high": price, "low": price, "close": price}
    return Bar(symbol=SYMBOL, open_at=close_at - timedelta(minutes=1), close_at=close_at, volume=price, **prices)


@dataclass
class Tables:
    """What the transactions have left."""

    steps: list[Step]
    deployments: dict[UUID, Deployment]
    snapshots_of: dict[UUID, Mapping[str, Any]] = field(default_factory=dict)
    ran: list[tuple[datetime, int]] = field(default_factory=list)
    signals: list[UUID] = field(default_factory=list)


@dataclass
class OneTransaction:
    """The market in memory: whatever is written is there for the next."""

    tables: Tables
    now: datetime = NOW
    arrived: Mapping[str, datetime] = field(default_factory=dict)
    goes_on: bool = False

    async def pending_steps(self) -> list[Step]:
        return list(self.tables.steps)

    async def active_deployments(self, timeframes: Sequence[str]) -> list[Deployment]:
        return list(self.tables.deployments.values())

    async def bars_of(self, steps: Sequence[Step], symbols: Iterable[str]) -> dict[Step, list[Bar]]:
        return {step: [bar(step.market_at)] for step in steps}

    async def history(self, timeframe: str, before: datetime, lookbacks: Mapping[str, int]) -> list[Bar]:
        return []

    async def snapshots(self, deployment_ids: Sequence[UUID]) -> dict[UUID, Mapping[str, Any] | None]:
        return {key: self.tables.snapshots_of.get(key) for key in deployment_ids}

    async def positions(self, deployment_ids: Sequence[UUID]) -> dict[UUID, dict[str, Decimal]]:
        return {}

    async def open_orders(self, deployment_ids: Sequence[UUID]) -> dict[UUID, list[Any]]:
        return {}

    def raise_signal(self, raising: Deployment, signal: Any) -> None:
        self.tables.signals.append(raising.deployment_id)

    def save_run(self, ran: Deployment, snapshot: Mapping[str, Any]) -> None:
        assert ran.last_step_at is not None
        self.tables.ran.append((ran.last_step_at, ran.deployment_id.int))
        self.tables.deployments[ran.deployment_id] = ran
        self.tables.snapshots_of[ran.deployment_id] = snapshot

    def end_step(self, step: Step) -> None:
        self.tables.steps.remove(step)

    def go_on(self) -> None:
        self.goes_on = True


async def test_what_takes_longer_than_a_transaction_may_is_run_in_order_by_several() -> None:
    """Of four deployments each takes 0.4 of the second that there is: three runs a transaction, two steps, eight runs."""
    steps, whole = [Step("1m", at(n), (SYMBOL,)) for n in (1, 2)], [deployment(n) for n in range(1, 5)]
    tables = Tables(list(steps), {one.deployment_id: one for one in whole})
    clock, runners = count(step=0.4 * MOST_RUNNING_S), Runners()
    left: list[tuple[int, int, bool]] = []
    while tables.steps:
        transaction = OneTransaction(tables)
        await run_ready_steps(cast(Market, transaction), runners, now_s=lambda: float(next(clock)))
        left.append((len(tables.ran), len(tables.steps), transaction.goes_on))
        assert len(left) < 10, "each transaction runs something"
    assert left == [(3, 2, True), (6, 1, True), (8, 0, False)]
    assert tables.ran == [(at(step), number) for step in (1, 2) for number in range(1, 5)]
    assert tables.signals == [one.deployment_id for one in whole], "each buys once"
