"""The use cases of core-engine that change something of its own."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from fleet_contracts.core_engine import TradingStateChanged
from fleet_contracts.vocabulary import StateScope, TradingStateWord
from fleet_gate import strictest
from msgspec.structs import replace

from .domain.bars import Series, reason_to_withhold
from .domain.freshness import LastQuote
from .ports import AlertUnitOfWork, MarketUnitOfWork, StateUnitOfWork


def release_bar(uow: MarketUnitOfWork, series: Series, close_at: datetime, *, is_stale: bool = False) -> str | None:
    """None releases the bar, else the reason it is withheld. Either way its series stands at its close afterwards."""
    position = uow.position(series)
    reason = reason_to_withhold(close_at, position=position, is_halted=uow.is_halted(series.symbol), is_stale=is_stale)
    if position is None or close_at > position:
        uow.advance(series, close_at)
    return reason


async def watch_quotes(uow: AlertUnitOfWork, quotes: Iterable[LastQuote]) -> None:
    """Tells, once each, that the quotes of a symbol have stopped and that they have come back."""
    for quote in quotes:
        is_told = uow.is_told(quote.symbol)
        if not is_told and quote.has_stopped(uow.now):
            await uow.tell_stopped(quote.symbol, quote.market_at)
        elif is_told and quote.has_come_back(uow.now):
            await uow.tell_back(quote.symbol)


RISK = "risk"
"""Who changes the state of an account that has breached a limit."""


class SecondPersonNeeded(Exception):
    """Who restricted a system, a venue or a symbol last does not release it: another does."""


class SecondFactorNeeded(Exception):
    """Who releases has shown that he is himself just now."""


class HeldByAnother(Exception):
    """The owner of an account has not restricted it himself."""


async def change_state(
    uow: StateUnitOfWork,
    scope: StateScope,
    target: str | None,
    state: TradingStateWord,
    *,
    by: str,
    reason: str,
    is_owner: bool = False,
    has_fresh_factor: bool = False,
) -> TradingStateChanged:
    """Changes the state of a scope and target, under a version higher than any before. Saying it twice is a change, too:
    whoever missed the first hears the second.

    Anybody who may may restrict. Who releases a system, venue or symbol is not who restricted it last; the owner of an
    account takes back what he said himself, down to what others have said of it. Either has a fresh second factor."""
    epoch, version = await uow.next_version()
    held = await uow.held(scope, target)
    if held is not None and is_looser(state, held.state):
        if is_owner:
            other = await uow.held_by_others(scope, target, by)
            state = state if other is None else strictest(state, other.state)
            if not is_looser(state, held.state):
                raise HeldByAnother
        elif scope is not StateScope.ACCOUNT and held.by == by:
            raise SecondPersonNeeded
        if not has_fresh_factor:
            raise SecondFactorNeeded
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
    uow.save(change)
    if not is_owner and by != RISK:
        uow.tell_acted("trading_state.changed", change, held)
    return change


async def adopt(uow: StateUnitOfWork, change: TradingStateChanged) -> bool:
    """Takes over a state that was told to the gates without us (`fleet halt`); whether it is newer than ours."""
    await uow.count_from(change.version)
    held = await uow.held(change.scope, change.target)
    if held is not None and (held.epoch, held.version) >= (change.epoch, change.version):
        return False
    uow.save(change)
    uow.tell_acted("trading_state.adopted", change, held)
    return True


async def restrict_by_risk(
    uow: StateUnitOfWork, account_id: UUID, owner: UUID, wanted: TradingStateWord, reason: str
) -> None:
    """Never loosens: an admin releases the account. Under a halt of the owner's own it is only noted, and holds when he
    takes his halt back."""
    target = str(account_id)
    held = await uow.held(StateScope.ACCOUNT, target)
    if is_looser(TradingStateWord.ACTIVE if held is None else held.state, wanted):
        await change_state(uow, StateScope.ACCOUNT, target, wanted, by=RISK, reason=reason)
    elif held is not None and held.by == str(owner):
        other = await uow.held_by_others(StateScope.ACCOUNT, target, held.by)
        if is_looser(TradingStateWord.ACTIVE if other is None else other.state, wanted):
            epoch, version = await uow.next_version()
            said = {"epoch": epoch, "version": version, "by": RISK, "reason": reason, "changed_at": uow.now}
            uow.note(replace(held, state=wanted, **said))


def is_looser(state: TradingStateWord, than: TradingStateWord) -> bool:
    return state is not than and strictest(state, than) is than
