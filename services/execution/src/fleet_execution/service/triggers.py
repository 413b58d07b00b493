"""Orders whose type their venue does not have: begun here, triggered by prices, changed, ended by time."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple
from uuid import UUID

from fleet_execution.domain import Change, OrderKey, Outcome, Prices, Refused, Terms, Trigger, VenueOrder, triggers
from fleet_execution.ports import UnitOfWork, told_of

from . import groups
from .learning import learnt
from .refusing import PLAIN, Refusal, refusal_of

TickOf = Callable[[str], Decimal]


class Look(NamedTuple):
    """What a watch has seen of an order, and where they trigger it, the prices that do: of the order as it is `since`."""

    ref: UUID
    since: datetime
    mark: Decimal | None
    prices: Prices | None = None


def lacks(uow: UnitOfWork, key: OrderKey, terms: Terms) -> bool:
    return terms.order_type not in PLAIN and not uow.can(key.venue, f"order_types:{terms.order_type}")


def triggers_of(
    uow: UnitOfWork, orders: Iterable[tuple[OrderKey, Terms]], *, tick_of: TickOf, market_at: datetime
) -> tuple[dict[UUID, Trigger], Refused | None]:
    """Of those that their venue lacks the type for; or why one of them cannot be watched for."""
    found: dict[UUID, Trigger] = {}
    for key, terms in orders:
        if lacks(uow, key, terms):
            tick = tick_of(key.symbol)
            may_not = triggers.refusal(terms, tick, has_gtd=uow.can(key.venue, "gtd"))
            if may_not is not None:
                return {}, may_not
            found[key.ref] = Trigger(market_at, tick)
    return found, None


async def look(uow: UnitOfWork, looks: Sequence[Look], *, refusal: Refusal) -> None:
    """Takes what a watch has seen. What may not go to its venue now waits for a price after that."""
    await uow.look_for_doubts()
    for seen in looks:
        order = uow.find(seen.ref)
        if order is None or order.trigger is None or not order.is_watched:
            continue
        marked = triggers.marked(order, seen.mark)
        if marked is not order:
            uow.save(marked)
        if seen.prices is None or seen.since != order.trigger.since or refusal_of(uow, order.key, refusal) is not None:
            continue
        price = triggers.Watch.of(marked).look(seen.prices)
        if price is not None:
            _trigger(uow, marked, price, seen.prices.at)


def _trigger(uow: UnitOfWork, order: VenueOrder, price: Decimal, market_at: datetime) -> None:
    """With what is placed, in one transaction: it is triggered once, whatever is killed."""
    if order.is_held:
        groups.elect(uow, order, price, market_at=market_at)
        return
    released, outcomes = triggers.release(order, price, now=uow.now, market_at=market_at)
    uow.save(released)
    uow.publish(told_of(order, outcomes), market_at=market_at)


def amend(uow: UnitOfWork, order: VenueOrder, change: Change, *, command_sequence: int, market_at: datetime) -> None:
    amended, outcomes = triggers.amend(
        order, change, command_sequence=command_sequence, market_at=market_at, now=uow.now
    )
    if amended is not order:
        uow.save(amended)
    uow.publish(told_of(order, outcomes), market_at=market_at)


async def expire(uow: UnitOfWork, order: VenueOrder) -> None:
    if triggers.has_expired(order, uow.now):
        await end(uow, order, triggers.expire(order, now=uow.now), market_at=uow.now)


async def end(
    uow: UnitOfWork, order: VenueOrder, ended: tuple[VenueOrder, tuple[Outcome, ...]], *, market_at: datetime
) -> None:
    """By us; legs that wait for it end with it."""
    uow.publish(await learnt(uow, order, *ended, market_at=market_at), market_at=market_at)
