"""Orders that hang together (bracket, OTO, OCO): how they begin, how large a leg may be, what a venue keeps itself. Pure."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from msgspec import Struct, field
from msgspec.structs import replace

from .order import VenueOrder, submit
from .values import Accepted, Cancel, Canceled, Leg, OrderKey, Outcome, Place, Refused, Rejected, Stand, Terms, Trigger


class Group(Struct, frozen=True):
    """`root` brought the others along; of an OCO it is a leg itself. `children` are of legs that we hold, oldest first."""

    root: VenueOrder
    legs: tuple[VenueOrder, ...]
    children: tuple[VenueOrder, ...] = ()

    @classmethod
    def of(cls, root: VenueOrder, orders: Iterable[VenueOrder]) -> "Group":
        """From all its rows, in any order."""
        found = sorted(orders, key=lambda order: (order.created_at, order.key.ref != root.key.ref, order.key.ref))
        return cls(
            root,
            tuple(order for order in found if order.leg is not None),
            tuple(order for order in found if order.parent_ref is not None),
        )

    @property
    def order_class(self) -> Literal["bracket", "oco", "oto"]:
        return "oco" if self.root.leg is not None else "bracket" if len(self.legs) > 1 else "oto"

    @property
    def is_held(self) -> bool:
        return any(leg.leg is not None and leg.leg.is_held for leg in self.legs)

    def children_of(self, leg: VenueOrder) -> list[VenueOrder]:
        return [child for child in self.children if child.parent_ref == leg.key.ref]

    def children_of_others(self, leg: VenueOrder) -> list[VenueOrder]:
        return [child for child in self.children if child.parent_ref != leg.key.ref]

    def whole(self, leg: VenueOrder) -> Decimal:
        """What all legs together may come to: what has filled of the order they wait for, or all of an OCO."""
        assert leg.leg is not None
        return self.root.cumulative_quantity if leg.leg.waits else leg.leg.declared

    def filled_by_others(self, leg: VenueOrder) -> Decimal:
        return sum((other.cumulative_quantity for other in self.legs if other.key.ref != leg.key.ref), Decimal(0))


class Legs(Struct, frozen=True):
    """What comes with a new order. `are_oco`: at work together with it, instead of waiting for it. `are_held`: by us.

    `triggers`: of those, the order too, whose type the venue does not have."""

    orders: tuple[tuple[OrderKey, Terms], ...]
    are_oco: bool
    are_held: bool
    triggers: Mapping[UUID, Trigger] = field(default_factory=dict)


class Step(Struct, frozen=True):
    """What a decision about a group came to: the orders that changed, what is told of which, when to look again."""

    changed: tuple[VenueOrder, ...] = ()
    told: tuple[tuple[VenueOrder, Outcome], ...] = ()
    look_at: datetime | None = None


def begin(
    key: OrderKey,
    terms: Terms,
    legs: Legs,
    *,
    command_sequence: int,
    market_at: datetime,
    now: datetime,
    refusal: Refused | None,
) -> Step:
    """The rows of a new group. The venue is sent what waits before what it waits for; where we hold the legs, it is sent
    only that. An order that is refused takes its legs with it."""

    def submitted(key: OrderKey, terms: Terms, leg: Leg | None) -> VenueOrder:
        order, _ = submit(key, terms, command_sequence=command_sequence, market_at=market_at, now=now, refusal=refusal)
        return replace(order, group_ref=group_ref, leg=leg, trigger=legs.triggers.get(key.ref))

    group_ref, is_oco, is_held = key.ref, legs.are_oco, legs.are_held
    root = submitted(key, terms, Leg(terms.quantity, waits=False, is_held=is_held) if is_oco else None)
    rows = [
        submitted(leg_key, leg_terms, Leg(leg_terms.quantity, waits=not is_oco, is_held=is_held))
        for leg_key, leg_terms in legs.orders
    ]
    if root.stand is Stand.REFUSED:
        ended = [end_with_parent(leg, market_at=market_at, now=now) for leg in rows]
        refused = Rejected(market_at, root.code or "", root.detail or "")
        return Step((root, *(leg for leg, _ in ended)), ((root, refused), *ended))
    oco_group = group_ref if len(legs.orders) + is_oco > 1 else None
    told: list[tuple[VenueOrder, Outcome]] = []
    for order in (root, *rows) if is_oco else (*rows, root):
        if order.is_watched or (is_held and order.leg is not None):
            begun = replace(order, stand=Stand.WORKING, accepted_at=now)
            told.append((begun, Accepted(market_at)))
        elif order.leg is None:
            told.append((order, Place(command_sequence, order.terms)))
        else:
            parent_ref = group_ref if order.leg.waits else None
            told.append((order, Place(command_sequence, order.terms, parent_ref, oco_group)))
    return Step(tuple(_waiting(order) for order, _ in told), tuple(told), look_at=now if is_oco and is_held else None)


def _waiting(order: VenueOrder) -> VenueOrder:
    """A leg that waits is nothing yet, here as at its venue."""
    if order.leg is None or not order.leg.waits:
        return order
    return replace(order, terms=replace(order.terms, quantity=Decimal(0)))


def end_with_parent(leg: VenueOrder, *, market_at: datetime, now: datetime) -> tuple[VenueOrder, Canceled]:
    ended = Canceled(market_at, "parent_ended", "the order that it waits for has ended", leg.cumulative_quantity)
    return leg.end(Stand.CANCELED, ended.code, ended.detail, now=now), ended


def heard(group: Group, *, market_at: datetime, now: datetime) -> Step:
    """Legs that wait at a venue for an order which it has not taken would wait for ever."""
    if group.root.stand is not Stand.REJECTED:
        return Step()
    waiting = [leg for leg in group.legs if leg.leg is not None and leg.leg.waits and not leg.stand.is_terminal]
    ended = [end_with_parent(leg, market_at=market_at, now=now) for leg in waiting]
    told = [said for leg, fact in ended for said in ((leg, fact), (leg, Cancel(leg.command_sequence)))]
    return Step(tuple(leg for leg, _ in ended), tuple(told))
