"""A replay and its place: which step it is at, and in which phase of it. CONTRACTS: "Rest, and the replay"."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from fleet_exchange_connector.domain.bars import Step

STALLED_AFTER = timedelta(seconds=30)


class ReplayRunning(Exception):
    """One replay at a time."""

    def __init__(self, replay_id: UUID) -> None:
        super().__init__(f"a replay is running, was {replay_id}")
        self.replay_id = replay_id


class MarketTimePast(Exception):
    """Market time never goes back."""

    def __init__(self, first: datetime, reached: datetime) -> None:
        super().__init__(f"the first bar must close after {reached.isoformat()}, was {first.isoformat()}")


class NoBars(Exception):
    """There is nothing to replay in that time."""


class ReplayStatus(StrEnum):
    RUNNING = "running"
    STALLED = "stalled"
    DONE = "done"
    FAILED = "failed"
    CANCELED = "canceled"


class Phase(StrEnum):
    OPEN = "open"
    BARS = "bars"
    CLOSE = "close"


_PHASES = tuple(Phase)


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """`step` of `steps` have ended; the next one's next phase is `phase`. `pace` is at most so many steps a second."""

    replay_id: UUID
    user_id: UUID
    symbols: tuple[str, ...]
    timeframe: str
    start_at: datetime
    end_at: datetime
    pace: Decimal | None
    steps: int
    bars_total: int
    created_at: datetime
    updated_at: datetime
    status: ReplayStatus = ReplayStatus.RUNNING
    step: int = 0
    phase: Phase = Phase.OPEN
    bars: int = 0
    market_at: datetime | None = None
    waiting_for: tuple[str, ...] = field(default=())
    is_cancel_requested: bool = False
    reason: str | None = None

    @property
    def is_running(self) -> bool:
        return self.status in (ReplayStatus.RUNNING, ReplayStatus.STALLED)

    @property
    def place(self) -> int:
        """Rises with every phase: the number of its due row."""
        return self.step * len(_PHASES) + _PHASES.index(self.phase)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left but to say so: all steps have ended, or this one was to be the last."""
        return self.phase is Phase.OPEN and (self.step == self.steps or self.is_cancel_requested)

    def at_rest(self, now: datetime) -> "Replay":
        """The fleet has come to rest: it goes on."""
        return replace(self, status=ReplayStatus.RUNNING, waiting_for=(), updated_at=now)

    def to_be_ended(self, now: datetime) -> "Replay":
        """The present step is its last."""
        return replace(self, is_cancel_requested=True, updated_at=now)

    def ended(self) -> "Replay":
        return replace(self, status=ReplayStatus.DONE if self.step == self.steps else ReplayStatus.CANCELED)

    def failed(self, reason: str) -> "Replay":
        return replace(self, status=ReplayStatus.FAILED, reason=reason)

    def opened(self, step: Step) -> "Replay":
        """The open has been reported; the bars come next."""
        return replace(self, phase=Phase.BARS, market_at=step.market_at)

    def told(self, step: Step) -> "Replay":
        """The bars are out."""
        return replace(self, phase=Phase.CLOSE, bars=self.bars + len(step.bars))

    def closed(self) -> "Replay":
        return replace(self, phase=Phase.OPEN, step=self.step + 1)

    def due_at(self, now: datetime) -> datetime:
        """When its next phase may come: with a pace, the steps are spread out; there is nothing to spread at the end."""
        if self.pace is None or self.phase is not Phase.OPEN or self.is_over:
            return now
        return now + timedelta(seconds=float(1 / self.pace))


def check_start(chosen: Sequence[Step], running: UUID | None, reached: datetime | None) -> None:
    """Raises NoBars, ReplayRunning or MarketTimePast where a replay of these steps cannot start."""
    if not chosen:
        raise NoBars
    if running is not None:
        raise ReplayRunning(running)
    if reached is not None and chosen[0].market_at <= reached:
        raise MarketTimePast(chosen[0].market_at, reached)
