"""Groups at a venue that keeps none: what it is sent, what trading hears, and that rows alone carry it through a restart."""

from decimal import Decimal as D
from typing import Any

import msgspec
from fleet_contracts import venue
from fleet_contracts.exchange_connector import takes
from fleet_contracts.trading import CancelOrder, QueryOrder, SubmitOrder
from fleet_contracts.vocabulary import OrderType, TimeInForce
from fleet_execution.domain import venue_order_ref
from fleet_testkit.eventually import eventually


async def test_a_bracket_is_kept_by_rows_through_a_restart(execution_service: Any, a_bracket: SubmitOrder) -> None:
    """only the order is sent -> it fills, and execution dies -> alive again it sends the legs -> one fills and dies -> the
    other is cancelled, and only then sent anew, smaller"""
    service = execution_service
    await service.can(takes(OrderType.STOP))
    await service.command(a_bracket, a_bracket)
    (order,) = await service.placed_with_legs(a_bracket, 1)
    assert (order.venue_order_ref, order.parent_ref, order.oco_group) == (
        venue_order_ref(a_bracket.order_id),
        None,
        None,
    )
    await service.running.aclose()
    await service.report(service.filled(order, 6, 6))
    await service.start()
    _, *legs = await service.placed_with_legs(a_bracket, 3)
    by_type = {place.order_type.value: place for place in legs}
    profit, stop = by_type["limit"], by_type["stop"]
    assert [(p.quantity, p.side, p.stop_price) for p in (profit, stop)] == [(D(6), "sell", None), (D(6), "sell", D(90))]
    assert await service.names(a_bracket, 5) == [
        ("take-profit", "OrderAccepted", None),
        ("stop-loss", "OrderAccepted", None),
        ("order", "OrderFilled", None),
        *sorted((name, "OrderReplaced", "parent_filled") for name in ("take-profit", "stop-loss"))[
            :: _order(a_bracket)
        ],
    ]
    await service.report(service.filled(profit, 2, 2))
    (cancel,) = await eventually(lambda: service.sent(venue.CancelVenueOrder, a_bracket.account_id))
    assert cancel.venue_order_ref == stop.venue_order_ref
    await service.running.aclose()
    await service.report(service.canceled(stop, upto=1), service.filled(stop, 1, 1))
    await service.start()
    *_, smaller = await service.placed_with_legs(a_bracket, 4)
    assert (smaller.quantity, smaller.stop_price) == (D(3), D(90)), "of 6, 2 and 1 are sold"
    query = QueryOrder(
        order_id=a_bracket.legs[1].order_id,
        account_id=a_bracket.account_id,
        user_id=a_bracket.user_id,
        symbol=a_bracket.symbol,
        venue="paper",
        attempt=1,
    )
    await service.command(query)
    about = (smaller.venue_order_ref,)
    await eventually(
        lambda: about in {q.venue_order_refs for q in service.sent(venue.QueryVenueOrders, a_bracket.account_id)}
    )
    state = next(r for r in reversed(service.told(a_bracket.account_id)) if type(r).__name__ == "OrderState")
    assert (state.order_id, state.stand, state.cumulative_quantity) == (a_bracket.legs[1].order_id, "working", D(1))


def _order(order: SubmitOrder) -> int:
    """Legs are told of in the order of their rows."""
    profit, stop = (venue_order_ref(leg.order_id) for leg in order.legs)
    return -1 if profit < stop else 1


async def test_a_leg_is_cancelled_for_itself(execution_service: Any, an_oco: SubmitOrder) -> None:
    service = execution_service
    await service.can(takes(OrderType.STOP))
    await service.command(an_oco)
    places = await service.placed_with_legs(an_oco, 2)
    cancel = CancelOrder(
        order_id=an_oco.legs[0].order_id,
        account_id=an_oco.account_id,
        user_id=an_oco.user_id,
        symbol=an_oco.symbol,
        venue="paper",
    )
    await service.command(cancel)
    (sent,) = await eventually(lambda: service.sent(venue.CancelVenueOrder, an_oco.account_id))
    (stop,) = [place for place in places if place.order_type == "stop"]
    assert sent.venue_order_ref == stop.venue_order_ref
    await service.report(service.canceled(stop))
    # Before that, one more cancel would be answered by the end itself.
    await service.names(an_oco, 3)
    await service.command(msgspec.structs.replace(cancel, request=5))
    assert (await service.names(an_oco, 4))[2:] == [
        ("stop-loss", "OrderCanceled", "requested"),
        ("stop-loss", "OrderCancelRejected", "too_late_to_cancel"),
    ]
    assert service.told(an_oco.account_id)[3].request == 5


async def test_what_cannot_be_watched_for_is_refused_whole(execution_service: Any, a_bracket: SubmitOrder) -> None:
    """Of a day at a venue that has no stops: the end of its session would be ours to keep."""
    service = execution_service
    await service.can(takes(OrderType.LIMIT))
    await service.lists()
    profit, stop = a_bracket.legs
    a_day = msgspec.structs.replace(stop, time_in_force=TimeInForce.DAY)
    bracket = msgspec.structs.replace(a_bracket, legs=(profit, a_day))
    await service.command(bracket)
    assert await service.names(bracket, 3) == [
        ("order", "OrderRejected", "unsupported"),
        ("take-profit", "OrderCanceled", "parent_ended"),
        ("stop-loss", "OrderCanceled", "parent_ended"),
    ]
    assert service.told(a_bracket.account_id)[0].detail == "a stop that its venue does not have is not day"
    assert service.sent(venue.PlaceVenueOrder, a_bracket.account_id) == []
