"""Orders that an algorithm works: begun, stepped by time, cancelled, paused and resumed, and what their children learn."""

from collections.abc import Callable, Iterable
from datetime import datetime
from uuid import UUID

from fleet_execution.domain import OrderKey, Outcome, Terms, VenueOrder, venue_order_ref, working
from fleet_execution.domain.twap import Twap
from fleet_execution.ports import Told, UnitOfWork

Refusal = Callable[[OrderKey], str | None]
"""The code with which an order must be refused now (the gate is shut, no such venue), None where it may go."""


def begin(
    uow: UnitOfWork,
    key: OrderKey,
    terms: Terms,
    algo: Twap,
    *,
    command_sequence: int,
    market_at: datetime,
    refused: str | None,
) -> None:
    """Takes the order; its first part is sent by the row that is due at once."""
    parent, outcomes = working.begin(
        key, terms, algo, command_sequence=command_sequence, market_at=market_at, now=uow.now, refusal=refused
    )
    uow.save(parent)
    if not parent.stand.is_terminal:
        uow.look_at(parent, uow.now)
    uow.publish([Told(key, outcome, terms.side) for outcome in outcomes], market_at=market_at)


async def step(uow: UnitOfWork, order_id: UUID, *, refusal: Refusal) -> None:
    """Time has come for the next part of an order, or for its end."""
    parent = uow.find(venue_order_ref(order_id))
    if parent is None:
        return
    await uow.look_for_doubts()
    key = parent.key
    refused = refusal(key) or ("venue_in_doubt" if uow.is_in_doubt(key.venue, key.symbol) else None)
    children = await uow.children(parent)
    _carry_out(uow, working.step(parent, children, now=uow.now, market_at=uow.now, refusal=refused), uow.now)


async def cancel(uow: UnitOfWork, parent: VenueOrder, *, market_at: datetime) -> None:
    _carry_out(uow, working.cancel(parent, await uow.children(parent), now=uow.now, market_at=market_at), market_at)


async def query(uow: UnitOfWork, parent: VenueOrder, *, market_at: datetime) -> None:
    told = working.query(parent, await uow.children(parent), market_at=market_at)
    uow.publish([Told(key, outcome, parent.terms.side) for key, outcome in told], market_at=market_at)


async def pause(uow: UnitOfWork, parent: VenueOrder) -> None:
    _carry_out(uow, working.pause(parent, await uow.children(parent), now=uow.now, market_at=uow.now), uow.now)


async def resume(uow: UnitOfWork, parent: VenueOrder) -> None:
    _carry_out(uow, working.resume(parent, now=uow.now), uow.now)


async def learnt(
    uow: UnitOfWork, before: VenueOrder | None, after: VenueOrder, outcomes: Iterable[Outcome], *, market_at: datetime
) -> list[Told]:
    """Keeps what an order has become; what is told of it. Of a child the order it is a part of is told, and changed."""
    if after is not before:
        uow.save(after)
    parent = None if after.parent_ref is None else uow.find(after.parent_ref)
    if parent is None:
        return [Told(after.key, outcome, after.terms.side) for outcome in outcomes]
    told = [Told(key, outcome, after.terms.side) for key, outcome in working.tell(after, tuple(outcomes))]
    if before is None or after is before:
        return told
    has_given_way = before.is_cancel_pending and after.stand.is_terminal and not before.stand.is_terminal
    children = await uow.children(parent)
    return told + _keep(uow, working.heard(parent, children, has_given_way, now=uow.now, market_at=market_at))


def _carry_out(uow: UnitOfWork, work: working.Work, market_at: datetime) -> None:
    uow.publish(_keep(uow, work), market_at=market_at)


def _keep(uow: UnitOfWork, work: working.Work) -> list[Told]:
    for order in (work.parent, *work.children):
        if uow.find(order.key.ref) is not order:
            uow.save(order)
    if work.look_at is not None:
        uow.look_at(work.parent, work.look_at)
    return [Told(key, outcome, work.parent.terms.side) for key, outcome in work.told]
