"""Runs deployments' strategies on steps: once each, in order, with what they remember committed with what they ask for."""

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from fleet_chassis.logging import get_logger
from fleet_sdk.bars import Bar
from fleet_sdk.builtin import create
from fleet_sdk.orders import Intent, OpenOrder, OrderClass, SubmitIntent, signal_id
from fleet_sdk.runner import Runner
from fleet_simulator import OrderType, Side

from .domain import MOST_RUNNING_S, MOST_RUNS, Deployment, DeploymentState, PendingSteps, Reason, Signal, Step
from .ports import Market

log = get_logger("fleet_strategy.runtime")

_DETAIL_LENGTH = 500
"""Of a strategy's error text; enough to see what it was, bounded because authors write it."""


@dataclass(slots=True)
class _Kept:
    runner: Runner
    timeframe: str
    version: int
    last_step_at: datetime


class Runners:
    """The strategies in memory: a cache of snapshots and bars. After a rollback, or new history, they are built again."""

    def __init__(self) -> None:
        self._kept: dict[UUID, _Kept] = {}

    def get(self, deployment: Deployment) -> Runner | None:
        """The runner, if it has seen all that the deployment has."""
        kept = self._kept.get(deployment.deployment_id)
        if kept is None or (kept.version, kept.last_step_at) != (deployment.version, deployment.last_step_at):
            return None
        return kept.runner

    def keep(self, deployment: Deployment, runner: Runner) -> None:
        assert deployment.last_step_at is not None
        self._kept[deployment.deployment_id] = _Kept(
            runner, deployment.timeframe, deployment.version, deployment.last_step_at
        )

    def forget(self, deployment_id: UUID) -> None:
        self._kept.pop(deployment_id, None)

    def forget_inactive(self, timeframes: Collection[str], active: Collection[Deployment]) -> None:
        """Forgets whoever of these timeframes is not among the active ones any more."""
        staying = {deployment.deployment_id for deployment in active}
        for key, kept in list(self._kept.items()):
            if kept.timeframe in timeframes and key not in staying:
                del self._kept[key]

    def forget_behind(self, arrived: Mapping[str, datetime]) -> None:
        """Forgets whoever has passed the earliest of these bars' closes (by symbol): its history has changed."""
        for key, kept in list(self._kept.items()):
            if any(
                arrived.get(symbol, kept.last_step_at) < kept.last_step_at for symbol in kept.runner.context.symbols
            ):
                del self._kept[key]

    def forget_all(self) -> None:
        self._kept.clear()


async def run_ready_steps(uow: Market, runners: Runners, *, now_s: Callable[[], float] = time.monotonic) -> None:
    """Runs the pending steps for every deployment that has their bars, as many as one transaction may; ends the steps nobody
    waits for any more."""
    runners.forget_behind(uow.arrived)
    steps = await uow.pending_steps()
    if not steps:
        return
    timeframes = sorted({step.timeframe for step in steps})
    deployments = await uow.active_deployments(timeframes)
    runners.forget_inactive(timeframes, deployments)
    symbols = {symbol for deployment in deployments for symbol in deployment.symbols}
    bars = await uow.bars_of(steps, symbols) if deployments else {}
    told = {(bar.symbol, step.timeframe, step.market_at) for step, found in bars.items() for bar in found}
    pending = PendingSteps(steps, told)
    runs, done = pending.runnable(deployments)
    if len(done) < len(steps):
        pending = PendingSteps(steps, told | await uow.withheld(steps))
        runs, done = pending.runnable(deployments)
    if given_up := pending.given_up():
        log.warning("steps_run_without_a_bar", steps=len(given_up), first=min(step.market_at for step in given_up))
    unfinished = {step for step, _ in runs}
    if runs:
        running = {d.deployment_id: d for _, ready in runs for d in ready}
        batch = _Batch(
            uow,
            runners,
            running,
            bars,
            positions=await uow.positions(list(running)),
            open_orders=await uow.open_orders(list(running)),
            now_s=now_s,
        )
        for step, ready in runs:
            if not await batch.run(step, [d.deployment_id for d in ready]):
                break
            unfinished.discard(step)
    if unfinished or sum(len(ready) for _, ready in runs) >= MOST_RUNS:
        uow.go_on()
    for step in done:
        if step not in unfinished:
            uow.end_step(step)


@dataclass(slots=True)
class _Batch:
    """The steps that one transaction runs. `deployments` moves on with each, `worked_s` is what the strategies have taken."""

    uow: Market
    runners: Runners
    deployments: dict[UUID, Deployment]
    bars: Mapping[Step, Sequence[Bar]]
    positions: Mapping[UUID, Mapping[str, Decimal]]
    open_orders: dict[UUID, list[OpenOrder]]
    now_s: Callable[[], float]
    worked_s: float = 0.0

    async def run(self, step: Step, deployment_ids: Sequence[UUID]) -> bool:
        """Whether all of them have run it; the next transaction goes on with the others."""
        # One that failed at an earlier step of this batch is paused by now.
        ready = [d for key in deployment_ids if (d := self.deployments[key]).state is DeploymentState.ACTIVE]
        runners = await self._runners(step, ready)
        for deployment in ready:
            if self.worked_s >= MOST_RUNNING_S:
                return False
            began_s = self.now_s()
            self._run_one(step, deployment, runners[deployment.deployment_id])
            self.worked_s += self.now_s() - began_s
        return True

    def _run_one(self, step: Step, deployment: Deployment, made: Callable[[], Runner]) -> None:
        ran = replace(deployment, last_step_at=step.market_at)
        try:
            runner = made()
            intents = runner.step(
                step.market_at,
                self.bars.get(step, ()),
                self.positions.get(deployment.deployment_id, {}),
                self.open_orders.get(deployment.deployment_id, ()),
            )
            snapshot = runner.snapshot()
        except Exception as error:
            # The strategy's own code: its owner is told and the others go on.
            log.warning("strategy_failed", deployment_id=str(deployment.deployment_id), exc_info=error)
            self._failed(ran, error)
            return
        for intent in intents:
            self._raise(ran, signal_of(ran.deployment_id, step.market_at, intent))
        self.uow.save_run(ran, snapshot)
        self.runners.keep(ran, runner)
        self.deployments[ran.deployment_id] = ran

    def _raise(self, deployment: Deployment, signal: Signal) -> None:
        self.uow.raise_signal(deployment, signal)
        if signal.action == "submit":
            # So that a later step of the same batch knows of it.
            self.open_orders.setdefault(deployment.deployment_id, []).append(open_order_of(signal))

    def _failed(self, deployment: Deployment, error: Exception) -> None:
        detail = f"{type(error).__name__}: {error}"[:_DETAIL_LENGTH]
        failed = deployment.fail(Reason("strategy_failed", detail), now=self.uow.now)
        self.deployments[failed.deployment_id] = failed
        self.runners.forget(failed.deployment_id)
        self.uow.save_failure(failed)

    async def _runners(self, step: Step, deployments: Sequence[Deployment]) -> dict[UUID, Callable[[], Runner]]:
        """What gives each deployment's runner: the one that is kept, or one built from stored bars and its snapshot, when
        its turn has come. It raises what the strategy's code does."""
        found: dict[UUID, Callable[[], Runner]] = {}
        building: dict[UUID, Runner] = {}
        for deployment in deployments:
            kept = self.runners.get(deployment)
            if kept is not None:
                found[deployment.deployment_id] = partial(_same, kept)
                continue
            try:
                strategy = create(deployment.builtin, deployment.parameters)
                building[deployment.deployment_id] = Runner(strategy, deployment.symbols)
            except Exception as error:
                found[deployment.deployment_id] = partial(_failing, error)
        if building:
            history = await self.uow.history(step.timeframe, step.market_at, _lookbacks(building.values()))
            snapshots = await self.uow.snapshots(list(building))
            for key, runner in building.items():
                found[key] = partial(_restored, runner, history, snapshots[key])
        return found


def _lookbacks(runners: Iterable[Runner]) -> dict[str, int]:
    longest: dict[str, int] = {}
    for runner in runners:
        for symbol in runner.context.symbols:
            longest[symbol] = max(longest.get(symbol, 0), runner.strategy.lookback)
    return longest


def _same(runner: Runner) -> Runner:
    return runner


def _failing(error: Exception) -> Runner:
    raise error


def _restored(runner: Runner, history: Sequence[Bar], snapshot: Mapping[str, Any] | None) -> Runner:
    runner.warm_up(bar for bar in history if bar.symbol in runner.context.symbols)
    if snapshot is not None:
        runner.restore(snapshot)
    return runner


def signal_of(deployment_id: UUID, market_at: datetime, intent: Intent) -> Signal:
    """The signal of an intent; its id is the same however often the step is run."""
    identity = signal_id(deployment_id, market_at, intent.number)
    if isinstance(intent, SubmitIntent):
        return Signal(
            identity,
            deployment_id,
            market_at,
            intent.number,
            "submit",
            intent.symbol,
            side=intent.side,
            order_type=intent.type,
            quantity=intent.quantity,
            limit_price=intent.limit_price,
            time_in_force=intent.time_in_force,
            stop_price=intent.stop_price,
            trail_amount=intent.trail_amount,
            trail_percent=intent.trail_percent,
            expires_at=intent.expires_at,
            post_only=intent.post_only,
            reduce_only=intent.reduce_only,
            order_class=intent.order_class,
            take_profit_price=intent.take_profit_price,
            stop_loss_price=intent.stop_loss_price,
            stop_loss_limit_price=intent.stop_loss_limit_price,
        )
    return Signal(
        identity,
        deployment_id,
        market_at,
        intent.number,
        "cancel",
        intent.symbol,
        target_signal_id=intent.target_signal_id,
    )


def open_order_of(signal: Signal) -> OpenOrder:
    """The order that a signal asks for, before anything has been heard of it; its exits are seen once trading tells."""
    assert signal.side is not None and signal.order_type is not None and signal.quantity is not None
    return OpenOrder(
        signal_id=signal.signal_id,
        symbol=signal.symbol,
        side=Side(signal.side),
        type=OrderType(signal.order_type),
        quantity=signal.quantity,
        filled_quantity=Decimal(0),
        limit_price=signal.limit_price,
        stop_price=signal.stop_price,
        order_class=OrderClass(signal.order_class),
    )
