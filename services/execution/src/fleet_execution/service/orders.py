"""The use cases of execution: three commands of trading, and what a venue reports."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from fleet_execution.domain import (
    CancelRejected,
    Change,
    OrderKey,
    Outcome,
    ReplaceRejected,
    Terms,
    VenueFact,
    VenueOrder,
    never_sent,
    submit,
)
from fleet_execution.domain.twap import Twap
from fleet_execution.ports import Told, UnitOfWork

from . import working
from .working import Refusal


class VenueOrderNotThere(LookupError):
    """A venue speaks of an order whose row has not come yet."""


def submit_order(
    uow: UnitOfWork,
    key: OrderKey,
    terms: Terms,
    *,
    command_sequence: int,
    market_at: datetime,
    refusal: Refusal,
    algo: Twap | None = None,
) -> None:
    """Places the order at its venue once, a row first and the command with it, or begins to work it."""
    if uow.is_never_sent(key.ref):
        uow.publish([Told(key, never_sent(market_at))], market_at=market_at)
        return
    if uow.find(key.ref) is not None:
        return
    refused = refusal(key) or ("venue_in_doubt" if uow.is_in_doubt(key.venue, key.symbol) else None)
    if algo is not None:
        working.begin(uow, key, terms, algo, command_sequence=command_sequence, market_at=market_at, refused=refused)
        return
    order, outcomes = submit(
        key, terms, command_sequence=command_sequence, market_at=market_at, now=uow.now, refusal=refused
    )
    uow.save(order)
    uow.publish(_told(order, outcomes), market_at=market_at)


async def cancel_order(uow: UnitOfWork, key: OrderKey, *, command_sequence: int, market_at: datetime) -> None:
    """Passes the wish to the venue, or says why there is nothing to cancel."""
    order = uow.find(key.ref)
    if order is None:
        unknown = CancelRejected(market_at, "unknown_order", "the order was never sent to a venue")
        uow.publish([Told(key, unknown)], market_at=market_at)
        return
    if order.algo is not None:
        await working.cancel(uow, order, market_at=market_at)
        return
    changed, outcomes = order.cancel(command_sequence=command_sequence, market_at=market_at, now=uow.now)
    if changed is not order:
        uow.save(changed)
    uow.publish(_told(order, outcomes), market_at=market_at)


def replace_order(
    uow: UnitOfWork, key: OrderKey, change: Change, *, command_sequence: int, market_at: datetime
) -> None:
    """Passes the wish to the venue, or says why there is nothing to replace."""
    order = uow.find(key.ref)
    if order is None:
        unknown = ReplaceRejected(market_at, "unknown_order", "the order was never sent to a venue")
        uow.publish([Told(key, unknown)], market_at=market_at)
        return
    if order.algo is not None:
        refused = ReplaceRejected(market_at, "unsupported", "an order that an algorithm works is not replaced")
        uow.publish([Told(key, refused)], market_at=market_at)
        return
    outcomes = order.amend(change, command_sequence=command_sequence, market_at=market_at, now=uow.now)
    uow.publish(_told(order, outcomes), market_at=market_at)


async def query_order(uow: UnitOfWork, key: OrderKey, *, command_sequence: int, market_at: datetime) -> None:
    """Tells what became of the order, by asking the venue where we do not know the end.

    An order that we never had is told `never_sent`, and from then on it never will be."""
    order = uow.find(key.ref)
    if order is None:
        if not uow.is_never_sent(key.ref):
            uow.remember_never_sent(key)
        uow.publish([Told(key, never_sent(market_at))], market_at=market_at)
        return
    if order.algo is not None:
        await working.query(uow, order, market_at=market_at)
        return
    outcomes = order.query(command_sequence=command_sequence, market_at=market_at)
    uow.publish(_told(order, outcomes), market_at=market_at)


async def learn_reports(uow: UnitOfWork, reports: Sequence[tuple[UUID, VenueFact]], *, market_at: datetime) -> None:
    """Takes the word of a venue about orders of one symbol. Raises VenueOrderNotThere before anything is changed."""
    missing = [ref for ref, _ in reports if uow.find(ref) is None]
    if missing:
        raise VenueOrderNotThere(f"venue order {missing[0]}")
    told: list[Told] = []
    for ref, fact in reports:
        order = uow.find(ref)
        assert order is not None
        changed, outcomes = order.learn(fact, now=uow.now)
        told += await working.learnt(uow, order, changed, outcomes, market_at=market_at)
    uow.publish(told, market_at=market_at)


def _told(order: VenueOrder, outcomes: Iterable[Outcome]) -> list[Told]:
    return [Told(order.key, outcome, order.terms.side) for outcome in outcomes]
