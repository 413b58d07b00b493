"""Orders that hang together: a group's legs, what it holds, and when a leg is filled.

A group holds once what it may still cost, however many orders it has at work. The order of a bracket or OTO holds for
itself, as any order. Its legs hold together what it has filled and they have not; legs that buy cost more than they may
bring in, so they hold from the acceptance on, for all of it. The two of an OCO hold together what neither has filled.
The sum stands with the first of them that is open. Venues make legs smaller and larger as others fill, and may say so
late: what the group holds follows from fills alone.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from decimal import Decimal
from functools import reduce
from typing import NamedTuple
from uuid import UUID

from fleet_simulator import OrderType, Side, TimeInForce, is_protected, protection_price
from fleet_simulator.fees import EXACT, FEE_UNIT, fee

from .account import Account
from .order import Order
from .terms import OrderClass, Terms, leg_side
from .values import ZERO


class Exit(NamedTuple):
    """The prices of a leg."""

    side: Side
    type: OrderType
    limit_price: Decimal | None
    stop_price: Decimal | None
    protection_price: Decimal | None


def exits_of(terms: Terms, side: Side, factor: Decimal, tick: Decimal) -> list[Exit]:
    """Of an order of that side that comes with legs: take-profit before stop-loss."""
    exits: list[Exit] = []
    side = leg_side(side, terms.order_class)
    if terms.take_profit_price is not None:
        exits.append(Exit(side, OrderType.LIMIT, terms.take_profit_price, None, None))
    stop, limit = terms.stop_loss_price, terms.stop_loss_limit_price
    if stop is not None:
        kind = OrderType.STOP if limit is None else OrderType.STOP_LIMIT
        protection = protection_price(side, stop, factor, tick) if is_protected(side, kind) else None
        exits.append(Exit(side, kind, limit, stop, protection))
    return exits


def legs_of(order: Order, leg_ids: Sequence[UUID], factor: Decimal, tick: Decimal) -> list[Order]:
    """The legs of an order that is being placed: take-profit before stop-loss. Names the group in the order's terms."""
    terms = order.terms
    assert terms is not None, "an order with legs has terms"
    order.terms = terms = replace(terms, group=(order.order_id, *leg_ids))
    keeps = order.time_in_force in (TimeInForce.DAY, TimeInForce.GTD)
    shared = Terms(order_class=terms.order_class, group=terms.group, expires_at=terms.expires_at)
    legs = []
    for order_id, exit_ in zip(leg_ids, exits_of(terms, order.side, factor, tick), strict=True):
        leg = replace(
            order,
            order_id=order_id,
            client_order_id=str(order_id),
            side=exit_.side,
            type=exit_.type,
            limit_price=exit_.limit_price,
            protection_price=exit_.protection_price,
            time_in_force=order.time_in_force if keeps else TimeInForce.GTC,
            terms=replace(shared, stop_price=exit_.stop_price),
        )
        legs.append(leg)
    return legs


def group_of(account: Account, order: Order) -> list[Order]:
    """All orders of its group, the one that the client placed first; of a simple order none."""
    group = order.terms.group if order.terms is not None else ()
    return [account.orders[order_id] for order_id in group]


def taken_back(account: Account, order_id: UUID) -> list[UUID]:
    """What a strategy wants cancelled that takes its signal back: the signal's order, and where that has ended or is one
    of an OCO's two, all of its group that is open."""
    order = account.orders.get(order_id)
    if order is None or (order.is_open and order.order_class is not OrderClass.OCO):
        return [order_id]
    return [each.order_id for each in group_of(account, order) if each.is_open] or [order_id]


def holdings(orders: Sequence[Order]) -> list[Decimal]:
    """What each order of a group holds."""
    held = [ZERO] * len(orders)
    parent, sharing = orders[0], _sharing(orders)
    first = len(orders) - len(sharing)
    if first and parent.is_open:
        held[0] = parent.reservation(parent.filled_quantity, parent.filled_notional)
    for at, order in enumerate(sharing, start=first):
        if order.is_open:
            held[at] = _together(sharing, open_quantity(orders))
            break
    return held


def held_by(orders: Sequence[Order], side: Side) -> Decimal:
    """What a group must hold for its orders of a side."""
    return _sum(held for order, held in zip(orders, holdings(orders), strict=True) if order.side is side)


def overfills(orders: Sequence[Order]) -> bool:
    """Whether orders that make each other smaller have filled more together than one of them may."""
    return _sum(order.filled_quantity for order in _sharing(orders)) > orders[0].first_quantity


def open_quantity(orders: Sequence[Order]) -> Decimal:
    """How much the legs of a group, or the two of an OCO, may still fill together."""
    parent = orders[0]
    filled = _sum(order.filled_quantity for order in _sharing(orders))
    if parent.order_class is OrderClass.OCO:
        return max(EXACT.subtract(parent.first_quantity, filled), ZERO)
    waits_for_all = parent.is_open and parent.side is Side.SELL
    whole = max(parent.quantity, parent.filled_quantity) if waits_for_all else parent.filled_quantity
    return max(EXACT.subtract(whole, filled), ZERO)


def _sharing(orders: Sequence[Order]) -> Sequence[Order]:
    """Those of a group that make each other smaller: the two of an OCO, the legs of an order."""
    return orders if orders[0].order_class is OrderClass.OCO else orders[1:]


def _together(orders: Sequence[Order], quantity: Decimal) -> Decimal:
    """What `quantity` may still cost, whichever of these orders fill it. Each order's fee is rounded by itself."""
    if orders[0].side is Side.SELL or not quantity:
        return quantity
    rate = orders[0].highest_fee
    notional = EXACT.multiply(quantity, max(order.worst_price for order in orders if order.is_open))
    filled = _sum(order.filled_notional for order in orders)
    charged = _sum(fee(order.filled_notional, rate) for order in orders)
    fees = EXACT.add(fee(EXACT.add(filled, notional), rate), len(orders) * FEE_UNIT)
    return EXACT.add(notional, EXACT.subtract(fees, charged))


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return reduce(EXACT.add, amounts, ZERO)


def is_whole(order: Order, orders: Sequence[Order]) -> bool:
    """Whether an open order of a group is filled to its end. A leg that has filled as much as it is large is not, if its
    venue may still make it larger: one whose order is open, or of whose order's last fills it has not heard yet."""
    if not order.filled_quantity or order.filled_quantity < order.quantity:
        return False
    parent = orders[0]
    if parent.order_class is OrderClass.OCO:
        return True
    assert order.terms is not None, "an order of a group has terms"
    return not parent.is_open and (order.terms.grown >= parent.filled_quantity or not open_quantity(orders))
