"""Orders that an algorithm works: begun, stepped by time, cancelled, paused and resumed, and what their children learn."""

from datetime import datetime

from fleet_chassis.logging import get_logger

from fleet_execution.domain import REQUESTED, OrderKey, Refused, Terms, VenueOrder, Why, working
from fleet_execution.domain.twap import Twap
from fleet_execution.ports import Told, UnitOfWork, told_of

from .refusing import Refusal, refusal_of

log = get_logger("fleet_execution")


def begin(
    uow: UnitOfWork,
    key: OrderKey,
    terms: Terms,
    algo: Twap,
    *,
    command_sequence: int,
    market_at: datetime,
    refusal: Refused | None,
) -> None:
    """Takes the order; its first part is sent by the row that is due at once."""
    parent, outcomes = working.begin(
        key, terms, algo, command_sequence=command_sequence, market_at=market_at, now=uow.now, refusal=refusal
    )
    uow.save(parent)
    if not parent.stand.is_terminal:
        uow.look_at(parent, uow.now)
    uow.publish(told_of(parent, outcomes), market_at=market_at)


async def step(uow: UnitOfWork, parent: VenueOrder, *, refusal: Refusal) -> None:
    """Time has come for the next part of an order, or for its end."""
    await uow.look_for_doubts()
    may_not = refusal_of(uow, parent.key, refusal)
    children = await uow.children(parent)
    _carry_out(uow, working.step(parent, children, now=uow.now, market_at=uow.now, refusal=may_not), uow.now)


async def cancel(
    uow: UnitOfWork, parent: VenueOrder, *, market_at: datetime, why: Why = REQUESTED, request: int | None = None
) -> None:
    children = await uow.children(parent)
    work = working.cancel(parent, children, now=uow.now, market_at=market_at, why=why, request=request)
    _carry_out(uow, work, market_at)


async def query(uow: UnitOfWork, parent: VenueOrder, *, market_at: datetime) -> None:
    told = working.query(parent, await uow.children(parent), market_at=market_at)
    uow.publish([Told(key, outcome, parent.terms.side) for key, outcome in told], market_at=market_at)


async def pause(uow: UnitOfWork, parent: VenueOrder) -> None:
    _carry_out(uow, working.pause(parent, await uow.children(parent), now=uow.now, market_at=uow.now), uow.now)


async def resume(uow: UnitOfWork, parent: VenueOrder) -> None:
    _carry_out(uow, working.resume(parent, now=uow.now), uow.now)


async def heard(uow: UnitOfWork, before: VenueOrder, after: VenueOrder, *, market_at: datetime) -> list[Told]:
    """What follows from what a child, kept already, has learnt."""
    parent = None if after.parent_ref is None else uow.find(after.parent_ref)
    if parent is None:
        return []
    children = await uow.children(parent)
    work = working.heard(parent, children, before, after, now=uow.now, market_at=market_at)
    if work.is_alarming:
        key = after.key
        log.warning(
            "cancel_keeps_being_refused",
            order_id=key.order_id,
            venue_order_ref=key.ref,
            venue=key.venue,
            account_id=key.account_id,
        )
    return _keep(uow, work)


def _carry_out(uow: UnitOfWork, work: working.Work, market_at: datetime) -> None:
    uow.publish(_keep(uow, work), market_at=market_at)


def _keep(uow: UnitOfWork, work: working.Work) -> list[Told]:
    for order in (work.parent, *work.children):
        if uow.find(order.key.ref) is not order:
            uow.save(order)
    if work.look_at is not None:
        uow.look_at(work.parent, work.look_at)
    return [Told(key, outcome, work.parent.terms.side) for key, outcome in work.told]
