"""Orders of the internal venue, from the command to the report."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from fleet_contracts.exchange_connector import Trade, VenueInstrument, VenueStatus
from fleet_contracts.venue import (
    CancelVenueOrder,
    QueryVenueOrders,
    ReplaceVenueOrder,
    VenueCancelRejected,
    VenueOrderAccepted,
    VenueOrderCanceled,
    VenueOrderExpired,
    VenueOrderFilled,
    VenueOrderRejected,
    VenueOrderReplaced,
    VenueOrderState,
    VenueReplaceRejected,
)
from fleet_contracts.vocabulary import Liquidity, OrderType, SelfTrade, TimeInForce, VenueOrderStand
from fleet_testkit.eventually import eventually

A, R, F, C = VenueOrderAccepted, VenueOrderRejected, VenueOrderFilled, VenueOrderCanceled


async def test_two_orders_meet_at_the_makers_price_and_pay_their_fees(engine: Any) -> None:
    maker, taker = engine.order("sell", "10", "100.50"), engine.order("buy", "4", "101")
    await engine.command(maker, taker)
    _, sold = await engine.told(maker.venue_order_ref, A, F)
    _, bought = await engine.told(taker.venue_order_ref, A, F)
    assert (sold.last_price, sold.last_quantity, sold.cumulative_quantity) == (Decimal("100.50"), 4, 4)
    assert (sold.liquidity, sold.fee) == (Liquidity.MAKER, Decimal("0.402"))
    assert (bought.liquidity, bought.fee, bought.fee_currency) == (Liquidity.TAKER, Decimal("0.804"), "USD")
    assert sold.venue_trade_id == bought.venue_trade_id
    print_ = (await eventually(lambda: engine.peers.heard_of(Trade, "AAPL/USD")))[-1]
    assert (print_.price, print_.quantity, print_.venue) == (Decimal("100.50"), Decimal(4), "internal")
    await engine.command(engine.of(maker, CancelVenueOrder))
    *_, canceled = await engine.told(maker.venue_order_ref, A, F, C)
    assert (canceled.code, canceled.cumulative_quantity) == ("requested", 4)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"time_in_force": TimeInForce.IOC}, "ioc"),
        ({"time_in_force": TimeInForce.FOK}, "fok"),
        ({"minimum_quantity": Decimal(5)}, "minimum_quantity"),
        ({"price": None, "protection_price": Decimal(50)}, "no_liquidity"),
    ],
)
async def test_what_cannot_rest_is_canceled_with_its_reason(engine: Any, changed: Any, code: str) -> None:
    placed = engine.order("buy", "10", **{"price": "50", "symbol": "BTC/USD", **changed})
    await engine.command(placed)
    *_, canceled = await engine.told(placed.venue_order_ref, A, C)
    assert canceled.code == code


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"symbol": "NONE/USD"}, "unknown_symbol"),
        ({"quantity": Decimal("1.5")}, "invalid_quantity"),
        ({"limit_price": Decimal("100.001")}, "invalid_price"),
        ({"order_type": OrderType.STOP, "limit_price": None}, "invalid_price"),
        ({"display_quantity": Decimal("0.5")}, "invalid_quantity"),
        (
            {"order_type": OrderType.TRAILING_STOP, "limit_price": None, "trail_percent": Decimal("0.00001")},
            "invalid_price",
        ),
        ({"time_in_force": TimeInForce.IOC, "post_only": True}, "invalid_time_in_force"),
        ({"time_in_force": TimeInForce.GTD}, "invalid_time_in_force"),
        ({"time_in_force": TimeInForce.GTD, "expires_at": datetime(2020, 1, 1, tzinfo=UTC)}, "already_expired"),
        ({"send_by": datetime(2020, 1, 1, tzinfo=UTC)}, "too_late"),
        ({"quantity": Decimal(1_000_000)}, "max_order_notional"),
    ],
)
async def test_what_is_refused_says_why_and_is_remembered(engine: Any, changed: Any, code: str) -> None:
    placed = engine.order(**changed)
    await engine.command(placed, engine.of(placed, QueryVenueOrders))
    rejected, state = await engine.told(placed.venue_order_ref, R, VenueOrderState)
    assert rejected.code == code
    assert (state.stand, state.code) == (VenueOrderStand.REJECTED, code)


async def test_post_only_and_self_trade(engine: Any) -> None:
    account = uuid4()
    resting = engine.order("sell", "5", "99", account_id=account)
    post_only = engine.order("buy", "5", "99", post_only=True)
    own = engine.order("buy", "5", "99", account_id=account)
    oldest = engine.order("buy", "5", "99", account_id=account, self_trade=SelfTrade.CANCEL_OLDEST)
    await engine.command(resting, post_only, own, oldest)
    assert (await engine.told(post_only.venue_order_ref, A, C))[1].code == "post_only"
    assert (await engine.told(own.venue_order_ref, A, C))[1].code == "self_trade"
    assert (await engine.told(resting.venue_order_ref, A, C))[1].code == "self_trade"
    await engine.command(engine.of(oldest, CancelVenueOrder))
    await engine.told(oldest.venue_order_ref, A, C)


async def test_replace_changes_quantity_and_price(engine: Any) -> None:
    first = engine.order("buy", "10", "90")
    wish = engine.of(first, ReplaceVenueOrder, quantity=Decimal(7), limit_price=Decimal("91"), request=2)
    await engine.command(first, wish)
    *_, replaced = await engine.told(first.venue_order_ref, A, VenueOrderReplaced)
    assert (replaced.quantity, replaced.limit_price, replaced.cumulative_quantity) == (7, 91, 0)
    await engine.command(engine.of(first, ReplaceVenueOrder, limit_price=Decimal("91.001"), request=3))
    *_, refused = await engine.told(first.venue_order_ref, A, VenueOrderReplaced, VenueReplaceRejected)
    assert (refused.code, replaced.request, refused.request) == ("invalid_price", 2, 3)
    stranger = engine.of(first, CancelVenueOrder, account_id=uuid4())
    await engine.command(stranger, engine.of(first, CancelVenueOrder))
    kinds = (A, VenueOrderReplaced, VenueReplaceRejected, VenueCancelRejected, C)
    assert (await engine.told(first.venue_order_ref, *kinds))[3].account_id == stranger.account_id


async def test_a_repeated_order_is_answered_with_its_state_and_placed_once(engine: Any) -> None:
    placed = engine.order("buy", "3", "80")
    await engine.command(placed, placed)
    _, state = await engine.told(placed.venue_order_ref, A, VenueOrderState)
    assert (state.stand, state.cumulative_quantity) == (VenueOrderStand.WORKING, 0)
    status, book = await engine.api("/api/v1/books/AAPL-USD?depth=500")
    assert (status, [q for p, q in book["bids"] if Decimal(p) == 80]) == (200, ["3"])
    await engine.command(engine.of(placed, CancelVenueOrder), placed)
    *_, ended = await engine.told(placed.venue_order_ref, A, VenueOrderState, C, VenueOrderState)
    assert (ended.stand, ended.code) == (VenueOrderStand.CANCELED, "requested")


async def test_what_is_asked_of_an_unknown_order(engine: Any) -> None:
    never = engine.order()
    await engine.command(engine.of(never, QueryVenueOrders), engine.of(never, CancelVenueOrder))
    state, refused = await engine.told(never.venue_order_ref, VenueOrderState, VenueCancelRejected)
    assert (state.stand, refused.code) == (VenueOrderStand.UNKNOWN, "unknown_order")


async def test_good_till_date_ends_at_its_time(engine: Any) -> None:
    ends_at = datetime.now(UTC) + timedelta(seconds=1)
    placed = engine.order("buy", "3", "70", time_in_force=TimeInForce.GTD, expires_at=ends_at)
    await engine.command(placed)
    _, expired = await engine.told(placed.venue_order_ref, A, VenueOrderExpired)
    assert expired.market_at >= ends_at


async def test_the_venue_lists_what_others_bring_and_says_that_it_is_there(engine: Any) -> None:
    await engine.lists(engine.instrument("IBM/USD", venues=("paper",), version=1))
    listed = await eventually(lambda: engine.peers.heard_of(VenueInstrument, "IBM/USD,internal"))
    assert (listed[0].venue, listed[0].tick_size, listed[0].calendar) == ("internal", Decimal("0.01"), "24/7")
    assert (await engine.api("/api/v1/books/IBM-USD"))[0] == 404
    status = (await eventually(lambda: engine.peers.heard_of(VenueStatus, "internal")))[-1]
    assert (status.venue, status.feed) == ("internal", "simulated")
    assert "replace" in status.capabilities
