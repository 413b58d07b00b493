"""Order types and groups at the internal venue, what it lists, and what it still knows of the past."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

from fleet_contracts.exchange_connector import LISTS_OPEN_ORDERS, ORDER_GROUPS, VenueStatus
from fleet_contracts.venue import (
    CancelVenueOrder,
    QueryVenueOpenOrders,
    QueryVenueOrders,
    ReplaceVenueOrder,
    VenueOpenOrders,
    VenueOrderAccepted,
    VenueOrderCanceled,
    VenueOrderFilled,
    VenueOrderRejected,
    VenueOrderReplaced,
    VenueOrderState,
    VenueOrderTriggered,
)
from fleet_contracts.vocabulary import OrderType, SelfTrade, VenueOrderStand
from fleet_matching_engine.domain.sessions import session
from fleet_testkit.eventually import eventually

A, F, C, T = VenueOrderAccepted, VenueOrderFilled, VenueOrderCanceled, VenueOrderTriggered
D = Decimal


async def test_a_stop_is_triggered_by_a_trade_and_fills(engine: Any) -> None:
    symbol = {"symbol": "BTC/USD"}
    stop = engine.order("sell", "2", None, order_type=OrderType.STOP, stop_price=D(200), **symbol)
    bids = [engine.order("buy", "1", "200", **symbol), engine.order("buy", "5", "199", **symbol)]
    await engine.command(stop, *bids, engine.order("sell", "1", "200", **symbol))
    _, triggered, fill = await engine.told(stop.venue_order_ref, A, T, F)
    assert (triggered.trigger_price, fill.last_price, fill.cumulative_quantity) == (200, 199, 2)
    await engine.command(*(engine.of(one, CancelVenueOrder) for one in bids))
    await engine.told(bids[1].venue_order_ref, A, F, C)


async def test_a_bracket_is_kept_at_the_venue(engine: Any) -> None:
    """legs before the order -> they grow with its fills -> one takes what the other loses -> its end is theirs."""
    parent, group, mine = uuid4(), uuid4(), {"symbol": "BTC/USD", "account_id": uuid4()}
    leg = {"parent_ref": parent, "oco_group": group, **mine}
    profit = engine.order("sell", "4", "330", **leg)
    loss = engine.order("sell", "4", None, order_type=OrderType.STOP, stop_price=D(290), **leg)
    entry = engine.order("buy", "4", "300", venue_order_ref=parent, **mine)
    await engine.command(profit, loss, entry, engine.order("sell", "3", "300", symbol="BTC/USD"))
    _, grown = await engine.told(profit.venue_order_ref, A, VenueOrderReplaced)
    assert (grown.quantity, grown.code) == (3, "parent_filled")
    await engine.command(engine.order("buy", "1", "330", symbol="BTC/USD"))
    *_, smaller = await engine.told(loss.venue_order_ref, A, VenueOrderReplaced, VenueOrderReplaced)
    assert (smaller.quantity, smaller.code) == (2, "oco")
    await engine.command(engine.of(entry, CancelVenueOrder), engine.of(profit, CancelVenueOrder))
    await engine.told(profit.venue_order_ref, A, VenueOrderReplaced, F, C)
    await engine.command(engine.of(loss, CancelVenueOrder))
    *_, canceled = await engine.told(loss.venue_order_ref, A, VenueOrderReplaced, VenueOrderReplaced, C)
    assert (canceled.code, canceled.cumulative_quantity) == ("requested", 0)


async def test_a_leg_that_is_full_when_its_order_ends_is_filled(engine: Any) -> None:
    parent, mine = uuid4(), {"symbol": "BTC/USD", "account_id": uuid4()}
    profit = engine.order("sell", "4", "330", parent_ref=parent, **mine)
    entry = engine.order("buy", "4", "300", venue_order_ref=parent, **mine)
    others = engine.order("sell", "3", "300", symbol="BTC/USD"), engine.order("buy", "3", "330", symbol="BTC/USD")
    await engine.command(
        profit, entry, *others, engine.of(entry, CancelVenueOrder), engine.of(profit, QueryVenueOrders)
    )
    *_, last, state = await engine.told(
        profit.venue_order_ref, A, VenueOrderReplaced, F, VenueOrderReplaced, VenueOrderState
    )
    assert (last.code, last.quantity, last.cumulative_quantity) == ("parent_ended", 3, 3)
    assert (state.stand, state.code, len(state.fills)) == (VenueOrderStand.FILLED, None, 1)


async def test_an_order_that_self_trade_prevention_leaves_nothing_of_has_ended(engine: Any) -> None:
    mine = {"symbol": "BTC/USD", "account_id": uuid4(), "self_trade": SelfTrade.DECREMENT}
    rests, comes = engine.order("buy", "2", "300", **mine), engine.order("sell", "5", "300", **mine)
    await engine.command(rests, comes, engine.of(rests, QueryVenueOrders), engine.of(comes, CancelVenueOrder))
    *_, canceled, state = await engine.told(rests.venue_order_ref, A, C, VenueOrderState)
    assert (canceled.code, state.stand, state.code) == ("self_trade", VenueOrderStand.CANCELED, "self_trade")
    await engine.told(comes.venue_order_ref, A, VenueOrderReplaced, C)


async def test_legs_of_an_order_that_the_venue_refuses_end(engine: Any) -> None:
    parent = uuid4()
    leg = engine.order("sell", "4", "330", parent_ref=parent)
    refused = engine.order("buy", "4", "300", venue_order_ref=parent, send_by=datetime(2020, 1, 1, tzinfo=UTC))
    await engine.command(leg, refused)
    await engine.told(parent, VenueOrderRejected)
    assert (await engine.told(leg.venue_order_ref, A, C))[1].code == "parent_ended"


async def test_an_iceberg_shows_its_slice_and_a_waiting_order_is_replaced(engine: Any) -> None:
    iceberg = engine.order("buy", "10", "60", display_quantity=D(3))
    waits = engine.order("buy", "1", "140", order_type=OrderType.STOP_LIMIT, stop_price=D(135))
    await engine.command(iceberg, waits, engine.of(waits, ReplaceVenueOrder, stop_price=D(136), limit_price=D(141)))
    *_, replaced = await engine.told(waits.venue_order_ref, A, VenueOrderReplaced)
    assert (replaced.stop_price, replaced.limit_price, replaced.code) == (136, 141, "requested")
    _, book = await engine.api("/api/v1/books/AAPL-USD?depth=500")
    assert [quantity for price, quantity in book["bids"] if D(price) == 60] == ["3"]
    await engine.command(*(engine.of(one, CancelVenueOrder) for one in (iceberg, waits)))
    await engine.told(iceberg.venue_order_ref, A, C)


async def test_execution_is_told_what_is_open_and_what_was_filled(engine: Any) -> None:
    """as tests/test_reconciliation.py of execution asks: pages of orders, fills from the trade it names"""
    ibm = engine.instrument("IBM/USD")
    await engine.lists(ibm)
    rest = [engine.order("sell", "5", "70", symbol="IBM/USD") for _ in range(3)]
    taker = engine.order("buy", "7", "70", symbol="IBM/USD")
    await engine.command(*rest, taker)
    await engine.told(rest[1].venue_order_ref, A, F)
    pages: list[Any] = []
    after, held = None, None
    since: str | None = "IBM/USD-1"
    while not pages or pages[-1].has_more_orders or pages[-1].has_more_fills or pages[-1].has_more_positions:
        asked = QueryVenueOpenOrders(
            query_id=uuid4(),
            symbol="IBM/USD",
            after=after,
            since_trade_id=since,
            most=1 if after is None else 3,
            positions_after=held,
        )
        await engine.command(asked)
        pages.append(await _answer(engine, asked.query_id))
        after = pages[-1].orders[-1].venue_order_ref if pages[-1].has_more_orders else UUID(int=2**128 - 1)
        since = pages[-1].last_trade_id if pages[-1].has_more_fills else None
        held = pages[-1].positions[-1].account_id if pages[-1].has_more_positions else UUID(int=2**128 - 1)
    orders = [order for page in pages for order in page.orders]
    assert [order.venue_order_ref for order in orders] == sorted(one.venue_order_ref for one in rest[1:])
    partly = next(order for order in orders if order.venue_order_ref == rest[1].venue_order_ref)
    assert (partly.user_id, partly.cumulative_quantity, partly.cumulative_notional) == (rest[1].user_id, 2, 140)
    positions = [position for page in pages for position in page.positions]
    assert [position.account_id for position in positions] == sorted({p.account_id for p in positions})
    # All orders of `engine.order` that have filled here.
    assert {(p.account_id, p.quantity) for p in positions} == {
        (taker.account_id, 7),
        (rest[0].account_id, -5),
        (rest[1].account_id, -2),
    }
    assert {(fill.venue_trade_id, fill.venue_order_ref) for page in pages for fill in page.fills} >= {
        ("IBM/USD-1", rest[0].venue_order_ref),
        ("IBM/USD-2", rest[1].venue_order_ref),
    }
    status = engine.peers.heard_of(VenueStatus, "internal")[-1]
    assert {LISTS_OPEN_ORDERS, ORDER_GROUPS, *(f"order_types:{one.value}" for one in OrderType)} <= {
        *status.capabilities
    }


async def test_where_nothing_has_traded_it_is_said_from_where_on_to_ask(engine: Any) -> None:
    """a symbol that is not traded yet, then one without a trade -> what trades then comes since either answer"""

    async def listed(since: str | None) -> Any:
        asked = QueryVenueOpenOrders(query_id=uuid4(), symbol="KO/USD", after=None, since_trade_id=since, most=5)
        await engine.command(asked)
        return await _answer(engine, asked.query_id)

    answers = [await listed(None)]
    await engine.lists(engine.instrument("KO/USD"))
    answers += [await listed(answers[0].last_trade_id), await listed(None)]
    assert [(answer.orders, answer.fills) for answer in answers] == [((), ())] * 3
    traded = [engine.order(side, "1", "70", symbol="KO/USD") for side in ("sell", "buy")]
    await engine.command(*traded)
    assert None not in {answer.last_trade_id for answer in answers}
    for answer in answers:
        fills = (await listed(answer.last_trade_id)).fills
        assert {fill.venue_order_ref for fill in fills} == {order.venue_order_ref for order in traded}


async def test_whether_an_order_has_been_triggered_is_listed(engine: Any) -> None:
    """two stop-limits; the market trades at the price of one, whose limit rests now"""
    await engine.lists(engine.instrument("MSFT/USD"))
    stop: dict[str, Any] = {"symbol": "MSFT/USD", "order_type": OrderType.STOP_LIMIT}
    near, far = (engine.order("buy", "1", "60", stop_price=D(price), **stop) for price in (70, 80))
    traded = [engine.order(side, "1", "70", symbol="MSFT/USD") for side in ("sell", "buy")]
    asked = QueryVenueOpenOrders(query_id=uuid4(), symbol="MSFT/USD", after=None, since_trade_id=None, most=9)
    await engine.command(near, far, *traded, asked)
    orders = (await _answer(engine, asked.query_id)).orders
    assert {(order.venue_order_ref, order.stop_price, order.is_triggered) for order in orders} == {
        (near.venue_order_ref, 70, True),
        (far.venue_order_ref, 80, False),
    }


async def _answer(engine: Any, query_id: UUID) -> Any:
    def found() -> Any:
        return next((one for one in engine.peers.heard_of(VenueOpenOrders) if one.query_id == query_id), None)

    return await eventually(found, 10)


async def test_what_ended_before_the_snapshot_is_known_and_never_placed_again(open_engine: Any) -> None:
    """filled and canceled -> archived with a snapshot -> another process: asked for, repeated, listed"""
    async with open_engine(matching_engine_snapshot_every=1) as engine:
        sold, bought, gone = engine.order("sell", "2", "50"), engine.order("buy", "2", "50"), engine.order("buy")
        async with engine.running():
            await engine.lists(engine.instrument())
            await engine.command(sold, bought, gone, engine.of(gone, CancelVenueOrder))
            await engine.told(gone.venue_order_ref, A, C)
        async with engine.running():
            asked = QueryVenueOpenOrders(
                query_id=uuid4(), symbol="AAPL/USD", after=None, since_trade_id="AAPL/USD-1", most=9
            )
            await engine.command(engine.of(sold, QueryVenueOrders), bought, gone, asked)
            *_, state = await engine.told(sold.venue_order_ref, A, F, VenueOrderState)
            assert (state.stand, state.cumulative_quantity) == (VenueOrderStand.FILLED, 2)
            told = [fill for fill in engine.reports(sold.venue_order_ref) if isinstance(fill, F)]
            assert list(state.fills) == told
            assert (await engine.told(bought.venue_order_ref, A, F, VenueOrderState))[2].stand == "filled"
            assert (await engine.told(gone.venue_order_ref, A, C, VenueOrderState))[2].stand == "canceled"
            listed = await _answer(engine, asked.query_id)
            assert (listed.orders, {fill.venue_order_ref for fill in listed.fills}) == (
                (),
                {sold.venue_order_ref, bought.venue_order_ref},
            )


def test_the_session_is_that_of_the_calendar() -> None:
    friday = datetime(2026, 1, 9, 21, tzinfo=UTC)
    assert session("XNYS", "X", friday - timedelta(minutes=1)).is_open
    closed = session("XNYS", "X", friday + timedelta(days=2))
    assert (closed.day, closed.is_open, closed.since) == ("2026-01-09", False, friday)
    summer = session("XNYS", "X", datetime(2026, 7, 6, 13, 30, tzinfo=UTC))
    assert (summer.day, summer.is_open) == ("2026-07-06", True)
