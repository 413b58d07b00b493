"""The commands of trading: submit, cancel, replace, query."""

from datetime import datetime
from uuid import UUID

from msgspec.structs import replace

from fleet_execution.domain import (
    CancelRejected,
    Change,
    OrderKey,
    Refused,
    ReplaceRejected,
    Terms,
    never_sent,
    submit,
)
from fleet_execution.domain import triggers as watching
from fleet_execution.domain.groups import Legs
from fleet_execution.domain.twap import Twap
from fleet_execution.ports import Told, UnitOfWork, told_of

from . import groups, triggers, working
from .refusing import PLAIN, Refusal, refusal_of


def submit_order(
    uow: UnitOfWork,
    key: OrderKey,
    terms: Terms,
    *,
    command_sequence: int,
    market_at: datetime,
    refusal: Refusal,
    tick_of: triggers.TickOf,
    algo: Twap | None = None,
    legs: Legs | None = None,
) -> None:
    """Places the order at its venue once, a row first and the command with it; or begins to work it, or its group, or to
    watch prices for it."""
    wishes = () if legs is None else legs.orders
    if uow.is_never_sent(key.ref) or any(uow.is_never_sent(leg.ref) for leg, _ in wishes):
        keys = (key, *(leg for leg, _ in wishes))
        uow.publish([Told(each, never_sent(market_at)) for each in keys], market_at=market_at)
        return
    if uow.find(key.ref) is not None:
        return
    may_not = refusal_of(uow, key, refusal)
    if legs is not None:
        if algo is not None:
            may_not = Refused("unsupported", "an order that an algorithm works has no legs")
        found, unwatched = triggers.triggers_of(uow, ((key, terms), *wishes), tick_of=tick_of, market_at=market_at)
        legs = replace(legs, are_held=legs.are_held or bool(found), triggers=found)
        may_not = may_not or unwatched
        groups.begin(uow, key, terms, legs, command_sequence=command_sequence, market_at=market_at, refusal=may_not)
        return
    if algo is not None:
        working.begin(uow, key, terms, algo, command_sequence=command_sequence, market_at=market_at, refusal=may_not)
        return
    found = {}
    if may_not is None and terms.order_type not in PLAIN:
        found, may_not = triggers.triggers_of(uow, ((key, terms),), tick_of=tick_of, market_at=market_at)
    order, outcomes = submit(
        key, terms, command_sequence=command_sequence, market_at=market_at, now=uow.now, refusal=may_not
    )
    if found and not order.stand.is_terminal:
        order, outcomes = watching.begin(order, found[key.ref], now=uow.now)
        if (at := watching.expires_at(order)) is not None:
            uow.look_at(order, at)
    uow.save(order)
    uow.publish(told_of(order, outcomes), market_at=market_at)


async def cancel_order(
    uow: UnitOfWork, key: OrderKey, *, command_sequence: int, market_at: datetime, request: int | None = None
) -> None:
    """Passes the wish to the venue, or says why there is nothing to cancel."""
    order = uow.find(key.ref)
    if order is None:
        unknown = CancelRejected(market_at, "unknown_order", "the order was never sent to a venue", request)
        uow.publish([Told(key, unknown)], market_at=market_at)
        return
    if order.algo is not None:
        await working.cancel(uow, order, market_at=market_at, request=request)
        return
    if order.is_held:
        groups.cancel(uow, order, market_at=market_at, request=request)
        return
    changed, outcomes = order.cancel(
        command_sequence=command_sequence, market_at=market_at, now=uow.now, request=request
    )
    if order.is_watched:
        await triggers.end(uow, order, (changed, outcomes), market_at=market_at)
        return
    if changed is not order:
        uow.save(changed)
    uow.publish(told_of(order, outcomes), market_at=market_at)


def replace_order(
    uow: UnitOfWork, key: OrderKey, change: Change, *, command_sequence: int, market_at: datetime
) -> None:
    """Passes the wish to the venue, or says why there is nothing to replace."""
    order = uow.find(key.ref)
    if order is None:
        unknown = ReplaceRejected(market_at, "unknown_order", "the order was never sent to a venue", change.request)
        uow.publish([Told(key, unknown)], market_at=market_at)
        return
    if order.algo is not None:
        detail = "an order that an algorithm works is not replaced"
        refused = ReplaceRejected(market_at, "unsupported", detail, change.request)
        uow.publish([Told(key, refused)], market_at=market_at)
        return
    if order.is_held:
        groups.amend(uow, order, change, command_sequence=command_sequence, market_at=market_at)
        return
    if order.is_watched:
        triggers.amend(uow, order, change, command_sequence=command_sequence, market_at=market_at)
        return
    outcomes = order.amend(change, command_sequence=command_sequence, market_at=market_at, now=uow.now)
    uow.publish(told_of(order, outcomes), market_at=market_at)


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
    if order.is_held:
        groups.query(uow, order, market_at=market_at)
        return
    outcomes = order.query(command_sequence=command_sequence, market_at=market_at)
    uow.publish(told_of(order, outcomes), market_at=market_at)


async def step_order(uow: UnitOfWork, ref: UUID, *, refusal: Refusal) -> None:
    """Time has come for an order that execution works, watches prices for, or whose legs it holds."""
    order = uow.find(ref)
    if order is None:
        return
    if order.is_watched and not order.is_held:
        await triggers.expire(uow, order)
    elif order.algo is not None:
        await working.step(uow, order, refusal=refusal)
    elif order.group_ref is not None:
        await groups.step(uow, order, refusal=refusal)
