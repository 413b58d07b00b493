"""TWAP over Kafka: parts that make up for each other, pause, resume, cancel and the end of its time."""

from datetime import UTC, datetime
from decimal import Decimal as D
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from fleet_contracts import execution, venue
from fleet_contracts.data import InstrumentDefined
from fleet_contracts.topics import DATA_INSTRUMENTS, TRADING_ACCOUNTS
from fleet_contracts.trading import Account, CancelOrder, QueryOrder, SubmitOrder, Twap
from fleet_contracts.vocabulary import Liquidity, OrderType, Side, TimeInForce
from fleet_testkit.eventually import eventually

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)


def a_twap(order: SubmitOrder, **changed: Any) -> SubmitOrder:
    fields = {"algo": Twap(duration_s=40, slices=4), "quantity": D(10), "symbol": "IBM/USD"} | changed
    return msgspec.structs.replace(order, **fields)


def filled(place: venue.PlaceVenueOrder, quantity: D) -> venue.VenueOrderFilled:
    return venue.VenueOrderFilled(
        venue_order_ref=place.venue_order_ref,
        account_id=place.account_id,
        market_at=AT,
        venue_trade_id=f"{place.venue_order_ref}-{quantity}",
        last_quantity=quantity,
        last_price=D(100),
        cumulative_quantity=quantity,
        fee=D(0),
        fee_currency="USD",
        liquidity=Liquidity.TAKER,
        executed_at=AT,
    )


def canceled(place: venue.PlaceVenueOrder, quantity: int = 0) -> venue.VenueOrderCanceled:
    return venue.VenueOrderCanceled(
        venue_order_ref=place.venue_order_ref,
        account_id=place.account_id,
        market_at=AT,
        code="requested",
        detail="",
        cumulative_quantity=D(quantity),
    )


async def begun(service: Any, order: SubmitOrder) -> dict[str, str]:
    """Has the instrument and the account known; the headers of the order's owner."""
    instrument = InstrumentDefined(
        symbol=order.symbol,
        name="IBM",
        asset_class="stock",
        base="IBM",
        quote="USD",
        tick_size=D("0.0001"),
        lot_size=D(1),
        min_quantity=D(1),
        min_notional=D(1),
        maker_fee=D(0),
        taker_fee=D(0),
        venues=("paper",),
        reference_venue="paper",
        calendar="24/7",
        simulated=True,
        version=1,
    )
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
    await service.peers.say(
        (DATA_INSTRUMENTS, order.symbol, instrument), (TRADING_ACCOUNTS, str(order.account_id), account)
    )
    headers: dict[str, str] = service.keys.of_user("execution", order.user_id, "read", "trade")
    return headers


def places(service: Any, order: SubmitOrder) -> list[venue.PlaceVenueOrder]:
    found: list[venue.PlaceVenueOrder] = service.sent(venue.PlaceVenueOrder, order.account_id)
    return found


async def part(service: Any, order: SubmitOrder, number: int) -> venue.PlaceVenueOrder:
    return (await eventually(lambda: places(service, order)[number - 1 :], what=f"part {number}"))[0]


async def progress(service: Any, order: SubmitOrder, headers: dict[str, str]) -> dict[str, Any]:
    async def shown() -> Any:
        status, body = await service.get(str(order.order_id), headers)
        return body["algo"] if status == 200 else None

    found: dict[str, Any] = await eventually(shown)
    return found


async def test_a_market_order_goes_in_parts_that_make_up_for_each_other(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    service, order = execution_service, a_twap(an_order)
    headers = await begun(service, order)
    await service.command(order)
    first = await part(service, order, 1)
    assert (first.quantity, first.order_type, first.protection_price) == (D(2), OrderType.MARKET, D("105.5"))
    await service.report(filled(first, D(2)), symbol=order.symbol)
    await eventually(lambda: service.told(order.account_id)[1:])
    service.clock.advance(seconds=10)
    second = await part(service, order, 2)
    assert second.quantity == 3
    # Nothing of the second is taken; the third is as large as both.
    await service.report(canceled(second), symbol=order.symbol)
    service.clock.advance(seconds=10)
    third = await part(service, order, 3)
    assert third.quantity == 5
    await service.report(filled(third, D(5)), symbol=order.symbol)
    assert (await progress(service, order, headers))["slices_begun"] == 3
    service.clock.advance(seconds=10)
    fourth = await part(service, order, 4)
    await service.report(filled(fourth, D(3)), symbol=order.symbol)
    told = await eventually(lambda: service.told(order.account_id)[3:] and service.told(order.account_id))
    assert [type(r).__name__ for r in told] == ["OrderAccepted", "OrderFilled", "OrderFilled", "OrderFilled"]
    assert {r.order_id for r in told} == {order.order_id}
    assert len({r.trade_id for r in told[1:]}) == 3
    shown = await progress(service, order, headers)
    assert (shown["state"], shown["filled_quantity"], shown["next_at"]) == ("ended", "10", None)


async def test_a_limit_part_is_cancelled_and_confirmed_before_the_next_and_the_rest_ends_with_its_time(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    service = execution_service
    order = a_twap(
        an_order,
        order_type=OrderType.LIMIT,
        limit_price=D(90),
        protection_price=None,
        time_in_force=TimeInForce.GTC,
        algo=Twap(duration_s=20, slices=2),
    )
    headers = await begun(service, order)
    await service.command(order)
    first = await part(service, order, 1)
    service.clock.advance(seconds=10)
    await eventually(lambda: service.sent(venue.CancelVenueOrder, order.account_id))
    # The cancel's answer is lost: it asks, and sends nothing meanwhile.
    service.clock.advance(seconds=6)
    query = QueryOrder(
        order_id=order.order_id,
        account_id=order.account_id,
        user_id=order.user_id,
        symbol=order.symbol,
        venue="paper",
        attempt=1,
    )
    await service.command(query)
    state = await eventually(lambda: [r for r in service.told(order.account_id) if isinstance(r, execution.OrderState)])
    assert state[0].stand == "working"
    assert len(places(service, order)) == 1
    await service.report(canceled(first, 4), filled(first, D(4)), symbol=order.symbol)
    second = await part(service, order, 2)
    assert second.quantity == 6, "the venue's count is what it was sized from"
    service.clock.advance(seconds=10)
    await eventually(lambda: len(service.sent(venue.CancelVenueOrder, order.account_id)) == 2)
    await service.report(canceled(second), symbol=order.symbol)

    def ends() -> list[execution.OrderCanceled]:
        return [r for r in service.told(order.account_id) if isinstance(r, execution.OrderCanceled)]

    (end,) = await eventually(ends)
    assert (end.code, end.cumulative_quantity) == ("algo_ended", D(4))
    assert (await progress(service, order, headers))["code"] == "algo_ended"
    assert (await service.post(f"{order.order_id}/pause", headers))[1]["code"] == "order_closed"


async def test_it_is_paused_resumed_and_cancelled(execution_service: Any, an_order: SubmitOrder) -> None:
    service = execution_service
    order = a_twap(an_order, order_type=OrderType.LIMIT, limit_price=D(90), time_in_force=TimeInForce.GTC)
    headers = await begun(service, order)
    await service.command(order)
    first = await part(service, order, 1)
    await progress(service, order, headers)
    status, body = await service.post(f"{order.order_id}/pause", headers)
    assert (status, body["algo"]["state"]) == (200, "paused")
    await eventually(lambda: service.sent(venue.CancelVenueOrder, order.account_id))
    await service.report(canceled(first), symbol=order.symbol)
    service.clock.advance(seconds=600)
    status, body = await service.post(f"{order.order_id}/resume", headers)
    assert (status, body["algo"]["state"], body["algo"]["slices_begun"]) == (200, "working", 1)
    second = await part(service, order, 2)
    assert second.quantity == 2
    named = {name: getattr(order, name) for name in ("order_id", "account_id", "user_id", "symbol", "venue")}
    await service.command(CancelOrder(**named, request=4))
    await eventually(lambda: len(service.sent(venue.CancelVenueOrder, order.account_id)) == 2)
    await service.report(canceled(second, 1), filled(second, D(1)), symbol=order.symbol)
    told = await eventually(lambda: service.told(order.account_id)[2:] and service.told(order.account_id))
    assert [type(r).__name__ for r in told] == ["OrderAccepted", "OrderCanceled", "OrderFilled"]
    assert (told[1].code, told[1].cumulative_quantity) == ("requested", 1)
    await service.command(CancelOrder(**named, request=6))
    refused = await eventually(lambda: service.told(order.account_id)[3:])
    assert [(r.code, r.request) for r in refused] == [("too_late_to_cancel", 6)]
    stranger = service.keys.of_user("execution", UUID(int=9), "read", "trade")
    assert (await service.post(f"{order.order_id}/pause", stranger))[0] == 404
    ordinary = replace_algo(an_order)
    await service.command(ordinary)
    await part(service, order, 3)
    assert (await service.post(f"{ordinary.order_id}/pause", headers))[1]["code"] == "no_algorithm"


LIMITED = {"order_type": OrderType.LIMIT, "limit_price": D(90), "time_in_force": TimeInForce.GTC}


def signed(service: Any, order: SubmitOrder, **bounds: Any) -> dict[str, str]:
    """What the gateway asserts of a key of the order's owner."""
    key = {"api_key_id": str(uuid4())} | bounds
    headers: dict[str, str] = service.keys.of_user("execution", order.user_id, "read", "trade", more=key)
    return headers


async def acted(service: Any, order: SubmitOrder, action: str, headers: dict[str, str]) -> tuple[int, str]:
    status, body = await service.post(f"{order.order_id}/{action}", headers)
    return status, body["algo"]["state"] if status == 200 else body["code"]


@pytest.mark.parametrize(
    ("terms", "bounds", "refused"),
    [
        (LIMITED, {"symbols": ["AAPL/USD"], "max_order_notional": "9000"}, "restricted_symbol"),
        (LIMITED, {"symbols": []}, "restricted_symbol"),
        (LIMITED, {"max_order_notional": "719.99"}, "max_order_notional"),
        (LIMITED, {"symbols": ["IBM/USD"], "max_order_notional": "720"}, None),
        ({}, {"max_order_notional": "843.99"}, "max_order_notional"),
        ({}, {"max_order_notional": "844"}, None),
        (LIMITED, {}, None),
    ],
)
async def test_a_key_resumes_what_lies_within_its_bounds_and_pauses_all(
    execution_service: Any, an_order: SubmitOrder, terms: dict[str, Any], bounds: dict[str, Any], refused: str | None
) -> None:
    """10, 2 of them filled, limited at 90 or protected at 105.5 → paused by a key → by its bounds resumed or not → by a login"""
    service, order = execution_service, a_twap(an_order, **terms)
    headers, key = await begun(service, order), signed(execution_service, order, **bounds)
    await service.command(order)
    await service.report(filled(await part(service, order, 1), D(2)), symbol=order.symbol)
    await eventually(lambda: service.told(order.account_id)[1:])
    assert await acted(service, order, "pause", key) == (200, "paused")
    assert await acted(service, order, "resume", key) == ((403, refused) if refused else (200, "working"))
    assert (await progress(service, order, headers))["state"] == ("paused" if refused else "working")
    assert await acted(service, order, "resume", headers) == (200, "working")


async def test_of_a_sell_a_key_s_cap_measures_the_market_too(execution_service: Any, an_order: SubmitOrder) -> None:
    """10 limited at 1, worth 10, while nobody has bid → worth 1000 where 100 is bid"""
    service = execution_service
    order = a_twap(an_order, symbol="AAPL/USD", side=Side.SELL, **(LIMITED | {"limit_price": D(1)}))
    await begun(service, order)
    await service.command(order)
    await part(service, order, 1)
    assert await acted(service, order, "resume", signed(service, order, max_order_notional="9")) == (
        403,
        "max_order_notional",
    )
    key = signed(service, order, max_order_notional="999")
    assert await acted(service, order, "resume", key) == (200, "working")
    await service.quote("100", "101")

    async def is_refused() -> bool:
        return await acted(service, order, "resume", key) == (403, "max_order_notional")

    await eventually(is_refused)
    assert await acted(service, order, "resume", signed(service, order, max_order_notional="1000")) == (200, "working")


async def test_another_s_order_is_not_there_for_a_key_beyond_whose_bounds_it_is(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    service, order = execution_service, a_twap(an_order)
    await begun(service, order)
    await service.command(order)
    await part(service, order, 1)
    stranger = signed(service, msgspec.structs.replace(order, user_id=uuid4()), symbols=["AAPL/USD"])
    assert await acted(service, order, "resume", stranger) == (404, "not_found")


async def test_a_cancel_that_its_venue_refuses_is_asked_for_again_after_a_pause(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    """its part is in the way of the next one, and the venue keeps it → asked again when 5 s, then 10 s have passed"""
    service = execution_service
    order = a_twap(
        an_order,
        order_type=OrderType.LIMIT,
        limit_price=D(90),
        time_in_force=TimeInForce.GTC,
        algo=Twap(duration_s=120, slices=2),
    )
    headers = await begun(service, order)
    await service.command(order)
    first = await part(service, order, 1)
    service.clock.advance(seconds=60)
    refused = venue.VenueCancelRejected(
        venue_order_ref=first.venue_order_ref, account_id=first.account_id, market_at=AT, code="no", detail="no"
    )
    for asked, pause_s in ((1, 6.25), (2, 12.5)):
        await service.some(lambda: service.sent(venue.CancelVenueOrder, order.account_id), asked)
        await service.report(refused, symbol=order.symbol)
        await eventually(lambda: is_no_cancel_pending(service, order, headers), what=f"refusal {asked} is heard")
        service.clock.advance(seconds=pause_s)
    await service.some(lambda: service.sent(venue.CancelVenueOrder, order.account_id), 3)
    await service.report(canceled(first), symbol=order.symbol)
    second = await part(service, order, 2)
    assert second.quantity == 10
    assert (await progress(service, order, headers))["state"] == "working"


async def is_no_cancel_pending(service: Any, order: SubmitOrder, headers: dict[str, str]) -> bool:
    _, body = await service.get(str(order.order_id), headers)
    return not any(one["is_cancel_pending"] for one in body["venue_orders"])


def replace_algo(order: SubmitOrder) -> SubmitOrder:
    return msgspec.structs.replace(order, order_id=UUID(int=order.order_id.int ^ 1))
