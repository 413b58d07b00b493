"""What the use cases need of the world: a unit of work for the market, for signals, for the trading state."""

from datetime import datetime
from typing import Protocol

from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.vocabulary import StateScope

from .domain.bars import Series, Step


class MarketUnitOfWork(Protocol):
    """The positions of the series that a batch touches, locked, and the steps that wait for them."""

    def position(self, series: Series) -> datetime | None:
        """The last close of the series that was released or withheld."""
        ...

    def advance(self, series: Series, close_at: datetime) -> None: ...

    def is_halted(self, symbol: str) -> bool: ...

    def end_step(self, step: Step) -> None:
        """Passes the step on when it is over, which may be in this transaction or in that of a later bar."""
        ...


class AlertUnitOfWork(Protocol):
    """Which quotes have stopped, as far as it was told."""

    @property
    def now(self) -> datetime: ...

    def is_told(self, symbol: str) -> bool:
        """That the quotes of the symbol have stopped."""
        ...

    async def tell_stopped(self, symbol: str, market_at: datetime) -> None: ...

    async def tell_back(self, symbol: str) -> None: ...


class StateUnitOfWork(Protocol):
    """The trading state, one change at a time."""

    @property
    def now(self) -> datetime: ...

    async def next_version(self) -> tuple[int, int]:
        """(database epoch, version), higher than of every change before; the next caller waits until this one is over."""
        ...

    async def count_from(self, version: int) -> None:
        """The next version is higher than this one, too; the next caller waits until this one is over."""
        ...

    async def held(self, scope: StateScope, target: str | None) -> TradingStateChanged | None:
        """The newest change of it; None: there was none."""
        ...

    async def held_by_others(self, scope: StateScope, target: str | None, by: str) -> TradingStateChanged | None:
        """The newest change of it by somebody else."""
        ...

    def save(self, change: TradingStateChanged) -> None:
        """Keeps the change, and publishes it."""
        ...

    def note(self, change: TradingStateChanged) -> None:
        """Keeps only that it was said: something stricter holds."""
        ...

    def tell_acted(self, action: str, change: TradingStateChanged, before: TradingStateChanged | None) -> None:
        """For the audit log: that `change.by` did it."""
        ...
