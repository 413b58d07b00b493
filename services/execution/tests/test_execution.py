"""trading -> execution -> venue -> execution -> trading, over the real Kafka and PostgreSQL."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec
from fleet_contracts import TOPICS, execution, venue
from fleet_contracts.exchange_connector import takes
from fleet_contracts.topics import CORE_ENGINE_STATE, TRADING_ACCOUNTS, Reading
from fleet_contracts.trading import Account, CancelOrder, QueryOrder, ReplaceOrder, SubmitOrder
from fleet_contracts.vocabulary import Liquidity, OrderType, Side, StateScope, TradingStateWord, VenueOrderStand
from fleet_execution.domain import venue_order_ref
from fleet_testkit.eventually import eventually

OPEN_AT = datetime(2012, 3, 2, 14, 30, tzinfo=UTC)


def cancel_of(order: SubmitOrder) -> CancelOrder:
    return CancelOrder(
        order_id=order.order_id,
        account_id=order.account_id,
        user_id=order.user_id,
        symbol=order.symbol,
        venue=order.venue,
    )


def query_of(order: SubmitOrder, attempt: int = 1) -> QueryOrder:
    return QueryOrder(
        order_id=order.order_id,
        account_id=order.account_id,
        user_id=order.user_id,
        symbol=order.symbol,
        venue=order.venue,
        attempt=attempt,
    )


def account_of(order: SubmitOrder) -> tuple[Any, str, Account]:
    """What trading says of the order's account."""
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
    return TRADING_ACCOUNTS, str(order.account_id), account


def accepted(place: venue.PlaceVenueOrder) -> venue.VenueOrderAccepted:
    return venue.VenueOrderAccepted(
        venue_order_ref=place.venue_order_ref, account_id=place.account_id, market_at=OPEN_AT
    )


def filled(place: venue.PlaceVenueOrder, cumulative: int, quantity: int | None = None) -> venue.VenueOrderFilled:
    return venue.VenueOrderFilled(
        venue_order_ref=place.venue_order_ref,
        account_id=place.account_id,
        market_at=OPEN_AT,
        venue_trade_id=f"{place.venue_order_ref}-{cumulative}",
        last_quantity=Decimal(cumulative if quantity is None else quantity),
        last_price=Decimal("544.2501"),
        cumulative_quantity=Decimal(cumulative),
        fee=Decimal("0.5443"),
        fee_currency="USD",
        liquidity=Liquidity.TAKER,
        executed_at=OPEN_AT,
    )


def kinds(reports: list[Any]) -> list[str]:
    return [type(report).__name__ for report in reports]


async def test_an_order_goes_to_the_venue_and_its_fill_comes_back(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    place = await execution_service.placed(an_order)
    assert place.protection_price == Decimal("105.5")
    assert place.command_sequence == 1
    # The venue accepts and fills in one breath, says it all again, and then speaks of another order.
    for _ in range(2):
        await execution_service.report(accepted(place), filled(place, 10))
    second = await execution_service.placed(msgspec.structs.replace(an_order, order_id=uuid4(), account_id=uuid4()))
    await execution_service.report(accepted(second))
    await eventually(lambda: execution_service.told(second.account_id))

    told = execution_service.told(an_order.account_id)
    assert kinds(told) == ["OrderAccepted", "OrderFilled"]
    assert (told[1].cumulative_quantity, told[1].last_price, told[1].market_at) == (10, Decimal("544.2501"), OPEN_AT)
    # trading can book the fill even if it does not know the order.
    assert (told[1].symbol, told[1].side) == ("AAPL/USD", Side.BUY)
    record = execution_service.peers.heard_of(execution.OrderReports, str(an_order.account_id))[0]
    assert len(record.reports) == 2, "one record per cause and account"


async def test_one_cause_of_the_venue_is_one_record_per_account(execution_service: Any, an_order: SubmitOrder) -> None:
    other = msgspec.structs.replace(an_order, order_id=uuid4(), account_id=uuid4(), user_id=uuid4())
    places = [await execution_service.placed(order) for order in (an_order, other)]
    await execution_service.report(*(filled(place, 10) for place in places))
    for order in (an_order, other):
        assert kinds(await eventually(partial(execution_service.told, order.account_id))) == ["OrderFilled"]
        (record,) = execution_service.peers.heard_of(execution.OrderReports, str(order.account_id))
        assert record.user_id == order.user_id


async def test_an_order_that_comes_too_late_is_never_sent(execution_service: Any, an_order: SubmitOrder) -> None:
    late = msgspec.structs.replace(an_order, send_by=execution_service.clock.now() - timedelta(milliseconds=1))
    await execution_service.command(late, msgspec.structs.replace(cancel_of(late), request=2), query_of(late))
    told = await eventually(
        lambda: execution_service.told(late.account_id)[2:] and execution_service.told(late.account_id)
    )
    assert [(type(t).__name__, t.code) for t in told] == [
        ("OrderRejected", "too_late"),
        ("OrderCancelRejected", "too_late_to_cancel"),
        ("OrderRejected", "too_late"),
    ]
    assert told[1].request == 2
    assert execution_service.sent(venue.PlaceVenueOrder, late.account_id) == []


async def test_an_order_nobody_sent_is_told_so_and_refused_from_then_on(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    await execution_service.command(query_of(an_order), an_order, query_of(an_order, 2))
    told = await eventually(
        lambda: execution_service.told(an_order.account_id)[2:] and execution_service.told(an_order.account_id)
    )
    assert [(type(t).__name__, t.code) for t in told] == [("OrderRejected", "never_sent")] * 3
    assert execution_service.sent(venue.PlaceVenueOrder, an_order.account_id) == []


async def test_a_halt_stops_orders_but_not_cancels_and_queries(execution_service: Any, an_order: SubmitOrder) -> None:
    halted = msgspec.structs.replace(an_order, symbol="IBM/USD")
    place = await execution_service.placed(halted)
    await tell_state(execution_service, TradingStateWord.HALTED, version=1)
    refused = msgspec.structs.replace(halted, order_id=uuid4())
    await execution_service.command(refused, cancel_of(halted), query_of(halted))
    (told,) = await eventually(lambda: execution_service.told(halted.account_id))
    assert (told.order_id, told.code) == (refused.order_id, "market_halted")
    (cancel,) = await eventually(lambda: execution_service.sent(venue.CancelVenueOrder, halted.account_id))
    (query,) = await eventually(lambda: execution_service.sent(venue.QueryVenueOrders, halted.account_id))
    assert cancel.venue_order_ref == place.venue_order_ref
    assert query.venue_order_refs == (place.venue_order_ref,)

    await tell_state(execution_service, TradingStateWord.ACTIVE, version=2)
    await execution_service.command(msgspec.structs.replace(halted, order_id=uuid4()))
    await eventually(lambda: len(execution_service.sent(venue.PlaceVenueOrder, halted.account_id)) == 2)


async def tell_state(execution_service: Any, word: TradingStateWord, version: int) -> None:
    """As core-engine does, directly and on its topic."""
    state = await execution_service.tell_state(StateScope.SYMBOL, "IBM/USD", word, version)
    await execution_service.peers.say((CORE_ENGINE_STATE, "symbol:IBM/USD", state))


async def test_a_cancel_that_loses_the_race_changes_nothing(execution_service: Any, an_order: SubmitOrder) -> None:
    place = await execution_service.placed(an_order)
    wish = msgspec.structs.replace(cancel_of(an_order), request=4)
    await execution_service.command(wish, cancel_of(an_order))
    (cancel,) = await eventually(lambda: execution_service.sent(venue.CancelVenueOrder, an_order.account_id))
    rejected = venue.VenueCancelRejected(
        venue_order_ref=cancel.venue_order_ref,
        account_id=cancel.account_id,
        market_at=OPEN_AT,
        code="too_late_to_cancel",
        detail="filled",
        request=cancel.request,
    )
    await execution_service.report(filled(place, 10), rejected)
    told = await eventually(
        lambda: execution_service.told(an_order.account_id)[1:] and execution_service.told(an_order.account_id)
    )
    assert kinds(told) == ["OrderFilled", "OrderCancelRejected"]
    assert (cancel.request, told[1].request) == (4, 4)
    unknown = msgspec.structs.replace(wish, order_id=uuid4(), request=1)
    await execution_service.command(unknown)
    await eventually(lambda: len(execution_service.told(an_order.account_id)) == 3)
    answer = execution_service.told(an_order.account_id)[2]
    assert (answer.code, answer.request) == ("unknown_order", 1)


async def test_a_stop_is_triggered_replaced_and_shown_with_its_new_terms(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    stop = msgspec.structs.replace(
        an_order, order_type=OrderType.STOP_LIMIT, limit_price=Decimal(99), stop_price=Decimal(101), post_only=True
    )
    await execution_service.can(takes(OrderType.STOP_LIMIT))
    place = await execution_service.placed(stop)
    assert (place.stop_price, place.post_only, place.trail_amount) == (Decimal(101), True, None)
    wish = ReplaceOrder(
        order_id=stop.order_id,
        account_id=stop.account_id,
        user_id=stop.user_id,
        symbol=stop.symbol,
        venue="paper",
        quantity=Decimal(6),
        limit_price=None,
        stop_price=Decimal(102),
        request=2,
    )
    await execution_service.command(wish)
    (sent,) = await eventually(lambda: execution_service.sent(venue.ReplaceVenueOrder, stop.account_id))
    assert (sent.venue_order_ref, sent.quantity, sent.limit_price) == (place.venue_order_ref, 6, None)
    said = {"venue_order_ref": place.venue_order_ref, "account_id": place.account_id, "market_at": OPEN_AT}
    await execution_service.report(
        venue.VenueOrderReplaced(
            **said,
            quantity=Decimal(6),
            limit_price=Decimal(99),
            stop_price=Decimal(102),
            cumulative_quantity=Decimal(0),
            request=sent.request,
        ),
        venue.VenueReplaceRejected(**said, code="invalid_price", detail="off the grid", request=3),
        venue.VenueOrderTriggered(**said, trigger_price=Decimal("102.5")),
        filled(place, 6),
    )
    told = await eventually(lambda: execution_service.told(stop.account_id))
    assert kinds(told) == ["OrderReplaced", "OrderReplaceRejected", "OrderTriggered", "OrderFilled"]
    assert [report.request for report in told[:2]] == [2, 3]
    await execution_service.peers.say(account_of(stop))
    own = execution_service.keys.of_user("execution", stop.user_id, "read")

    async def shown_orders() -> Any:
        status, body = await execution_service.get(str(stop.order_id), own)
        return body["venue_orders"] if status == 200 else None

    (shown,) = await eventually(shown_orders)
    assert (shown["stand"], shown["quantity"]) == ("filled", "6")


async def test_a_query_is_answered_by_who_knows(execution_service: Any, an_order: SubmitOrder) -> None:
    place = await execution_service.placed(an_order)
    await execution_service.command(query_of(an_order))
    (query,) = await eventually(lambda: execution_service.sent(venue.QueryVenueOrders, an_order.account_id))
    # The venue has filled 4, of which the report was lost, and goes on working.
    state = venue.VenueOrderState(
        venue_order_ref=query.venue_order_refs[0],
        account_id=an_order.account_id,
        market_at=OPEN_AT,
        stand=VenueOrderStand.WORKING,
        cumulative_quantity=Decimal(4),
        fills=(filled(place, 4),),
    )
    await execution_service.report(state)
    (told,) = await eventually(lambda: execution_service.told(an_order.account_id))
    assert (told.stand, told.cumulative_quantity, len(told.fills)) == (VenueOrderStand.WORKING, 4, 1)
    assert (told.fills[0].symbol, told.fills[0].side) == ("AAPL/USD", Side.BUY)
    await execution_service.report(filled(place, 4), filled(place, 10, 6))
    await eventually(lambda: len(execution_service.told(an_order.account_id)) == 2)
    await execution_service.command(query_of(an_order, 2))
    await eventually(lambda: len(execution_service.told(an_order.account_id)) == 3)
    _, fill, told = execution_service.told(an_order.account_id)
    assert (fill.last_quantity, told.stand, len(told.fills)) == (6, VenueOrderStand.FILLED, 2)
    assert {(f.symbol, f.side) for f in (fill, *told.fills)} == {("AAPL/USD", Side.BUY)}
    assert len(execution_service.sent(venue.QueryVenueOrders, an_order.account_id)) == 1


async def test_a_report_that_overtakes_its_order_waits_for_it(execution_service: Any, an_order: SubmitOrder) -> None:
    order = msgspec.structs.replace(an_order, symbol="MSFT/USD")
    place = await execution_service.placed(order)
    unheard = msgspec.structs.replace(order, order_id=uuid4(), account_id=uuid4())
    early = msgspec.structs.replace(
        place, venue_order_ref=venue_order_ref(unheard.order_id), account_id=unheard.account_id
    )
    await execution_service.report(filled(early, 10), symbol="MSFT/USD")
    await execution_service.report(filled(place, 10), symbol="MSFT/USD")
    await execution_service.command(unheard)
    assert kinds(await eventually(lambda: execution_service.told(unheard.account_id))) == ["OrderFilled"]
    assert kinds(await eventually(lambda: execution_service.told(order.account_id))) == ["OrderFilled"]


async def test_an_execution_is_shown_to_its_owner_and_admins_only(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    await execution_service.peers.say(account_of(an_order))
    place = await execution_service.placed(an_order)
    await execution_service.report(accepted(place), filled(place, 10))
    await eventually(lambda: execution_service.told(an_order.account_id))
    keys = execution_service.keys
    own = keys.of_user("execution", an_order.user_id, "read")

    async def shown() -> Any:
        status, body = await execution_service.get(str(an_order.order_id), own)
        return body if status == 200 else None

    body = await eventually(shown)
    (shown_order,) = body["venue_orders"]
    assert (shown_order["stand"], shown_order["cumulative_quantity"]) == ("filled", "10")
    assert [(f["price"], f["market_at"]) for f in shown_order["fills"]] == [("544.2501", "2012-03-02T14:30:00Z")]

    strange = keys.of_user("execution", uuid4(), "read")
    foreign = await execution_service.get(str(an_order.order_id), strange)
    nothing = await execution_service.get(str(uuid4()), strange)
    assert (foreign[0], foreign[1]["code"]) == (nothing[0], nothing[1]["code"]) == (404, "not_found")
    admin = keys.of_user("execution", uuid4(), "read", "admin", roles=["admin"])
    assert (await execution_service.get(str(an_order.order_id), admin))[0] == 200
    assert (await execution_service.get(str(an_order.order_id), {}))[0] == 401
    nonsense = await execution_service.get("x", own)
    assert (nonsense[0], nonsense[1]["code"]) == (404, "not_found"), "an id is opaque: none of it is malformed"


async def test_it_reads_every_topic_it_is_named_a_reader_of(execution_service: Any) -> None:
    """But for the prices, of which it keeps no place."""
    counted = [(t.name, r.reading) for t in TOPICS for r in t.readers if r.service == "execution"]
    declared = {name for name, reading in counted if reading is not Reading.LIVE}

    async def is_whole() -> bool:
        headers = execution_service.keys.of_service("cli", "execution")
        async with execution_service.http.get(f"{execution_service.url}/internal/rest", headers=headers) as response:
            positions = (await response.json())["positions"]
        return {topic for places in positions.values() for topic in places} == declared

    await eventually(is_whole)
