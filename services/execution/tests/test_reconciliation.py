"""Comparing with a venue: what is found on either side, mended, and refused as long as there is doubt."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from typing import Any
from uuid import UUID, uuid4

import msgspec
from fleet_contracts import execution, venue
from fleet_contracts.exchange_connector import LISTS_OPEN_ORDERS
from fleet_contracts.trading import CancelOrder, SubmitOrder
from fleet_contracts.vocabulary import Liquidity, OrderType, Side, TimeInForce, VenueOrderStand, VenueStateWord
from fleet_execution.domain import Filled, OrderKey, Stand, Stated, Terms, Totals, VenueOrder, submit
from fleet_testkit.eventually import eventually
from hypothesis import given
from hypothesis import strategies as st

AT = datetime(2026, 1, 5, 15, tzinfo=UTC)
KEY = OrderKey.of(UUID(int=1), UUID(int=2), UUID(int=3), "BTC/USD", "paper")
CONNECTED, DISCONNECTED = VenueStateWord.CONNECTED, VenueStateWord.DISCONNECTED


@st.composite
def histories(draw: st.DrawFn) -> tuple[str, list[Filled], list[Filled], list[Filled]]:
    """A side, the venue's fills, those of them that we heard, and those that come late after all, in any order."""
    fills, cumulative = [], D(0)
    for n, (lots, cents, fee) in enumerate(
        draw(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 10**6), st.integers(0, 999)), max_size=8))
    ):
        quantity = D(lots).scaleb(-3)
        cumulative += quantity
        fills.append(
            Filled(AT, f"t{n}", quantity, D(cents).scaleb(-2), cumulative, D(fee).scaleb(-8), "USD", "taker", AT)
        )
    heard = [fill for fill in fills if draw(st.booleans())]
    late = draw(st.permutations(fills))
    return draw(st.sampled_from(["buy", "sell"])), fills, heard, list(late)


def cash(side: str, totals: Totals) -> D:
    """What the fills did to the account's cash: the P&L they leave is the same where this is."""
    return (totals.notional if side == "sell" else -totals.notional) - totals.fees


@given(histories())
def test_with_stand_ins_quantity_average_price_and_pnl_are_the_venues(history: Any) -> None:
    side, fills, heard, late = history
    terms = Terms(side, "limit", D(1000), D(1), None, "gtc", None)
    order, _ = submit(KEY, terms, command_sequence=1, market_at=AT, now=AT, refusal=None)
    for fill in heard:
        order, _ = order.learn(fill, now=AT)
    # The naive side: all the fills there were.
    naive = VenueOrder(KEY, terms, 1, Stand.WORKING, AT, AT, AT, fills=tuple(fills)).totals
    told = Stated(AT, Stand.CANCELED, naive.quantity, (), "requested", "", Totals(*_sums(naive), "USD"))
    mended, _ = order.learn(told, now=AT)
    assert mended.totals.quantity == naive.quantity
    assert cash(side, mended.totals) == cash(side, naive), "to the last digit"
    if naive.quantity:
        assert abs(mended.totals.notional - naive.notional) / naive.quantity < D("1e-11")
    again, _ = order.learn(told, now=AT + timedelta(hours=1))
    assert [f.venue_trade_id for f in again.fills] == [f.venue_trade_id for f in mended.fills], "the same whenever made"
    for fill in late:
        mended, outcomes = mended.learn(fill, now=AT)
        assert outcomes == (), "what a stand-in counts is not counted again"
    assert mended.totals.quantity == naive.quantity


def _sums(totals: Totals) -> tuple[D, D, D]:
    return totals.quantity, totals.notional, totals.fees


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


async def test_only_admins_see_the_comparisons(execution_service: Any) -> None:
    trader = execution_service.keys.of_user("execution", uuid4(), "read", "trade")
    status, body = await execution_service.get("reconciliations", trader)
    assert (status, body["code"]) == (403, "insufficient_scope")
