"""The use cases of core-engine that change something of its own."""

from datetime import datetime

from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.vocabulary import StateScope, TradingStateWord

from .domain.bars import Series, reason_to_withhold
from .ports import MarketUnitOfWork, StateUnitOfWork


def release_bar(uow: MarketUnitOfWork, series: Series, close_at: datetime) -> str | None:
    """None releases the bar, else the reason it is withheld. Either way its series stands at its close afterwards."""
    position = uow.position(series)
    reason = reason_to_withhold(close_at, position=position, is_halted=uow.is_halted(series.symbol))
    if position is None or close_at > position:
        uow.advance(series, close_at)
    return reason


async def change_state(
    uow: StateUnitOfWork, scope: StateScope, target: str | None, state: TradingStateWord, *, by: str, reason: str
) -> TradingStateChanged:
    """Changes the state of a scope and target, under a version higher than any before. Saying it twice is a change, too:
    whoever missed the first hears the second."""
    epoch, version = await uow.next_version()
    change = TradingStateChanged(
        scope=scope,
        target=target,
        state=state,
        epoch=epoch,
        version=version,
        by=by,
        reason=reason,
        changed_at=uow.now,
    )
    await uow.save(change)
    return change
