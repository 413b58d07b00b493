"""What execution shows of an order: its venue orders and their fills."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from fastapi import APIRouter
from fleet_bus import Bus
from fleet_chassis.assertions import Caller
from fleet_chassis.database import Database
from fleet_chassis.permissions import ReadCaller, TradeCaller
from fleet_chassis.problems import Problem
from fleet_chassis.shapes import DecimalString, Resource
from fleet_simulator import OrderType, selling_price

from .domain import Filled, Leg, VenueOrder, venue_order_ref
from .domain.fills import EXACT
from .domain.groups import Group
from .domain.twap import Twap
from .events import trade_id
from .ports import UnitOfWork
from .service import working
from .store.unit import Unit, group_of, venue_orders_of


class Fill(Resource):
    trade_id: UUID
    venue_trade_id: str
    quantity: DecimalString
    price: DecimalString
    cumulative_quantity: DecimalString
    fee: DecimalString
    fee_currency: str
    liquidity: str
    executed_at: datetime
    market_at: datetime


class VenueOrderShown(Resource):
    """`stand`: sent, working, filled, canceled, expired, rejected (by the venue) or refused (by us, never sent).

    `is_watched`: it waits here for its price, and no venue has it yet."""

    venue_order_ref: UUID
    venue: str
    stand: str
    is_cancel_pending: bool
    is_watched: bool
    triggered_at: datetime | None
    side: str
    type: str
    quantity: DecimalString
    cumulative_quantity: DecimalString
    limit_price: DecimalString | None
    protection_price: DecimalString | None
    time_in_force: str
    send_by: datetime | None
    code: str | None
    detail: str | None
    market_at: datetime
    created_at: datetime
    accepted_at: datetime | None
    ended_at: datetime | None
    updated_at: datetime
    fills: list[Fill]


class Progress(Resource):
    """Of an order that an algorithm works: `venue_orders` are its parts. `state`: working, paused or ended."""

    type: Literal["twap"]
    state: Literal["working", "paused", "ended"]
    quantity: DecimalString
    filled_quantity: DecimalString
    slices: int
    slices_begun: int
    duration_s: int
    started_at: datetime
    next_at: datetime | None
    code: str | None
    detail: str | None


class LegShown(Resource):
    """`quantity`: what the leg may come to now; `declared`: the whole."""

    order_id: UUID
    side: str
    type: str
    declared: DecimalString
    quantity: DecimalString
    filled_quantity: DecimalString
    limit_price: DecimalString | None
    stop_price: DecimalString | None
    stand: str
    code: str | None


class GroupShown(Resource):
    """`order_id`: of the order that brought the legs; of an OCO it is one of them. `kept_by`: who makes the legs smaller
    and larger, `venue` or `execution`, which then has the venue orders of each leg."""

    order_class: Literal["bracket", "oco", "oto"]
    kept_by: Literal["venue", "execution"]
    order_id: UUID
    stand: str
    quantity: DecimalString
    filled_quantity: DecimalString
    legs: list[LegShown]


class Execution(Resource):
    order_id: UUID
    account_id: UUID
    symbol: str
    venue_orders: list[VenueOrderShown]
    algo: Progress | None
    group: GroupShown | None


def router(
    bus: Bus,
    database: Database,
    unit: Unit,
    owner_of: Callable[[UUID], UUID | None],
    bid_of: Callable[[str, str], Decimal | None],
) -> APIRouter:
    """`owner_of` tells the user of an account, `bid_of` the last bid of a venue for a symbol; None for what was not heard of."""
    routes = APIRouter(prefix="/api/v1/executions", tags=["executions"])

    @routes.get("/{order_id}")
    async def execution_of(order_id: str, caller: ReadCaller) -> Execution:
        """How an order is carried out at its venue: venue orders, fills, times. Another user's is 404."""
        return await shown(_id_of(order_id), caller)

    async def shown(order_id: UUID, caller: Caller) -> Execution:
        async with database.connection() as connection:
            orders = await venue_orders_of(connection, order_id)
            group_ref = orders[0].group_ref if orders else None
            group = None if group_ref is None else await group_of(connection, group_ref)
        if not orders or not _may_see(caller, owner_of(orders[0].key.account_id)):
            raise _not_found(str(order_id))
        return _execution(orders, group, bus.clock.now())

    async def change(
        order_id: UUID, caller: Caller, use_case: Callable[[UnitOfWork, VenueOrder], Awaitable[None]]
    ) -> None:
        async with bus.transaction() as tx:
            uow = unit(tx)
            await uow.lock([str(venue_order_ref(order_id))])
            order = uow.find(venue_order_ref(order_id))
            if order is None or owner_of(order.key.account_id) != caller.user_id:
                raise _not_found(str(order_id))
            if order.algo is None:
                raise Problem(409, "no_algorithm", "No algorithm works this order.")
            if order.stand.is_terminal or order.is_cancel_pending:
                raise Problem(409, "order_closed", f"The order is not worked any more, was {order.stand}.")
            await use_case(uow, order)
            await uow.flush()

    @routes.post("/{order_id}/pause")
    async def pause(order_id: str, caller: TradeCaller) -> Execution:
        """Nothing more is sent and what is open is cancelled, until it is resumed; its time stands still."""
        await change(_id_of(order_id), caller, working.pause)
        return await shown(_id_of(order_id), caller)

    @routes.post("/{order_id}/resume")
    async def resume(order_id: str, caller: TradeCaller) -> Execution:
        """It goes on where it was paused; beyond an API key it is refused (403 `restricted_symbol`, `max_order_notional`)."""

        async def resume_within(uow: UnitOfWork, order: VenueOrder) -> None:
            _require_may_trade(caller, order, bid_of(order.key.venue, order.key.symbol))
            await working.resume(uow, order)

        await change(_id_of(order_id), caller, resume_within)
        return await shown(_id_of(order_id), caller)

    return routes


def _require_may_trade(caller: Caller, order: VenueOrder, bid: Decimal | None) -> None:
    """Refuses, with 403, an API key that may not trade what is left of an order; its bounds are what the gateway claims.

    A buy is measured by the dearest at which it may fill, a sell by its limit or the market, as it brings what is bid."""
    caller.require_symbols([order.key.symbol])
    terms, cap = order.terms, caller.max_order_notional
    price = terms.limit_price or terms.protection_price
    if terms.side == "sell":
        price = selling_price(OrderType(terms.order_type), bid, limit_price=price, stop_price=None)
    notional = EXACT.multiply(EXACT.subtract(terms.quantity, order.cumulative_quantity), price or Decimal(0))
    if cap is not None and notional > cap:
        raise Problem(403, "max_order_notional", f"The API key may {cap:f}, what is left was {notional:f}.")


def _execution(orders: list[VenueOrder], group: Group | None, now: datetime) -> Execution:
    key = orders[0].key
    return Execution(
        order_id=key.order_id,
        account_id=key.account_id,
        symbol=key.symbol,
        venue_orders=[_shown(order) for order in orders if order.algo is None and not order.is_held],
        algo=next((_progress(order, order.algo, now) for order in orders if order.algo is not None), None),
        group=None if group is None else _group(group),
    )


def _group(group: Group) -> GroupShown:
    return GroupShown(
        order_class=group.order_class,
        kept_by="execution" if group.is_held else "venue",
        order_id=group.root.key.order_id,
        stand=group.root.stand,
        quantity=group.root.terms.quantity,
        filled_quantity=group.root.cumulative_quantity,
        legs=[_leg(order, order.leg) for order in group.legs if order.leg is not None],
    )


def _leg(order: VenueOrder, leg: Leg) -> LegShown:
    return LegShown(
        order_id=order.key.order_id,
        side=order.terms.side,
        type=order.terms.order_type,
        declared=leg.declared,
        quantity=order.terms.quantity,
        filled_quantity=order.cumulative_quantity,
        limit_price=order.terms.limit_price,
        stop_price=order.terms.conditions.stop_price,
        stand=order.stand,
        code=order.code,
    )


def _progress(order: VenueOrder, algo: Twap, now: datetime) -> Progress:
    has_ended = order.stand.is_terminal
    return Progress(
        type="twap",
        state="ended" if has_ended else "working" if algo.paused_at is None else "paused",
        quantity=order.terms.quantity,
        filled_quantity=order.cumulative_quantity,
        slices=algo.slices,
        slices_begun=algo.begun(order.ended_at or now),
        duration_s=algo.duration_s,
        started_at=algo.started_at,
        next_at=None if has_ended else algo.next_at(now),
        code=order.code,
        detail=order.detail,
    )


def _id_of(text: str) -> UUID:
    """Ids are opaque to clients: what none of ours looks like is the id of nothing."""
    try:
        return UUID(text)
    except ValueError:
        raise _not_found(text) from None


def _not_found(order_id: str) -> Problem:
    return Problem(404, "not_found", f"There is no execution of this order, was {order_id}.")


def _may_see(caller: Caller, owner: UUID | None) -> bool:
    return owner == caller.user_id or "admin" in caller.scopes


def _shown(order: VenueOrder) -> VenueOrderShown:
    terms = order.terms
    return VenueOrderShown(
        venue_order_ref=order.key.ref,
        venue=order.key.venue,
        stand=order.stand,
        is_cancel_pending=order.is_cancel_pending,
        is_watched=order.is_watched,
        triggered_at=order.triggered_at,
        side=terms.side,
        type=terms.order_type,
        quantity=terms.quantity,
        cumulative_quantity=order.cumulative_quantity,
        limit_price=terms.limit_price,
        protection_price=terms.protection_price,
        time_in_force=terms.time_in_force,
        send_by=terms.send_by,
        code=order.code,
        detail=order.detail,
        market_at=order.market_at,
        created_at=order.created_at,
        accepted_at=order.accepted_at,
        ended_at=order.ended_at,
        updated_at=order.updated_at,
        fills=[_fill(order, fill) for fill in order.fills],
    )


def _fill(order: VenueOrder, fill: Filled) -> Fill:
    return Fill(
        trade_id=trade_id(order.key, fill.venue_trade_id),
        venue_trade_id=fill.venue_trade_id,
        quantity=fill.last_quantity,
        price=fill.last_price,
        cumulative_quantity=fill.cumulative_quantity,
        fee=fill.fee,
        fee_currency=fill.fee_currency,
        liquidity=fill.liquidity,
        executed_at=fill.executed_at,
        market_at=fill.market_at,
    )
