"""Groups at a venue that keeps them: what it is sent and in which order, and what becomes of the legs."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import Any
from uuid import UUID

import msgspec
from fleet_contracts import venue
from fleet_contracts.exchange_connector import LISTS_OPEN_ORDERS, ORDER_GROUPS, takes
from fleet_contracts.topics import TRADING_ACCOUNTS
from fleet_contracts.trading import Account, CancelOrder, Leg, QueryOrder, ReplaceOrder, SubmitOrder
from fleet_contracts.vocabulary import OrderClass, OrderType
from fleet_execution.domain import venue_order_ref
from fleet_testkit.eventually import eventually

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)


def said(place: venue.PlaceVenueOrder) -> dict[str, Any]:
    return {"venue_order_ref": place.venue_order_ref, "account_id": place.account_id, "market_at": AT}


def sized(place: venue.PlaceVenueOrder, quantity: int, code: str, filled: int = 0) -> venue.VenueOrderReplaced:
    return venue.VenueOrderReplaced(
        **said(place),
        quantity=D(quantity),
        limit_price=place.limit_price,
        stop_price=place.stop_price,
        cumulative_quantity=D(filled),
        code=code,
    )


def cancel_of(order: SubmitOrder, leg: Leg | None = None) -> CancelOrder:
    return CancelOrder(order_id=(leg or order).order_id, **whose(order))


def whose(order: SubmitOrder) -> dict[str, Any]:
    return {
        "account_id": order.account_id,
        "user_id": order.user_id,
        "symbol": order.symbol,
        "venue": order.venue,
    }


async def shown_to_owner(service: Any, order: SubmitOrder, order_id: UUID) -> Any:
    account = Account(
        account_id=order.account_id,
        user_id=order.user_id,
        name="Paper",
        kind="paper",
        status="active",
        is_default=True,
        base_currency="USD",
        version=1,
    )
    await service.peers.say((TRADING_ACCOUNTS, str(order.account_id), account))
    headers = service.keys.of_user("execution", order.user_id, "read")

    async def shown() -> Any:
        status, body = await service.get(str(order_id), headers)
        return body if status == 200 else None

    return await eventually(shown)


async def test_a_bracket_goes_whole_and_its_legs_live_as_long_as_they_may_grow(
    execution_service: Any, a_bracket: SubmitOrder
) -> None:
    """sent twice, placed once -> half filled -> a leg fills all it may -> the rest fills -> the leg goes on"""
    service = execution_service
    await service.can(ORDER_GROUPS, takes(OrderType.STOP))
    await service.command(a_bracket, a_bracket)
    profit, stop, order = await service.placed_with_legs(a_bracket, 3)
    ref = venue_order_ref(a_bracket.order_id)
    assert (order.venue_order_ref, order.parent_ref, order.oco_group) == (ref, None, None)
    for place, leg in zip((profit, stop), a_bracket.legs, strict=True):
        assert place.venue_order_ref == venue_order_ref(leg.order_id)
        assert (place.parent_ref, place.oco_group, place.quantity) == (ref, ref, D(10))
        assert (place.limit_price, place.stop_price, place.side) == (leg.limit_price, leg.stop_price, "sell")
    await service.report(*(venue.VenueOrderAccepted(**said(place)) for place in (profit, stop, order)))
    await service.report(
        service.filled(order, 5, 5), sized(profit, 5, "parent_filled"), sized(stop, 5, "parent_filled")
    )
    await service.report(service.filled(profit, 5, 5), sized(stop, 0, "oco"))
    await service.report(
        service.filled(order, 5, 10), sized(profit, 10, "parent_filled", 5), sized(stop, 5, "parent_filled")
    )
    await service.report(service.filled(profit, 5, 10), service.canceled(stop, "oco"))
    reports = await service.names(a_bracket, 13)
    assert reports[3:] == [
        ("order", "OrderFilled", None),
        ("take-profit", "OrderReplaced", "parent_filled"),
        ("stop-loss", "OrderReplaced", "parent_filled"),
        ("take-profit", "OrderFilled", None),
        ("stop-loss", "OrderReplaced", "oco"),
        ("order", "OrderFilled", None),
        ("take-profit", "OrderReplaced", "parent_filled"),
        ("stop-loss", "OrderReplaced", "parent_filled"),
        ("take-profit", "OrderFilled", None),
        ("stop-loss", "OrderCanceled", "oco"),
    ]
    assert len(service.sent(venue.PlaceVenueOrder, a_bracket.account_id)) == 3
    await service.command(QueryOrder(order_id=a_bracket.legs[0].order_id, attempt=1, **whose(a_bracket)))
    *_, state = await service.some(lambda: service.told(a_bracket.account_id), 14)
    assert (state.stand, state.cumulative_quantity, len(state.fills)) == ("filled", 10, 2)
    shown = await shown_to_owner(service, a_bracket, a_bracket.legs[1].order_id)
    assert (shown["group"]["order_class"], shown["group"]["kept_by"]) == ("bracket", "venue")
    assert shown["group"]["order_id"] == str(a_bracket.order_id)
    legs = {leg["order_id"]: leg for leg in shown["group"]["legs"]}
    profit_shown, stop_shown = (legs[str(leg.order_id)] for leg in a_bracket.legs)
    assert (profit_shown["stand"], profit_shown["filled_quantity"], profit_shown["declared"]) == ("filled", "10", "10")
    assert (stop_shown["stand"], stop_shown["code"], stop_shown["quantity"]) == ("canceled", "oco", "5")


async def test_an_oto_has_one_leg_and_no_oco_group(execution_service: Any, a_bracket: SubmitOrder) -> None:
    service = execution_service
    await service.can(ORDER_GROUPS, takes(OrderType.STOP))
    oto = msgspec.structs.replace(a_bracket, order_class=OrderClass.OTO, legs=a_bracket.legs[1:])
    await service.command(oto)
    stop, order = await service.placed_with_legs(oto, 2)
    assert (stop.parent_ref, stop.oco_group) == (order.venue_order_ref, None)


async def test_of_an_oco_the_order_goes_first(execution_service: Any, an_oco: SubmitOrder) -> None:
    service = execution_service
    await service.can(ORDER_GROUPS, takes(OrderType.STOP))
    await service.command(an_oco)
    order, stop = await service.placed_with_legs(an_oco, 2)
    assert order.venue_order_ref == order.oco_group == stop.oco_group == venue_order_ref(an_oco.order_id)
    assert (order.parent_ref, stop.parent_ref) == (None, None)
    # Neither waits for the other: what is filled has ended.
    await service.report(service.filled(order, 10, 10))
    await service.names(an_oco, 1)
    await service.command(cancel_of(an_oco), cancel_of(an_oco, an_oco.legs[0]))
    assert (await service.names(an_oco, 2))[1] == ("order", "OrderCancelRejected", "too_late_to_cancel")
    (cancel,) = await eventually(lambda: service.sent(venue.CancelVenueOrder, an_oco.account_id))
    assert cancel.venue_order_ref == stop.venue_order_ref


async def test_an_order_that_is_not_sent_takes_its_legs_with_it(execution_service: Any, a_bracket: SubmitOrder) -> None:
    service = execution_service
    await service.can(ORDER_GROUPS, takes(OrderType.STOP))
    late = msgspec.structs.replace(a_bracket, send_by=service.clock.now() - timedelta(milliseconds=1))
    await service.command(late, QueryOrder(order_id=late.legs[0].order_id, attempt=1, **whose(late)))
    reports = await service.names(late, 4)
    assert reports == [
        ("order", "OrderRejected", "too_late"),
        ("take-profit", "OrderCanceled", "parent_ended"),
        ("stop-loss", "OrderCanceled", "parent_ended"),
        ("take-profit", "OrderState", "parent_ended"),
    ]
    assert service.sent(venue.PlaceVenueOrder, late.account_id) == []


async def test_legs_of_an_order_that_the_venue_refuses_end_and_are_cancelled_there(
    execution_service: Any, a_bracket: SubmitOrder
) -> None:
    service = execution_service
    await service.can(ORDER_GROUPS, takes(OrderType.STOP))
    await service.command(a_bracket)
    profit, stop, order = await service.placed_with_legs(a_bracket, 3)
    rejected = venue.VenueOrderRejected(**said(order), code="price_band", detail="")
    await service.report(venue.VenueOrderAccepted(**said(stop)), rejected)
    reports = await service.names(a_bracket, 4)
    assert reports[0] == ("stop-loss", "OrderAccepted", None)
    assert reports[1] == ("order", "OrderRejected", "price_band")
    assert {name[1:] for name in reports[2:]} == {("OrderCanceled", "parent_ended")}
    cancels = await service.some(lambda: service.sent(venue.CancelVenueOrder, a_bracket.account_id), 2)
    assert {cancel.venue_order_ref for cancel in cancels} == {profit.venue_order_ref, stop.venue_order_ref}
    # The venue has ended them by itself; nothing is told twice.
    await service.report(
        service.canceled(stop, "parent_ended"),
        venue.VenueCancelRejected(**said(profit), code="unknown_order", detail=""),
    )
    await service.command(QueryOrder(order_id=a_bracket.order_id, attempt=1, **whose(a_bracket)))
    assert len(await service.names(a_bracket, 5)) == 5


async def test_a_leg_is_cancelled_repriced_and_asked_about_like_any_order(
    execution_service: Any, a_bracket: SubmitOrder
) -> None:
    service = execution_service
    await service.can(ORDER_GROUPS, takes(OrderType.STOP))
    profit, stop = a_bracket.legs

    def wish(**what: Any) -> ReplaceOrder:
        return ReplaceOrder(
            **({"order_id": profit.order_id, "quantity": None, "limit_price": None} | what), **whose(a_bracket)
        )

    await service.command(
        a_bracket,
        wish(limit_price=D(111), quantity=D(10)),
        wish(quantity=D(4)),
        wish(order_id=a_bracket.order_id, quantity=D(4)),
        cancel_of(a_bracket, stop),
        QueryOrder(order_id=profit.order_id, attempt=1, **whose(a_bracket)),
    )
    reports = await service.names(a_bracket, 2)
    assert reports == [
        ("take-profit", "OrderReplaceRejected", "unsupported"),
        ("order", "OrderReplaceRejected", "unsupported"),
    ]
    (replace,) = await eventually(lambda: service.sent(venue.ReplaceVenueOrder, a_bracket.account_id))
    assert (replace.venue_order_ref, replace.limit_price) == (venue_order_ref(profit.order_id), 111)
    assert replace.quantity is None, "a venue is not asked for another quantity of a leg"
    (cancel,) = await eventually(lambda: service.sent(venue.CancelVenueOrder, a_bracket.account_id))
    assert cancel.venue_order_ref == venue_order_ref(stop.order_id)
    (query,) = await eventually(lambda: service.sent(venue.QueryVenueOrders, a_bracket.account_id))
    assert query.venue_order_refs == (venue_order_ref(profit.order_id),)


async def test_a_comparison_knows_legs_that_wait(execution_service: Any, a_bracket: SubmitOrder) -> None:
    """listed with the size that they have there -> nothing differs; larger there -> learnt, not ended"""
    service = execution_service
    bracket = msgspec.structs.replace(a_bracket, symbol="IBM/USD")
    await service.can(ORDER_GROUPS, takes(OrderType.STOP), LISTS_OPEN_ORDERS)
    await service.command(bracket)
    places = await service.placed_with_legs(bracket, 3)
    await service.report(*(venue.VenueOrderAccepted(**said(place)) for place in places), symbol="IBM/USD")
    await service.some(lambda: service.told(bracket.account_id), 3)
    profit, stop, order = places

    def listed(place: venue.PlaceVenueOrder, quantity: int) -> venue.VenueOpenOrder:
        return venue.VenueOpenOrder(
            venue_order_ref=place.venue_order_ref,
            account_id=place.account_id,
            user_id=place.user_id,
            side=place.side,
            order_type=place.order_type,
            time_in_force=place.time_in_force,
            quantity=D(quantity),
            limit_price=place.limit_price,
            stop_price=place.stop_price,
            cumulative_quantity=D(0),
        )

    await service.answer(await service.asked("IBM/USD", 1), listed(profit, 0), listed(stop, 10), listed(order, 10))
    reports = await service.names(bracket, 4)
    assert reports[3:] == [("stop-loss", "OrderReplaced", "requested")]
    assert service.told(bracket.account_id)[3].quantity == 10
    assert {name for _, name, _ in reports[:3]} == {"OrderAccepted"}
