"""Strategies, deployments and their states, steps and signals. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID


class StrategyNotFound(LookupError):
    """No such strategy of this user."""


class StrategyInUse(Exception):
    """The strategy has deployments that are not stopped."""


class DeploymentNotFound(LookupError):
    """No such deployment of this user."""


class DeploymentStopped(Exception):
    """A stopped deployment stays stopped."""


class TooManyDeployments(Exception):
    """The user has as many that are not stopped as one may have."""

    def __init__(self, most: int) -> None:
        super().__init__(f"a user may have {most} deployments that are not stopped")


class OtherBody(Exception):
    """The id was used before with another body."""


@dataclass(frozen=True, slots=True)
class Strategy:
    strategy_id: UUID
    user_id: UUID
    name: str
    builtin: str
    version: int
    body_hash: str
    created_at: datetime
    updated_at: datetime


class DeploymentState(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a deployment is in the state it is in, where its owner did not ask for that."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Deployment:
    deployment_id: UUID
    strategy_id: UUID
    strategy_version: int
    builtin: str
    account_id: UUID
    user_id: UUID
    symbols: tuple[str, ...]
    timeframe: str
    parameters: Mapping[str, object]
    mode: str
    max_order_notional: Decimal | None
    expires_at: datetime | None
    state: DeploymentState
    reason: Reason | None
    version: int
    last_step_at: datetime | None
    body_hash: str
    created_at: datetime
    updated_at: datetime

    def pause(self, *, now: datetime) -> "Deployment":
        """It sees no more steps until it is resumed; what it holds and has waiting stays."""
        return self._to(DeploymentState.PAUSED, None, now)

    def resume(self, *, now: datetime, market_at: datetime | None) -> "Deployment":
        """It sees the steps after `market_at`; those between are history to it."""
        if self.state is DeploymentState.ACTIVE:
            return self
        return replace(self._to(DeploymentState.ACTIVE, None, now), last_step_at=_later(self.last_step_at, market_at))

    def stop(self, *, now: datetime) -> "Deployment":
        """For good."""
        if self.state is DeploymentState.STOPPED:
            return self
        return self._to(DeploymentState.STOPPED, None, now)

    def fail(self, reason: Reason, *, now: datetime) -> "Deployment":
        """Its code failed: it is paused with the reason shown, others go on."""
        return self._to(DeploymentState.PAUSED, reason, now)

    def has_run(self, market_at: datetime) -> bool:
        """Whether the step of this market time is behind it."""
        return self.last_step_at is not None and market_at <= self.last_step_at

    def _to(self, state: DeploymentState, reason: Reason | None, now: datetime) -> "Deployment":
        if self.state is DeploymentState.STOPPED:
            raise DeploymentStopped
        if self.state is state:
            return self
        return replace(self, state=state, reason=reason, version=self.version + 1, updated_at=now)


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((at for at in (one, other) if at is not None), default=None)


@dataclass(frozen=True, slots=True)
class Step:
    """All bars of one market time have been published."""

    timeframe: str
    market_at: datetime
    symbols: tuple[str, ...]


Told = tuple[str, str, datetime]
"""(symbol, timeframe, market time) of a bar that has come or was withheld."""


MOST_WAITING = 10_080
"""Steps of a timeframe that may wait for a bar: seven days of minutes, as long as the topic keeps the bar of the oldest."""

MOST_RUNS = 1000
"""Runs of a deployment through a step in one transaction: about a second of its ten."""

MOST_RUNNING_S = 1.0
"""Of strategies' own work in one transaction: with long averages of many symbols a run takes a hundred times as long, and the
database ends a transaction from which it hears nothing for 5 s, each time anew."""


@dataclass(frozen=True, slots=True)
class PendingSteps:
    """Which deployment runs which steps now: each its steps in order, none before all its bars are told. A step behind the
    `most_waiting` newest of its timeframe waits no more: the bar that it lacks cannot come."""

    steps: Sequence[Step]
    told: Collection[Told]
    most_waiting: int = MOST_WAITING

    def runnable(
        self, deployments: Sequence[Deployment], most_runs: int = MOST_RUNS
    ) -> tuple[list[tuple[Step, list[Deployment]]], list[Step]]:
        """Steps in order of market time with those that run them, in the order given, no more than `most_runs` in all; and
        the steps that are done with."""
        given_up = self.given_up()
        waiting: set[UUID] = set()
        runs: list[tuple[Step, list[Deployment]]] = []
        done: list[Step] = []
        for step in sorted(self.steps, key=lambda s: (s.market_at, s.timeframe)):
            due = [d for d in deployments if d.timeframe == step.timeframe and not d.has_run(step.market_at)]
            blocked = {
                d.deployment_id
                for d in due
                if d.deployment_id in waiting or not (step in given_up or self._is_told(step, d))
            }
            ready = [d for d in due if d.deployment_id not in blocked]
            blocked.update(d.deployment_id for d in ready[most_runs:])
            waiting |= blocked
            if ready := ready[:most_runs]:
                runs.append((step, ready))
                most_runs -= len(ready)
            if not blocked:
                done.append(step)
        return runs, done

    def given_up(self) -> set[Step]:
        """The steps that wait no more."""
        newest: dict[str, list[Step]] = {}
        for step in sorted(self.steps, key=lambda s: s.market_at, reverse=True):
            newest.setdefault(step.timeframe, []).append(step)
        return {step for of_timeframe in newest.values() for step in of_timeframe[self.most_waiting :]}

    def _is_told(self, step: Step, deployment: Deployment) -> bool:
        own = set(deployment.symbols).intersection(step.symbols)
        return all((symbol, step.timeframe, step.market_at) in self.told for symbol in own)


@dataclass(frozen=True, slots=True)
class Signal:
    """A wish of a deployment: `submit` with the order's fields, or `cancel` with the signal whose orders shall go."""

    signal_id: UUID
    deployment_id: UUID
    market_at: datetime
    number: int
    action: str
    symbol: str
    side: str | None = None
    order_type: str | None = None
    quantity: Decimal | None = None
    limit_price: Decimal | None = None
    time_in_force: str | None = None
    target_signal_id: UUID | None = None
    stop_price: Decimal | None = None
    trail_amount: Decimal | None = None
    trail_percent: Decimal | None = None
    expires_at: datetime | None = None
    post_only: bool = False
    reduce_only: bool = False
    order_class: str = "simple"
    take_profit_price: Decimal | None = None
    stop_loss_price: Decimal | None = None
    stop_loss_limit_price: Decimal | None = None


@dataclass(frozen=True, slots=True)
class DeploymentOrder:
    """An order of a deployment, or an exit that came with it, as trading told it; a higher `version` is the newer word.

    An exit has its order's `signal_id` and `parent_order_id`; its fills move the deployment's position as the order's.
    """

    order_id: UUID
    deployment_id: UUID
    signal_id: UUID
    symbol: str
    side: str
    order_type: str
    quantity: Decimal
    filled_quantity: Decimal
    limit_price: Decimal | None
    status: str
    is_open: bool
    version: int
    stop_price: Decimal | None = None
    parent_order_id: UUID | None = None

    def moved_since(self, before: "DeploymentOrder | None") -> Decimal:
        """What its fills since then did to the position: bought more than 0, sold less."""
        filled = self.filled_quantity - (before.filled_quantity if before else Decimal(0))
        return filled if self.side == "buy" else -filled
