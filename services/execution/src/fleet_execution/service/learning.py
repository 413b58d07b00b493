"""What orders learn: of a venue's reports and of its answers, and what of it trading is told."""

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from fleet_execution.domain import Outcome, VenueFact, VenueOrder, working
from fleet_execution.ports import Told, UnitOfWork, told_of

from . import groups
from .working import heard


async def learn_reports(uow: UnitOfWork, reports: Sequence[tuple[UUID, VenueFact]], *, market_at: datetime) -> None:
    """Takes the word of a venue about orders of one symbol, all of which are known here."""
    told: list[Told] = []
    for ref, fact in reports:
        order = uow.find(ref)
        assert order is not None
        told += await learn(uow, order, fact, market_at=market_at)
    uow.publish(told, market_at=market_at)


async def learn(uow: UnitOfWork, order: VenueOrder, fact: VenueFact, *, market_at: datetime) -> list[Told]:
    changed, outcomes = order.learn(fact, now=uow.now, may_grow=groups.may_grow(uow, order))
    return await learnt(uow, order, changed, outcomes, market_at=market_at)


async def learnt(
    uow: UnitOfWork, before: VenueOrder | None, after: VenueOrder, outcomes: Sequence[Outcome], *, market_at: datetime
) -> list[Told]:
    """Keeps what an order has become; what is told of it, and of the orders that it is a part of, which follow."""
    if after is not before:
        uow.save(after)
    if after.parent_ref is None:
        told = told_of(after, outcomes)
    else:
        told = [Told(key, outcome, after.terms.side) for key, outcome in working.tell(before, after, outcomes)]
    if before is None or after is before:
        return told
    if after.group_ref is not None:
        return told + groups.learnt(uow, before, after, outcomes, market_at=market_at)
    if after.parent_ref is not None:
        return told + await heard(uow, before, after, market_at=market_at)
    return told
