"""Comparing with a venue: what is found on either side, mended, and refused as long as there is doubt."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest
from fleet_contracts import execution, venue
from fleet_contracts.exchange_connector import LISTS_OPEN_ORDERS, takes
from fleet_contracts.trading import CancelOrder, SubmitOrder
from fleet_contracts.vocabulary import Liquidity, OrderType, Side, TimeInForce, VenueOrderStand, VenueStateWord
from fleet_execution.domain import (
    Accepted,
    Conditions,
    OrderKey,
    Stand,
    Terms,
    Trigger,
    VenueOrder,
    submit,
)
from fleet_execution.domain.reconciliation import Listed, Listing, review
from fleet_testkit.eventually import eventually
from msgspec.structs import replace

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
KEY = OrderKey.of(UUID(int=1), UUID(int=2), UUID(int=3), "BTC/USD", "paper")
CONNECTED, DISCONNECTED = VenueStateWord.CONNECTED, VenueStateWord.DISCONNECTED


def listed(place: venue.PlaceVenueOrder, **changed: Any) -> venue.VenueOpenOrder:
    fields: dict[str, Any] = {
        "venue_order_ref": place.venue_order_ref,
        "account_id": place.account_id,
        "user_id": place.user_id,
        "side": place.side,
        "order_type": place.order_type,
        "time_in_force": place.time_in_force,
        "quantity": place.quantity,
        "limit_price": place.limit_price,
        "cumulative_quantity": D(0),
        "cumulative_notional": D(0),
        "fees": D(0),
    }
    return venue.VenueOpenOrder(**(fields | changed))


def a_fill(place: venue.PlaceVenueOrder | venue.VenueOpenOrder, quantity: int, name: str) -> venue.VenueOrderFilled:
    return venue.VenueOrderFilled(
        venue_order_ref=place.venue_order_ref,
        account_id=place.account_id,
        market_at=AT,
        venue_trade_id=name,
        last_quantity=D(quantity),
        last_price=D(100),
        cumulative_quantity=D(quantity),
        fee=D(1),
        fee_currency="USD",
        liquidity=Liquidity.MAKER,
        executed_at=AT,
    )


def state(place: venue.PlaceVenueOrder, stand: VenueOrderStand, **more: Any) -> venue.VenueOrderState:
    fields: dict[str, Any] = {"cumulative_quantity": D(0), "fills": ()} | more
    return venue.VenueOrderState(
        venue_order_ref=place.venue_order_ref, account_id=place.account_id, market_at=AT, stand=stand, **fields
    )


def a_limit(order: SubmitOrder, symbol: str) -> SubmitOrder:
    return msgspec.structs.replace(
        order,
        order_id=uuid4(),
        symbol=symbol,
        order_type=OrderType.LIMIT,
        limit_price=D(100),
        protection_price=None,
        time_in_force=TimeInForce.GTC,
    )


async def test_the_union_of_both_sides_is_compared_and_mended(execution_service: Any, an_order: SubmitOrder) -> None:
    """gone while we were away, never heard of, accepted unheard, fill lost -> all of it known and told"""
    service, symbol = execution_service, "ETH/USD"
    ours = [await service.placed(a_limit(an_order, symbol))]
    await service.command(gone := a_limit(an_order, symbol))
    await eventually(lambda: len(service.sent(venue.PlaceVenueOrder, an_order.account_id)) == 2)
    gone_at = service.sent(venue.PlaceVenueOrder, an_order.account_id)[1]
    service.clock.advance(seconds=11)  # before that its transaction could have ended after the question's
    await service.status(CONNECTED, LISTS_OPEN_ORDERS)
    asked = await service.asked(symbol, 1)
    strange = listed(ours[0], venue_order_ref=uuid4(), account_id=uuid4(), user_id=uuid4())
    await service.answer(
        asked,
        listed(ours[0], cumulative_quantity=D(4), cumulative_notional=D(400), fees=D(1)),
        strange,
        fills=(a_fill(ours[0], 4, "x1"),),
    )
    # What the venue does not list is asked for by its reference, and then everything once more.
    (query,) = await eventually(lambda: service.sent(venue.QueryVenueOrders, an_order.account_id))
    assert query.venue_order_refs == (gone_at.venue_order_ref,)
    again = await service.asked(symbol, 2)
    refused = a_limit(an_order, symbol)
    await service.command(refused, CancelOrder(**_named(gone)))
    told = await eventually(
        lambda: [r for r in service.told(an_order.account_id) if isinstance(r, execution.OrderRejected)]
    )
    assert [(r.order_id, r.code) for r in told] == [(refused.order_id, "venue_in_doubt")]
    assert await eventually(lambda: service.sent(venue.CancelVenueOrder, an_order.account_id)), "cancels go on"
    await service.report(
        state(gone_at, VenueOrderStand.FILLED, cumulative_quantity=D(10), fills=(a_fill(gone_at, 10, "x2"),)),
        symbol=symbol,
    )
    await service.answer(
        again, listed(ours[0], cumulative_quantity=D(4), cumulative_notional=D(400), fees=D(1)), strange
    )
    found = await service.compared(symbol)
    assert (found["outcome"], found["attempts"]) == ("mended", 2)
    assert sorted(d["kind"] for d in found["differences"]) == [
        "accept_missing",
        "fill_missing",
        "not_open_there",
        "unknown_order",
    ]
    assert all(d["is_mended"] for d in found["differences"])
    kinds = [type(r).__name__ for r in service.told(an_order.account_id)]
    assert kinds == ["OrderAccepted", "OrderFilled", "OrderRejected", "OrderState"]
    # An adopted order's fills are told of, so that trading books them.
    await service.report(a_fill(strange, 3, "x3"), symbol=symbol)
    (fill,) = await eventually(lambda: service.told(strange.account_id))
    assert (fill.last_quantity, fill.side, fill.symbol) == (3, Side.BUY, symbol)
    # No doubt is left.
    await service.command(late := a_limit(an_order, symbol))
    await eventually(lambda: service.sent(venue.PlaceVenueOrder, late.account_id)[2:])


async def test_what_may_have_been_sent_after_the_question_is_no_difference(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    """an order's transaction begins before the question's and ends after it -> the venue cannot list it -> no doubt"""
    service, symbol = execution_service, "AMZN/USD"
    known = await service.placed(a_limit(an_order, symbol))
    await service.command(a_limit(an_order, symbol))
    await eventually(lambda: len(_places(service, an_order)) == 2)
    await service.status(CONNECTED, LISTS_OPEN_ORDERS)
    service.clock.advance(seconds=6)  # a round later
    (asked,) = await eventually(lambda: service.peers.heard_of(venue.QueryVenueOpenOrders, symbol))
    await service.answer(asked, listed(known))
    found = await service.compared(symbol)
    assert (found["attempts"], [d["kind"] for d in found["differences"]]) == (1, ["accept_missing"])


def _named(order: SubmitOrder) -> dict[str, Any]:
    return {name: getattr(order, name) for name in ("order_id", "account_id", "user_id", "symbol", "venue")}


async def test_while_a_venue_is_away_and_until_it_was_compared_with_nothing_new_goes_there(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    service, symbol = execution_service, "NVDA/USD"
    await service.status(CONNECTED, LISTS_OPEN_ORDERS)
    place = await service.placed(a_limit(an_order, symbol))
    asked = await service.asked(symbol, 1)
    await service.answer(asked, listed(place))
    await service.compared(symbol)
    await service.status(DISCONNECTED, LISTS_OPEN_ORDERS)

    async def codes(number: int) -> list[str]:
        await eventually(lambda: len(_rejections(service, an_order)) >= number)
        return [r.code for r in _rejections(service, an_order)]

    async def is_refused() -> bool:
        await service.command(a_limit(an_order, symbol))
        before = len(service.told(an_order.account_id))
        await eventually(
            lambda: len(service.told(an_order.account_id)) > before or len(_places(service, an_order)) > before
        )
        return bool(_rejections(service, an_order))

    await eventually(is_refused)
    refused = len(_rejections(service, an_order))
    await service.status(CONNECTED, LISTS_OPEN_ORDERS)
    again = await service.asked(symbol, 2)
    await service.command(a_limit(an_order, symbol))
    assert set(await codes(refused + 1)) == {"venue_in_doubt"}
    open_now = [listed(p) for p in _places(service, an_order)]
    await service.answer(again, *open_now)
    await service.compared(symbol, 1)
    count = len(_places(service, an_order))
    await service.command(a_limit(an_order, symbol))
    await eventually(lambda: len(_places(service, an_order)) == count + 1)


def _rejections(service: Any, order: SubmitOrder) -> list[execution.OrderRejected]:
    return [r for r in service.told(order.account_id) if isinstance(r, execution.OrderRejected)]


def _places(service: Any, order: SubmitOrder) -> list[venue.PlaceVenueOrder]:
    found: list[venue.PlaceVenueOrder] = service.sent(venue.PlaceVenueOrder, order.account_id)
    return found


async def test_a_venue_that_denies_an_open_order_stays_in_doubt(execution_service: Any, an_order: SubmitOrder) -> None:
    service, symbol = execution_service, "MSFT/USD"
    await service.status(CONNECTED, LISTS_OPEN_ORDERS)
    place = await service.placed(a_limit(an_order, symbol))
    await service.report(
        venue.VenueOrderAccepted(venue_order_ref=place.venue_order_ref, account_id=place.account_id, market_at=AT),
        symbol=symbol,
    )
    await eventually(lambda: service.told(an_order.account_id))
    for number in (1, 2, 3):
        await service.answer(await service.asked(symbol, number))
        await service.report(state(place, VenueOrderStand.UNKNOWN), symbol=symbol)
    found = await service.compared(symbol)
    assert (found["outcome"], [d["is_mended"] for d in found["differences"]]) == ("unresolved", [False])
    await service.command(a_limit(an_order, symbol))
    assert [r.code for r in await eventually(lambda: _rejections(service, an_order))] == ["venue_in_doubt"]


async def test_a_doubt_about_a_symbol_that_is_listed_no_more_ends_like_any_other(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    """nothing is open in a symbol that no venue trades now, and its venue speaks of an order of it → asked about, trusted"""
    service, symbol = execution_service, "TSLA/USD"
    await service.status(CONNECTED, LISTS_OPEN_ORDERS)
    stranger = venue.VenueOpenOrder(
        venue_order_ref=uuid4(),
        account_id=uuid4(),
        user_id=uuid4(),
        side=Side.BUY,
        order_type=OrderType.LIMIT,
        time_in_force=TimeInForce.GTC,
        quantity=D(10),
        limit_price=D(100),
        cumulative_quantity=D(0),
    )
    await service.report(a_fill(stranger, 10, "x1"), symbol=symbol)
    asked = await service.asked(symbol, 1)
    assert await service.is_in_doubt(an_order, symbol)
    await service.answer(asked)
    assert (await service.compared(symbol))["outcome"] == "clean"
    assert not await service.is_in_doubt(an_order, symbol)


async def test_only_admins_see_the_comparisons(execution_service: Any) -> None:
    trader = execution_service.keys.of_user("execution", uuid4(), "read", "trade")
    status, body = await execution_service.get("reconciliations", trader)
    assert (status, body["code"]) == (403, "insufficient_scope")


async def test_fills_are_asked_for_from_before_the_last_comparison_and_causes_are_told(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    """at start, every minute, after it was away: each time from the fill on that the last but one knew as the last"""
    service, symbol = execution_service, "JPM/USD"
    await service.status(CONNECTED, LISTS_OPEN_ORDERS)
    place = await service.placed(a_limit(an_order, symbol))
    since: list[str | None] = []
    for number in (1, 2, 3, 4):
        asked = await service.asked(symbol, number)
        since.append(asked.since_trade_id)
        fill = msgspec.structs.replace(a_fill(place, 1, f"x{number}"), cumulative_quantity=D(number))
        await service.answer(
            asked, listed(place, cumulative_quantity=D(number), cumulative_notional=None), fills=(fill,)
        )
        await service.compared(symbol, number - 1)
        if number == 3:
            await service.status(DISCONNECTED, LISTS_OPEN_ORDERS)
            await service.status(CONNECTED, LISTS_OPEN_ORDERS)
        else:
            service.clock.advance(seconds=60)
    assert since == [None, "x1", "x1", "x2"]
    found = await service.comparisons(symbol, 4)
    assert [r["cause"] for r in reversed(found)] == ["start", "continuous", "continuous", "reconnect"]


async def test_a_symbol_s_first_fill_is_told_though_its_order_was_not_ours_and_has_ended(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    """compared before anything filled -> a stranger's order comes, fills and ends -> asked from that answer on: adopted,
    told, and no doubt is left"""
    service, symbol = execution_service, "KO/USD"
    await service.status(CONNECTED, LISTS_OPEN_ORDERS)
    place = await service.placed(a_limit(an_order, symbol))
    asked = await service.asked(symbol, 1)
    assert asked.since_trade_id is None
    await service.answer(asked, listed(place), positions={}, last_trade_id="none yet")
    await service.compared(symbol)
    stranger = listed(place, venue_order_ref=uuid4(), account_id=uuid4(), user_id=uuid4())
    fill = a_fill(stranger, 10, "x1")
    await service.report(fill, symbol=symbol)
    asked = await service.asked(symbol, 2)
    assert asked.since_trade_id == "none yet"
    ended = msgspec.structs.replace(
        stranger,
        stand=VenueOrderStand.FILLED,
        cumulative_quantity=D(10),
        cumulative_notional=D(1_000),
        fees=D(1),
    )
    await service.answer(asked, listed(place), ended, fills=(fill,), positions={stranger.account_id: 10})
    found = await service.compared(symbol, 1)
    assert found["outcome"] == "mended"
    assert {d["kind"] for d in found["differences"]} == {"unknown_order", "fill_missing"}
    (told,) = [r for r in service.told(stranger.account_id) if isinstance(r, execution.OrderFilled)]
    assert told.last_quantity == 10
    assert not await service.is_in_doubt(an_order, symbol)


async def test_a_fill_of_an_ended_order_that_is_another_one_there_is_a_doubt(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    """filled at 100 here, the same trade at 101 there -> asked about, told, nothing new goes there until they agree"""
    service, symbol = execution_service, "IBM/USD"
    await service.status(CONNECTED, LISTS_OPEN_ORDERS)
    await service.lists(symbol)
    order = a_limit(an_order, symbol)
    place = await service.placed(order)
    asked = await service.asked(symbol, 1)
    fill = a_fill(place, 10, "x1")
    await service.report(fill, symbol=symbol)
    other = msgspec.structs.replace(fill, last_price=D(101))
    for number in (1, 2, 3):
        await service.answer(asked if number == 1 else await service.asked(symbol, number), fills=(other,))
        queries = await service.some(lambda: service.sent(venue.QueryVenueOrders, order.account_id), number)
        assert queries[-1].venue_order_refs == (place.venue_order_ref,)
        await service.report(
            state(place, VenueOrderStand.FILLED, cumulative_quantity=D(10), fills=(fill,)), symbol=symbol
        )
    found = await service.compared(symbol)
    assert (found["outcome"], [d["kind"] for d in found["differences"]]) == ("unresolved", ["fill_differs"])
    assert (
        "x1 is 10 at 101 and a fee of 1 there, was 10 at 100 and a fee of 1 here" in found["differences"][0]["detail"]
    )
    assert await service.is_in_doubt(order, symbol)
    service.clock.advance(seconds=60)
    await service.answer(await service.asked(symbol, 4), fills=(fill,))
    assert (await service.compared(symbol, 1))["outcome"] == "clean"
    assert not await service.is_in_doubt(order, symbol)


@pytest.mark.parametrize(("days", "outcome", "kinds"), [(90, "clean", []), (88, "unresolved", ["unknown_fill"])])
async def test_a_fill_as_old_as_what_is_forgotten_is_no_doubt(
    execution_service: Any, an_order: SubmitOrder, days: int, outcome: str, kinds: list[str]
) -> None:
    """a symbol in which nothing has filled since: its venue lists the last fill, whose order is not known here any more"""
    service, symbol = execution_service, f"OF{days}/USD"
    await service.status(CONNECTED, LISTS_OPEN_ORDERS)
    await service.lists(symbol)
    place = await service.placed(a_limit(an_order, symbol))
    await service.answer(await service.asked(symbol, 1), listed(place))
    assert (await service.compared(symbol))["outcome"] == "mended"
    service.clock.advance(seconds=60)
    executed_at = service.clock.now() - timedelta(days=days)
    old = msgspec.structs.replace(a_fill(place, 1, "old"), venue_order_ref=uuid4(), executed_at=executed_at)
    for number in range(2, 3 if outcome == "clean" else 5):
        await service.answer(await service.asked(symbol, number), listed(place), fills=(old,))
    found = await service.compared(symbol, 1)
    assert (found["outcome"], [d["kind"] for d in found["differences"]]) == (outcome, kinds)
    assert await service.is_in_doubt(an_order, symbol) is (outcome == "unresolved")


async def test_a_stop_price_and_a_trigger_not_heard_of_are_learnt(
    execution_service: Any, an_order: SubmitOrder
) -> None:
    service, symbol = execution_service, "GOOG/USD"
    await service.can(takes(OrderType.STOP), LISTS_OPEN_ORDERS)
    a_stop = a_limit(an_order, symbol)
    a_stop = msgspec.structs.replace(a_stop, order_type=OrderType.STOP, limit_price=None, stop_price=D(110))
    place = await service.placed(a_stop)
    assert place.stop_price == 110
    asked = await service.asked(symbol, 1)
    await service.answer(asked, listed(place, stop_price=D(112), is_triggered=True))
    found = await service.compared(symbol)
    assert found["outcome"] == "mended"
    assert [d["kind"] for d in found["differences"]] == ["accept_missing", "terms", "trigger_missing"]
    _, replaced, triggered = service.told(an_order.account_id)
    assert (replaced.stop_price, triggered.trigger_price) == (112, 112)
    service.clock.advance(seconds=60)
    await service.answer(await service.asked(symbol, 2), listed(place, stop_price=D(112), is_triggered=True))
    assert (await service.compared(symbol, 1))["outcome"] == "clean"


def _stop(**conditions: Any) -> VenueOrder:
    terms = Terms("buy", "stop", D(1), None, None, "gtc", None, Conditions(**conditions))
    order, _ = submit(KEY, terms, command_sequence=1, market_at=AT, now=AT, refusal=None)
    return order.learn(Accepted(AT), now=AT)[0]


def test_a_stop_that_is_watched_here_has_none_there_and_a_trailing_one_has_no_price() -> None:
    a_page = Listing(UUID(int=9), "paper", "BTC/USD", AT, (), False, (), False, None)
    plain = replace(_stop().terms, order_type="market")
    watched = replace(_stop(stop_price=D(110)), trigger=Trigger(AT, D("0.01")), triggered_at=AT)
    there = Listed(KEY.ref, KEY.account_id, KEY.user_id, plain, Stand.WORKING, None)
    assert review(watched, a_page, there, now=AT) == (watched, (), ())
    trailing = _stop(trail_amount=D(1))
    there = Listed(KEY.ref, KEY.account_id, KEY.user_id, trailing.terms, Stand.WORKING, None, is_triggered=True)
    after, told, (difference,) = review(trailing, a_page, there, now=AT)
    assert (after.triggered_at, told, difference.kind) == (AT, (), "trigger_missing")
    assert review(after, a_page, there, now=AT) == (after, (), ())
