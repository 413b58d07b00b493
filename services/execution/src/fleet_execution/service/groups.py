"""Orders that hang together: begun, cancelled, replaced, asked about, and what follows from what one of them learns."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from fleet_execution.domain import (
    REQUESTED,
    Change,
    OrderKey,
    Outcome,
    Refused,
    Terms,
    VenueOrder,
    Why,
    groups,
    held,
    triggers,
)
from fleet_execution.ports import Told, UnitOfWork

from .refusing import Refusal, refusal_of


def begin(
    uow: UnitOfWork,
    key: OrderKey,
    terms: Terms,
    legs: groups.Legs,
    *,
    command_sequence: int,
    market_at: datetime,
    refusal: Refused | None,
) -> None:
    """Rows for the order and its legs first, and with them what their venue is sent."""
    taken = groups.begin(
        key, terms, legs, command_sequence=command_sequence, market_at=market_at, now=uow.now, refusal=refusal
    )
    told = _keep(uow, taken, key.ref)
    root = uow.find(key.ref)
    if root is not None and (at := triggers.expires_at(root)) is not None and taken.look_at is None:
        uow.look_at(root, at)
    uow.publish(told, market_at=market_at)


async def step(uow: UnitOfWork, root: VenueOrder, *, refusal: Refusal) -> None:
    """Time has come to place what a held leg lacks, and to ask about what was not answered."""
    await uow.look_for_doubts()
    group = uow.group(root.key.ref)
    may_not = refusal_of(uow, root.key, refusal)
    taken = held.step(group, now=uow.now, market_at=uow.now, refusal=may_not)
    uow.publish(_keep(uow, taken, root.key.ref), market_at=uow.now)


def cancel(
    uow: UnitOfWork, leg: VenueOrder, *, market_at: datetime, why: Why = REQUESTED, request: int | None = None
) -> None:
    assert leg.group_ref is not None
    group = uow.group(leg.group_ref)
    taken = held.cancel(group, leg, now=uow.now, market_at=market_at, why=why, request=request)
    uow.publish(_keep(uow, taken, leg.group_ref), market_at=market_at)


def amend(uow: UnitOfWork, leg: VenueOrder, change: Change, *, command_sequence: int, market_at: datetime) -> None:
    assert leg.group_ref is not None
    group = uow.group(leg.group_ref)
    taken = held.amend(group, leg, change, command_sequence=command_sequence, now=uow.now, market_at=market_at)
    uow.publish(_keep(uow, taken, leg.group_ref), market_at=market_at)


def elect(uow: UnitOfWork, leg: VenueOrder, price: Decimal, *, market_at: datetime) -> None:
    assert leg.group_ref is not None
    taken = held.elect(uow.group(leg.group_ref), leg, price, now=uow.now, market_at=market_at)
    uow.publish(_keep(uow, taken, leg.group_ref), market_at=market_at)


def query(uow: UnitOfWork, leg: VenueOrder, *, market_at: datetime) -> None:
    assert leg.group_ref is not None
    taken = held.query(uow.group(leg.group_ref), leg, market_at=market_at)
    uow.publish(_keep(uow, taken, leg.group_ref), market_at=market_at)


def may_grow(uow: UnitOfWork, order: VenueOrder) -> bool:
    """A leg may, while the order that it waits for is open."""
    if order.leg is None or not order.leg.waits or order.group_ref is None:
        return False
    root = uow.find(order.group_ref)
    return root is not None and not root.stand.is_terminal


def learnt(
    uow: UnitOfWork, before: VenueOrder, after: VenueOrder, outcomes: Sequence[Outcome], *, market_at: datetime
) -> list[Told]:
    """What follows in its group from what an order, kept already, has learnt."""
    assert after.group_ref is not None
    group = uow.group(after.group_ref)
    if group.is_held:
        taken = held.heard(group, before, after, outcomes, now=uow.now, market_at=market_at)
    else:
        taken = groups.heard(group, now=uow.now, market_at=market_at)
    return _keep(uow, taken, after.group_ref)


def _keep(uow: UnitOfWork, taken: groups.Step, group_ref: UUID) -> list[Told]:
    for order in taken.changed:
        uow.save(order)
    if taken.look_at is not None:
        root = uow.find(group_ref)
        assert root is not None
        uow.look_at(root, taken.look_at)
    return [Told(order.key, outcome, order.terms.side) for order, outcome in taken.told]
