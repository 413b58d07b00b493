"""An order worked by an algorithm: one child at the venue at a time, sized from what is filled, ended before the next. Pure."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import uuid5

from msgspec import Struct
from msgspec.structs import replace

from .order import Decision, VenueOrder, submit
from .twap import Refusals, Twap
from .values import (
    REQUESTED,
    Accepted,
    Ask,
    Cancel,
    Canceled,
    Corrected,
    Filled,
    OrderKey,
    Outcome,
    Place,
    Refused,
    Rejected,
    Stand,
    Stated,
    Terms,
    Triggered,
    Why,
)

AGAIN = timedelta(seconds=5)
"""When to ask where a child stands whose cancel is not answered, if no part comes before; and when to ask for a cancel
again that was refused, the first time. Each further pause is twice as long."""
LATEST_AGAIN = timedelta(minutes=5)
"""The longest of these pauses, as of trading's questions: so long a venue that allows it at last may go unnoticed."""
ALARMING_REFUSALS = 3
"""One is a fill on its way; after so many in a row someone should look. Told once of a child."""


class Work(Struct, frozen=True):
    """What a step came to: the parent and the children that changed, what is told of whom, when to look again.

    `is_alarming`: a child is not to be cancelled."""

    parent: VenueOrder
    children: tuple[VenueOrder, ...] = ()
    told: tuple[tuple[OrderKey, Outcome], ...] = ()
    look_at: datetime | None = None
    is_alarming: bool = False


def begin(
    key: OrderKey,
    terms: Terms,
    algo: Twap,
    *,
    command_sequence: int,
    market_at: datetime,
    now: datetime,
    refusal: Refused | None,
) -> Decision:
    """The parent, accepted by us; or refused, like any order."""
    order, outcomes = submit(
        key, terms, command_sequence=command_sequence, market_at=market_at, now=now, refusal=refusal
    )
    if order.stand is Stand.REFUSED:
        return order, outcomes
    return replace(order, algo=algo, stand=Stand.WORKING, accepted_at=now), (Accepted(market_at),)


def filled(children: Sequence[VenueOrder]) -> Decimal:
    """Counted anew from the children each time, never added up as they come."""
    return sum((child.cumulative_quantity for child in children), Decimal(0))


def step(
    parent: VenueOrder, children: Sequence[VenueOrder], *, now: datetime, market_at: datetime, refusal: Refused | None
) -> Work:
    """Time has come, or a child has ended: what is open is cancelled, and only when nothing is open is more sent.

    `refusal`: no order may go to the venue now; this part is left out, and the next makes up for it."""
    algo = parent.algo
    if algo is None:
        return Work(parent)
    parent = _counted(parent, children, now)
    look_at = None if parent.stand.is_terminal else algo.next_at(now)
    open_children = [child for child in children if not child.stand.is_terminal]
    if open_children:
        if (waits := _refused_until(parent, now)) is not None:
            return Work(parent, look_at=waits if look_at is None else min(waits, look_at))
        changed, told = _clear(open_children, now=now, market_at=market_at)
        return Work(parent, changed, told, look_at or now + AGAIN)
    parent = _unrefused(parent)
    if parent.stand.is_terminal:
        return Work(parent)
    if parent.is_cancel_pending:
        return _end(parent, *_why(parent), now, market_at)
    if algo.has_ended(now):
        return _end(parent, "algo_ended", "the market had not taken it all by the end", now, market_at)
    size = algo.wanted(now=now, quantity=parent.terms.quantity, filled=parent.cumulative_quantity)
    if size <= 0 or refusal is not None:
        return Work(parent, look_at=look_at)
    ref = uuid5(parent.key.order_id, f"slice:{len(children) + 1}")
    send_by = None if parent.terms.send_by is None else now + (parent.terms.send_by - parent.created_at)
    child, outcomes = submit(
        replace(parent.key, ref=ref),
        replace(parent.terms, quantity=size, send_by=send_by),
        command_sequence=parent.command_sequence,
        market_at=market_at,
        now=now,
        refusal=None,
    )
    child = replace(child, parent_ref=parent.key.ref)
    return Work(parent, (child,), tuple((child.key, outcome) for outcome in outcomes), look_at)


def heard(
    parent: VenueOrder,
    children: Sequence[VenueOrder],
    before: VenueOrder,
    after: VenueOrder,
    *,
    now: datetime,
    market_at: datetime,
) -> Work:
    """What one of the children, `before`, has learnt has made it `after`: it has filled, ended, or is not to be cancelled."""
    parent = _counted(parent, children, now)
    if before.is_cancel_pending and not after.is_cancel_pending and not after.stand.is_terminal:
        return _refused(parent, now)
    open_children = [child for child in children if not child.stand.is_terminal]
    if not open_children:
        parent = _unrefused(parent)
    open_quantity = sum((c.terms.quantity - c.cumulative_quantity for c in open_children), Decimal(0))
    is_too_much = bool(open_children) and parent.cumulative_quantity + open_quantity > parent.terms.quantity
    if is_too_much and _refused_until(parent, now) is None:
        # A fill came after the cancel of its order was confirmed: what is at the venue is too much by that.
        changed, told = _clear(open_children, now=now, market_at=market_at)
        return Work(parent, changed, told, now + AGAIN)
    if parent.stand.is_terminal:
        return Work(parent)
    if not open_children and parent.is_cancel_pending:
        return _end(parent, *_why(parent), now, market_at)
    # A child that ended by itself waits for the next part; one that was cancelled for the next part gives way to it.
    has_given_way = before.is_cancel_pending and after.stand.is_terminal and not before.stand.is_terminal
    return Work(parent, look_at=now if not open_children and has_given_way else None)


def cancel(
    parent: VenueOrder,
    children: Sequence[VenueOrder],
    *,
    now: datetime,
    market_at: datetime,
    why: Why = REQUESTED,
    request: int | None = None,
) -> Work:
    """Nothing more is sent; it has ended when the last child has."""
    if parent.stand.is_terminal:
        return Work(parent, told=((parent.key, parent.too_late_to_cancel(market_at, request)),))
    if not parent.is_cancel_pending:
        parent = replace(parent, is_cancel_pending=True, code=why[0], detail=why[1], updated_at=now)
    open_children = [child for child in children if not child.stand.is_terminal]
    if not open_children:
        return _end(parent, *_why(parent), now, market_at)
    changed, told = _clear(open_children, now=now, market_at=market_at)
    return Work(parent, changed, told, now + AGAIN)


def pause(parent: VenueOrder, children: Sequence[VenueOrder], *, now: datetime, market_at: datetime) -> Work:
    """Its time stands still, and what is open is cancelled."""
    assert parent.algo is not None
    changed, told = _clear([c for c in children if not c.stand.is_terminal], now=now, market_at=market_at)
    paused = replace(parent, algo=parent.algo.pause(now), updated_at=now)
    return Work(paused, changed, told, now + AGAIN if changed or told else None)


def resume(parent: VenueOrder, *, now: datetime) -> Work:
    assert parent.algo is not None
    return Work(replace(parent, algo=parent.algo.resume(now), updated_at=now), look_at=now)


def tell(
    before: VenueOrder | None, child: VenueOrder, outcomes: Sequence[Outcome]
) -> tuple[tuple[OrderKey, Outcome], ...]:
    """Of a child trading hears fills and election, under the parent's order; commands go to the venue; the rest stays.

    What its venue states of it has every fill there was: those that were known `before` have been told."""
    known = frozenset() if before is None else frozenset(fill.venue_trade_id for fill in before.fills)
    found: list[tuple[OrderKey, Outcome]] = []
    for outcome in outcomes:
        match outcome:
            case Filled() | Corrected() | Triggered() | Place() | Cancel() | Ask():
                found.append((child.key, outcome))
            case Stated(fills=fills):
                found += [(child.key, fill) for fill in fills if fill.venue_trade_id not in known]
            case _:
                pass
    return tuple(found)


def query(
    parent: VenueOrder, children: Sequence[VenueOrder], *, market_at: datetime
) -> tuple[tuple[OrderKey, Outcome], ...]:
    """Every fill there was, then where the parent stands."""
    fills = tuple((child.key, fill) for child in children for fill in child.fills)
    if parent.stand is Stand.REFUSED:
        return ((parent.key, Rejected(market_at, parent.code or "", parent.detail or "")),)
    stated = Stated(market_at, parent.told_stand, filled(children), (), parent.code, parent.detail)
    return (*fills, (parent.key, stated))


def _counted(parent: VenueOrder, children: Sequence[VenueOrder], now: datetime) -> VenueOrder:
    count = filled(children)
    if count == parent.cumulative_quantity:
        return parent
    parent = replace(parent, cumulative_quantity=count, updated_at=now)
    if count < parent.terms.quantity or parent.stand.is_terminal:
        return parent
    return replace(parent, stand=Stand.FILLED, is_cancel_pending=False, ended_at=now)


def _clear(
    open_children: Sequence[VenueOrder], *, now: datetime, market_at: datetime
) -> tuple[tuple[VenueOrder, ...], tuple[tuple[OrderKey, Outcome], ...]]:
    """Cancels what is open; where that was asked before and no answer has come, it asks where the child stands."""
    changed: list[VenueOrder] = []
    told: list[tuple[OrderKey, Outcome]] = []
    for child in open_children:
        if child.is_cancel_pending:
            told.append((child.key, Ask(child.command_sequence)))
            continue
        after, outcomes = child.cancel(command_sequence=child.command_sequence, market_at=market_at, now=now)
        changed.append(after)
        told += [(child.key, outcome) for outcome in outcomes]
    return tuple(changed), tuple(told)


def _refused(parent: VenueOrder, now: datetime) -> Work:
    """A cancel was refused: the next is asked for after a pause. A client's own wish to cancel or pause does not wait."""
    assert parent.algo is not None
    count = 1 if parent.algo.refusals is None else parent.algo.refusals.count + 1
    pause = min(AGAIN * 2 ** min(count - 1, 10), LATEST_AGAIN)
    # Of many orders whose cancels are refused at once not all come back at once: what has passed of the second, by the
    # clock that is passed in, makes it up to a quarter longer.
    again_at = now + pause * (1 + now.microsecond / 4_000_000)
    algo = replace(parent.algo, refusals=Refusals(count, again_at))
    next_at = None if parent.stand.is_terminal else algo.next_at(now)
    look_at = again_at if next_at is None else min(again_at, next_at)
    return Work(replace(parent, algo=algo, updated_at=now), look_at=look_at, is_alarming=count == ALARMING_REFUSALS)


def _refused_until(parent: VenueOrder, now: datetime) -> datetime | None:
    """Until when no cancel is asked for again; None if one may be."""
    refusals = None if parent.algo is None else parent.algo.refusals
    return None if refusals is None or refusals.again_at <= now else refusals.again_at


def _unrefused(parent: VenueOrder) -> VenueOrder:
    """With nothing at the venue that it would not let go."""
    if parent.algo is None or parent.algo.refusals is None:
        return parent
    return replace(parent, algo=replace(parent.algo, refusals=None))


def _why(parent: VenueOrder) -> Why:
    return parent.code or REQUESTED[0], parent.detail or REQUESTED[1]


def _end(parent: VenueOrder, code: str, detail: str, now: datetime, market_at: datetime) -> Work:
    ended = parent.end(Stand.CANCELED, code, detail, now=now)
    return Work(ended, told=((parent.key, Canceled(market_at, code, detail, parent.cumulative_quantity)),))
