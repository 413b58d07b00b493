"""Running a replay: three phases a step, each one transaction, each begun when the fleet is at rest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleet_exchange_connector.domain.bars import Step
from fleet_exchange_connector.domain.orders import Report, command_order
from fleet_exchange_connector.domain.replays import Phase, Replay, check_start
from fleet_exchange_connector.ports import BarsClosed, OrdersReported, ReplayWork, StartWork, StepEnded
from fleet_exchange_connector.service import orders

TIMEFRAME = "1d"


@dataclass(frozen=True, slots=True)
class Rest:
    """What the look at the fleet has found: nothing is on its way, but these keys are parked."""

    parked: tuple[str, ...]


async def start(
    work: StartWork, replay: Replay, chosen: Sequence[Step], idempotency_key: str | None, request_hash: bytes
) -> None:
    """Begins a replay of these steps. Raises NoBars, ReplayRunning, MarketTimePast."""
    running, reached = await work.replays_so_far()
    check_start(chosen, running, reached)
    await work.add_replay(replay, idempotency_key, request_hash)


def end(work: ReplayWork, replay: Replay) -> Replay:
    """Has a running replay end with its present step; answers it as it is now."""
    if replay.is_running and not replay.is_cancel_requested:
        replay = replay.to_be_ended(work.now)
        work.change_replay(replay)
    return replay


async def advance(
    work: ReplayWork, replay: Replay, number: int, rest: Rest, steps: Callable[[Replay], Sequence[Step]]
) -> None:
    """The replay's next phase. `number` is the place it was meant for: at another one, this has been done already."""
    if not replay.is_running or replay.place != number:
        return
    replay = replay.at_rest(work.now)
    if rest.parked:
        work.change_replay(replay.failed(f"parked: {', '.join(rest.parked)}"))
    elif replay.is_over:
        work.change_replay(replay.ended())
    else:
        work.change_replay(await _phase(work, replay, steps(replay)[replay.step]))


async def _phase(work: ReplayWork, replay: Replay, step: Step) -> Replay:
    if replay.phase is Phase.CLOSE:
        work.publish(StepEnded(replay.step + 1, step.market_at, TIMEFRAME, step.symbols, replay.replay_id))
        return replay.closed()
    if replay.phase is Phase.OPEN:
        replay = replay.opened(step)
        if await open_step(work, step):
            return replay
        # Nothing was reported, so the fleet is as much at rest as before: the bars may follow at once.
    work.publish(BarsClosed(TIMEFRAME, step.bars))
    return replay.told(step)


async def open_step(work: ReplayWork, step: Step) -> bool:
    """The venue's part of a step: the commands that waited, then the bar. Whether anything was reported."""
    waiting = await work.take_waiting(step.symbols)
    is_reported = False
    for bar in step.bars:
        book = work.book(bar.symbol)
        if bar.symbol not in waiting or book is None:
            continue
        reports: list[Report] = []
        for command in sorted(waiting[bar.symbol], key=command_order):
            reports += orders.apply(work, book, command, bar.open_at)
        shown = book.show_bar(bar, now=work.now)
        work.record(bar.symbol, shown)
        reports += shown
        if reports:
            work.publish(OrdersReported(bar.symbol, reports))
            is_reported = True
    return is_reported
