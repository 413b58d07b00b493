"""Legs that we hold, for their venue keeps no groups: it sees children of them, sized anew from what has filled. Pure.

A leg whose type their venue has not waits for its price here (domain/triggers.py) and has children only when that has come.

The one rule: what a leg has filled and all that may still fill of its children, be their cancel asked for or not, is never
more than the leg may come to. So nothing grows before what it replaces is confirmed to be gone."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID, uuid5

from msgspec import Struct
from msgspec.structs import replace

from . import triggers
from .groups import Group, Step
from .order import Decision, VenueOrder, submit
from .values import (
    REQUESTED,
    Ask,
    Canceled,
    CancelRejected,
    Change,
    Expired,
    Outcome,
    Place,
    Refused,
    Rejected,
    Replaced,
    Stand,
    Stated,
    Triggered,
    Why,
)

AGAIN = timedelta(seconds=5)
"""When to ask about a child of which the venue has not said what it was asked, and to try again what was refused."""
APART = timedelta(seconds=1)
"""Between two children of a leg that has one open: an order that fills in many parts makes not as many children."""


def step(group: Group, *, now: datetime, market_at: datetime, refusal: Refused | None) -> Step:
    """Time has come: only here children are placed. `refusal`: no order may go to the venue now."""
    return _balance(group, group.legs, _Moment(now, market_at, is_time=True, refusal=refusal))


def heard(
    group: Group, before: VenueOrder, after: VenueOrder, told: Iterable[Outcome], *, now: datetime, market_at: datetime
) -> Step:
    """An order of the group has learnt something: one that legs wait for, or a child. The group has it as it is after."""
    legs, of = group.legs, next((leg for leg in group.legs if leg.key.ref == after.parent_ref), None)
    if of is not None and _ended_by_itself(before, after):
        legs = _with(legs, _close(of, after.code or _EXPIRED, after.detail or ""))
    elif of is not None and not of.is_cancel_pending and after.triggered_at and not before.triggered_at:
        # As at a venue that keeps groups: what an election makes a market order must not meet the other leg's fill.
        legs = tuple(leg if leg is of else _close(leg, *_OTHER_TRIGGERED) for leg in legs)
    return _balance(group, legs, _Moment(now, market_at, spared=_spared(group, before, after, told)))


def _spared(group: Group, before: VenueOrder, after: VenueOrder, told: Iterable[Outcome]) -> frozenset[UUID]:
    """What is not cancelled now, as it was refused: of a refusal and nothing else all, or two that are refused would have each
    other cancelled again for ever."""
    if not any(isinstance(outcome, CancelRejected) for outcome in told):
        return frozenset()
    has_filled = after.cumulative_quantity != before.cumulative_quantity
    return frozenset((after.key.ref,) if has_filled else (child.key.ref for child in group.children))


def elect(group: Group, leg: VenueOrder, price: Decimal, *, now: datetime, market_at: datetime) -> Step:
    """A leg that waits here for its price has it. The other one has to be gone before it is placed."""
    elected = replace(leg, triggered_at=now, updated_at=now)
    legs = tuple(elected if each is leg else _close(each, *_OTHER_TRIGGERED) for each in group.legs)
    step = _balance(group, legs, _Moment(now, market_at, is_time=True))
    return replace(step, told=((elected, Triggered(market_at, price)), *step.told))


def cancel(
    group: Group,
    leg: VenueOrder,
    *,
    now: datetime,
    market_at: datetime,
    why: Why = REQUESTED,
    request: int | None = None,
) -> Step:
    """It has ended when its last child has; the other leg stays."""
    if leg.stand.is_terminal:
        return Step(told=((leg, leg.too_late_to_cancel(market_at, request)),))
    closed = _close(leg, *why)
    return _balance(group, _with(group.legs, closed), _Moment(now, market_at))


def amend(
    group: Group, leg: VenueOrder, change: Change, *, command_sequence: int, now: datetime, market_at: datetime
) -> Step:
    """Its prices change here; children at others are cancelled, and new ones follow as these are gone."""
    amended, outcomes = triggers.amend(leg, change, command_sequence=command_sequence, market_at=market_at, now=now)
    told = tuple((amended, outcome) for outcome in outcomes)
    if amended is leg:
        return Step(told=told)
    step = _balance(group, _with(group.legs, amended), _Moment(now, market_at))
    return replace(step, told=(*told, *step.told))


def query(group: Group, leg: VenueOrder, *, market_at: datetime) -> Step:
    """Every fill there was, then where the leg stands; the venue is asked about what is open there."""
    if leg.stand is Stand.REFUSED:
        return Step(told=((leg, Rejected(market_at, leg.code or "", leg.detail or "")),))
    children = group.children_of(leg)
    told: list[tuple[VenueOrder, Outcome]] = [(child, fill) for child in children for fill in child.fills]
    told.append((leg, Stated(market_at, leg.told_stand, leg.cumulative_quantity, (), leg.code, leg.detail)))
    told += [(child, Ask(child.command_sequence)) for child in children if not child.stand.is_terminal]
    return Step(told=tuple(told))


def _ended_by_itself(before: VenueOrder, after: VenueOrder) -> bool:
    """A child that the venue has never seen has not ended: another takes its place."""
    has_ended = after.stand.is_terminal and not before.stand.is_terminal and not before.is_cancel_pending
    return has_ended and after.stand is not Stand.FILLED and after.code != "unknown_at_venue"


_EXPIRED = "expired"
_OTHER_TRIGGERED = "oco", "the other leg was triggered"


def _close(leg: VenueOrder, code: str, detail: str) -> VenueOrder:
    """It ends with this as soon as nothing of it is open."""
    if leg.stand.is_terminal or leg.is_cancel_pending:
        return leg
    return replace(leg, is_cancel_pending=True, code=code, detail=detail)


def _with(legs: Iterable[VenueOrder], changed: VenueOrder) -> tuple[VenueOrder, ...]:
    return tuple(changed if leg.key.ref == changed.key.ref else leg for leg in legs)


class _Moment(Struct, frozen=True):
    """`spared`: children that are not cancelled before time comes."""

    now: datetime
    market_at: datetime
    is_time: bool = False
    refusal: Refused | None = None
    spared: frozenset[UUID] = frozenset()


def _balance(group: Group, legs: Sequence[VenueOrder], moment: _Moment) -> Step:
    """Every leg as large as it may be now, whatever has happened before."""
    ended = (_close(leg, _EXPIRED, "") if triggers.has_expired(leg, moment.now) else leg for leg in legs)
    counted = tuple(_counted(leg, group.children_of(leg)) for leg in ended)
    known = {order.key.ref: order for order in group.legs}
    group = replace(group, legs=counted)
    changed: list[VenueOrder] = []
    told: list[tuple[VenueOrder, Outcome]] = []
    looks: list[datetime] = []
    for leg in counted:
        if leg.stand.is_terminal:
            after = leg
        else:
            after, children, outcomes, look_at = _sized(group, leg, moment)
            changed += children
            told += outcomes
            looks += [] if look_at is None else [look_at]
        if after is not known[leg.key.ref]:
            changed.append(replace(after, updated_at=moment.now))
    return Step(tuple(changed), tuple(told), min(looks, default=None))


def _counted(leg: VenueOrder, children: Sequence[VenueOrder]) -> VenueOrder:
    filled = sum((child.cumulative_quantity for child in children), Decimal(0))
    return leg if filled == leg.cumulative_quantity else replace(leg, cumulative_quantity=filled)


def _open(order: VenueOrder) -> Decimal:
    """What may still fill of it: the venue is bound only by an end that we have heard of."""
    return Decimal(0) if order.stand.is_terminal else max(order.terms.quantity - order.cumulative_quantity, Decimal(0))


_Told = list[tuple[VenueOrder, Outcome]]
_Sized = tuple[VenueOrder, list[VenueOrder], _Told, datetime | None]


def _sized(group: Group, leg: VenueOrder, moment: _Moment) -> _Sized:
    """One leg: what of it changes, its children that do, what is told, when to look again."""
    size = group.whole(leg) - group.filled_by_others(leg)
    room = Decimal(0) if leg.is_cancel_pending else max(size - leg.cumulative_quantity, Decimal(0))
    children = group.children_of(leg)
    changed, told, look_at = _cleared(leg, children, room, moment)
    missing = room - sum(map(_open, children), Decimal(0))
    if leg.is_watched:
        missing, look_at = Decimal(0), triggers.expires_at(leg)
    elif leg.trigger is not None:
        missing -= sum(map(_open, group.children_of_others(leg)), Decimal(0))
    if missing > 0:
        look_at = _place_at(children, moment)
        if moment.is_time and look_at <= moment.now:
            child, outcomes = _placed(leg, missing, len(children) + 1, moment)
            children.append(child)
            changed.append(child)
            told += [(child, outcome) for outcome in outcomes if isinstance(outcome, Place)]
            look_at = moment.now + AGAIN
            if child.stand is Stand.REFUSED:
                leg = _close(leg, child.code or "", child.detail or "")
    is_open = any(not child.stand.is_terminal for child in children)
    is_final = leg.leg is not None and (not leg.leg.waits or group.root.stand.is_terminal)
    if not is_open and (leg.is_cancel_pending or (room == 0 and is_final)):
        leg, facts = _ended(group, leg, children, moment)
        return leg, changed, [*((leg, fact) for fact in facts), *told], None
    quantity = max(size, leg.cumulative_quantity)
    if quantity != leg.terms.quantity and not leg.is_cancel_pending:
        code = "parent_filled" if quantity > leg.terms.quantity else "oco"
        if leg.trigger is not None and not leg.terms.quantity:
            leg = replace(leg, trigger=replace(leg.trigger, since=moment.market_at))
        leg = replace(leg, terms=replace(leg.terms, quantity=quantity))
        told.insert(0, (leg, Replaced(moment.market_at, quantity, *_prices(leg), leg.cumulative_quantity, code)))
    return leg, changed, told, look_at


def _cleared(
    leg: VenueOrder, children: Sequence[VenueOrder], room: Decimal, moment: _Moment
) -> tuple[list[VenueOrder], _Told, datetime | None]:
    """What finds no room is cancelled, the newest first, and what is not answered is asked about when time comes."""
    changed: list[VenueOrder] = []
    told: _Told = []
    is_waited_for = False
    for child in (child for child in children if not child.stand.is_terminal):
        is_kept = not child.is_cancel_pending and _prices(child) == _prices_there(leg) and _open(child) <= room
        if is_kept:
            room -= _open(child)
        elif not child.is_cancel_pending and child.key.ref not in moment.spared:
            at, now = moment.market_at, moment.now
            after, outcomes = child.cancel(command_sequence=child.command_sequence, market_at=at, now=now)
            changed.append(after)
            told += [(after, outcome) for outcome in outcomes]
            if moment.is_time:
                # It was refused before, and the reason may be a fill that we have not heard of.
                told.append((after, Ask(child.command_sequence)))
        is_unanswered = child.is_cancel_pending or child.stand is Stand.SENT
        if is_unanswered and moment.is_time and moment.now - child.updated_at >= AGAIN:
            told.append((child, Ask(child.command_sequence)))
        is_waited_for |= is_unanswered or not is_kept
    return changed, told, moment.now + AGAIN if is_waited_for else None


def _place_at(children: Sequence[VenueOrder], moment: _Moment) -> datetime:
    if moment.refusal is not None:
        return moment.now + AGAIN
    open_since = [child.created_at for child in children if not child.stand.is_terminal]
    return max(moment.now, max(open_since) + APART) if open_since else moment.now


def _prices(order: VenueOrder) -> tuple[Decimal | None, Decimal | None]:
    return order.terms.limit_price, order.terms.conditions.stop_price


def _prices_there(leg: VenueOrder) -> tuple[Decimal | None, Decimal | None]:
    limit, stop = _prices(leg)
    return limit, stop if leg.trigger is None else None


def _placed(leg: VenueOrder, quantity: Decimal, number: int, moment: _Moment) -> Decision:
    """Only the first of an OCO can come too late: what protects a position is better sent late than never."""
    assert leg.leg is not None
    send_by = leg.terms.send_by if number == 1 and not leg.leg.waits else None
    terms = leg.terms if leg.trigger is None else triggers.at_venue(leg.terms)
    child, outcomes = submit(
        replace(leg.key, ref=uuid5(leg.key.order_id, f"leg:{number}")),
        replace(terms, quantity=quantity, send_by=send_by if leg.trigger is None else None),
        command_sequence=leg.command_sequence,
        market_at=moment.market_at,
        now=moment.now,
        refusal=None,
    )
    return replace(child, parent_ref=leg.key.ref, group_ref=leg.group_ref), outcomes


def _ended(
    group: Group, leg: VenueOrder, children: Sequence[VenueOrder], moment: _Moment
) -> tuple[VenueOrder, tuple[Outcome, ...]]:
    """As it was closed, or as what is left of it for ever: nothing."""
    filled, at = leg.cumulative_quantity, moment.market_at
    if not leg.is_cancel_pending and filled >= group.whole(leg) > 0:
        return replace(leg, stand=Stand.FILLED, ended_at=moment.now), ()
    code, detail = leg.code or "parent_ended", leg.detail or "the order that it waits for has ended"
    if not leg.is_cancel_pending and group.filled_by_others(leg):
        code, detail = "oco", "the other leg has filled"
    if code == _EXPIRED:
        return leg.end(Stand.EXPIRED, code, detail, now=moment.now), (Expired(at, filled),)
    is_rejected = any(child.stand in (Stand.REJECTED, Stand.REFUSED) and child.code == code for child in children)
    if is_rejected and not filled:
        return leg.end(Stand.REJECTED, code, detail, now=moment.now), (Rejected(at, code, detail),)
    return leg.end(Stand.CANCELED, code, detail, now=moment.now), (Canceled(at, code, detail, filled),)
