"""Order groups and conditions through Kafka and PostgreSQL, with the venue killed on the way."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec
from fleet_contracts import venue
from fleet_contracts.exchange_connector import ORDER_GROUPS, VenueStatus, takes
from fleet_contracts.vocabulary import OrderType, Side, TimeInForce, VenueOrderStand
from fleet_exchange_connector import events
from fleet_exchange_connector.domain.bars import Bar, as_instant, steps
from fleet_exchange_connector.domain.book import Book
from fleet_exchange_connector.domain.instruments import offered
from fleet_exchange_connector.domain.orders import Report
from fleet_exchange_connector.store.stocks import stock_bars
from fleet_simulator import models_of
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually

ACCEPTED, FILLED, CANCELED = venue.VenueOrderAccepted, venue.VenueOrderFilled, venue.VenueOrderCanceled
REPLACED, TRIGGERED, EXPIRED = venue.VenueOrderReplaced, venue.VenueOrderTriggered, venue.VenueOrderExpired
STATE, REJECTED = venue.VenueOrderState, venue.VenueOrderRejected
SELL, STOP, TRAILING = Side.SELL, OrderType.STOP, OrderType.TRAILING_STOP
AAPL = "AAPL/USD"


def bracket(venue_: Any, parent: Any, limit: Any, stop: Any) -> list[Any]:
    """As execution sends it: take-profit, stop-loss, then the order, all of one record."""
    group = {
        "side": SELL,
        "account_id": parent.account_id,
        "parent_ref": parent.venue_order_ref,
        "oco_group": uuid4(),
        "quantity": parent.quantity,
    }
    legs = [
        venue_.place(parent.symbol, limit_price=limit, **group),
        venue_.place(parent.symbol, order_type=STOP, stop_price=stop, **group),
    ]
    return [msgspec.structs.replace(each, command_sequence=parent.command_sequence) for each in (*legs, parent)]


def replace_of(order: Any, **changed: Any) -> Any:
    fields = {"quantity": None, "limit_price": None, "send_by": None, **changed}
    return venue.ReplaceVenueOrder(
        venue_order_ref=order.venue_order_ref,
        account_id=order.account_id,
        user_id=order.user_id,
        command_sequence=order.command_sequence + 1000,
        symbol=order.symbol,
        **fields,
    )


def kinds(venue_: Any, order: Any) -> list[type]:
    return [type(report) for report in venue_.reports(order.venue_order_ref)]


async def as_stored(venue_: Any, symbol: str) -> Book:
    """The book, from nothing but its rows."""
    book = Book(offered("replay")[symbol], models_of())
    (row,) = await venue_.fetch("SELECT * FROM books WHERE symbol = $1", symbol)
    open_ = await venue_.fetch("SELECT open FROM venue_orders WHERE symbol = $1 AND open IS NOT NULL", symbol)
    held = await venue_.fetch("SELECT * FROM venue_positions WHERE symbol = $1 AND quantity <> 0", symbol)
    positions = {each["account_id"]: each["quantity"] for each in held}
    book.restore(row["version"], row["state"], [each["open"] for each in open_], positions)
    return book


def opened(twin: Book, commands: list[Any], bar: Bar) -> list[Report]:
    """What the venue does with a bar and what has waited for it, in one process that nobody kills."""
    found: list[Report] = []
    for command in sorted(commands, key=lambda each: (str(each.account_id), each.command_sequence)):
        if isinstance(command, venue.PlaceVenueOrder):
            found += twin.place(events.place_order(command), bar.open_at, now=bar.open_at)
        else:
            found += twin.replace(events.replace_order(command), bar.open_at, now=bar.open_at)
    return found + twin.show_bar(bar, now=bar.close_at)


async def test_a_venue_killed_at_every_step_keeps_the_book_of_one_that_was_not(open_venue: Any) -> None:
    """bracket, trailing stop, iceberg, a child that waits, an order that only reduces → a kill after each bar → the
    rows have the state hash of a book in memory, at every step → the same fills"""
    async with open_venue(feed="replay") as venue_:
        account = uuid4()
        entry = venue_.place(account_id=account)
        profit, loss, entry = bracket(venue_, entry, Decimal(418), Decimal(400))
        trailing = venue_.place(side=SELL, order_type=TRAILING, trail_amount=Decimal(5))
        iceberg = venue_.place(limit_price=Decimal(405), display_quantity=Decimal(3))
        waits_for = venue_.place(limit_price=Decimal(404), account_id=account)
        waits = venue_.place(
            side=SELL, limit_price=Decimal(430), account_id=account, parent_ref=waits_for.venue_order_ref
        )
        reducing = venue_.place(side=SELL, limit_price=Decimal(425), account_id=account, reduce_only=True)
        first = [profit, loss, entry, trailing, iceberg, waits, waits_for, reducing]
        dearer = replace_of(iceberg, limit_price=Decimal(406), quantity=Decimal(8))

        twin = Book(offered("replay")[AAPL], models_of())
        days = steps(stock_bars(), [AAPL], as_instant(datetime(2012, 1, 3, 5, tzinfo=UTC)), _day(6))
        async with venue_.running():
            await venue_.command(*first)
            await eventually(partial(_waiting, venue_, len(first)))
            venue_.rest.left = 0
            body = {"symbols": [AAPL], "timeframe": "1d", "start": "2012-01-03", "end": "2012-01-06"}
            status, shown = await venue_.api("POST", "/paper/replays", body, scopes="strategy")
            assert status == 202, shown
        for done, step in enumerate(days):
            reports = opened(twin, {0: first, 2: [dearer]}.get(done, []), step.bars[0])
            venue_.rest.left = 0
            async with venue_.running():
                if done == 2:
                    await venue_.command(dearer)
                    await eventually(partial(_waiting, venue_, 1))
                # An open that reports nothing is followed by its bars at once.
                venue_.rest.left = 3 if reports else 2
                await eventually(partial(_has_ended, venue_, done + 1))
            stored = await as_stored(venue_, AAPL)
            assert stored.state_hash() == twin.state_hash(), f"after step {done + 1}"
            assert list(stored.listed()) == list(twin.listed())
        async with venue_.running():
            *_, sold = await venue_.told(profit.venue_order_ref, ACCEPTED, REPLACED, FILLED)
            assert (sold.last_price, sold.market_at) == (Decimal(418), days[2].market_at), "on the way of the third day"
            *_, ended = await venue_.told(loss.venue_order_ref, ACCEPTED, REPLACED, CANCELED)
            assert ended.code == "oco"
            *_, ended = await venue_.told(reducing.venue_order_ref, ACCEPTED, CANCELED)
            assert ended.code == "reduce_only"
            *_, changed = await venue_.told(iceberg.venue_order_ref, ACCEPTED, REPLACED)
            assert (changed.quantity, changed.limit_price, changed.code) == (8, 406, "requested")
            await venue_.told(waits.venue_order_ref, ACCEPTED)


def _day(day: int) -> datetime:
    return datetime(2012, 1, day, 23, tzinfo=UTC)


async def _waiting(venue_: Any, count: int) -> bool:
    (row,) = await venue_.fetch("SELECT count(*) AS n FROM waiting_commands")
    return bool(row["n"] == count)


async def _has_ended(venue_: Any, step: int) -> bool:
    (row,) = await venue_.fetch("SELECT step FROM replays")
    return bool(row["step"] == step)


OPENED = datetime(2026, 1, 5, 14, 30, 10, tzinfo=UTC)


async def test_a_group_lives_on_a_market_that_moves_by_itself(open_venue: Any) -> None:
    """bracket → its legs are known while they wait, told twice they are one → the market takes them to one exit, through
    a restart → the other leg has ended"""
    clock = FakeClock(OPENED)
    async with open_venue(clock=clock) as venue_:
        async with venue_.running():
            (status,) = (await venue_.heard(VenueStatus, count=1))[:1]
            wanted = {ORDER_GROUPS, *(takes(order_type) for order_type in OrderType)}
            assert wanted <= set(status.capabilities)
            probe = venue_.place("ETH/USD", quantity=Decimal("0.01"))
            await venue_.command(probe)
            _, fill = await venue_.told(probe.venue_order_ref, ACCEPTED, FILLED)
            near = fill.last_price
            parent = venue_.place("ETH/USD", quantity=Decimal("0.05"), account_id=probe.account_id)
            profit, loss, parent = bracket(venue_, parent, near + 1, near - 1)
            await venue_.command(profit, loss, venue_.query_of(profit), profit)
            said = await venue_.told(profit.venue_order_ref, ACCEPTED, STATE, STATE)
            assert {(state.stand, state.cumulative_quantity) for state in said[1:]} == {(VenueOrderStand.WORKING, 0)}
            await venue_.command(parent)
            *_, grown = await venue_.told(loss.venue_order_ref, ACCEPTED, REPLACED)
            assert (grown.quantity, grown.stop_price, grown.code) == (Decimal("0.05"), near - 1, "parent_filled")
            listed = await _listed(venue_, "ETH/USD")
            assert {(o.venue_order_ref, o.stop_price, o.is_triggered) for o in listed.orders} == {
                (profit.venue_order_ref, None, False),
                (loss.venue_order_ref, near - 1, False),
            }
        async with venue_.running():

            async def moved_on() -> bool:
                clock.advance(seconds=5)
                return FILLED in kinds(venue_, profit) + kinds(venue_, loss)

            await eventually(moved_on, 20)
            if FILLED in kinds(venue_, profit):
                other = loss
            else:
                await venue_.told(loss.venue_order_ref, ACCEPTED, REPLACED, TRIGGERED, FILLED)
                other = profit
            await eventually(lambda: CANCELED in kinds(venue_, other))
            assert venue_.reports(other.venue_order_ref)[-1].code == "oco"
            assert (await _listed(venue_, "ETH/USD")).orders == ()


async def test_orders_end_at_their_own_time_and_children_with_their_parent(open_venue: Any) -> None:
    clock = FakeClock(OPENED)
    async with open_venue(clock=clock) as venue_, venue_.running():
        gtd = {"time_in_force": TimeInForce.GTD, "expires_at": OPENED + timedelta(seconds=20)}
        parent = venue_.place(limit_price=Decimal(1), **gtd)
        profit, loss, parent = bracket(venue_, parent, Decimal(1000), Decimal("0.5"))
        late = venue_.place(limit_price=Decimal(1), time_in_force=TimeInForce.GTD, expires_at=OPENED)
        trailing = venue_.place(side=SELL, order_type=TRAILING, trail_percent=Decimal(20))
        await venue_.command(profit, loss, parent, late, trailing)
        (refused,) = await venue_.told(late.venue_order_ref, REJECTED)
        assert refused.code == "already_expired"
        await venue_.told(parent.venue_order_ref, ACCEPTED)
        clock.advance(seconds=30)
        *_, expired = await venue_.told(parent.venue_order_ref, ACCEPTED, EXPIRED)
        assert expired.market_at == gtd["expires_at"]
        for leg in (profit, loss):
            *_, ended = await venue_.told(leg.venue_order_ref, ACCEPTED, CANCELED)
            assert (ended.code, ended.market_at) == ("parent_ended", gtd["expires_at"])
        child = venue_.place(side=SELL, limit_price=Decimal(1000), parent_ref=parent.venue_order_ref)
        await venue_.command(child)
        (refused,) = await venue_.told(child.venue_order_ref, REJECTED)
        assert refused.code == "parent_ended"
        # What has only moved a trailing stop along is stored once a minute, not with every quote.
        (before,) = await venue_.fetch("SELECT version FROM books WHERE symbol = $1", AAPL)
        for _ in range(20):
            clock.advance(seconds=1)
        (after,) = await venue_.fetch("SELECT version FROM books WHERE symbol = $1", AAPL)
        assert after["version"] == before["version"]
        clock.advance(seconds=30)
        await eventually(partial(_version_over, venue_, before["version"]))
        assert kinds(venue_, trailing) == [ACCEPTED]


async def _version_over(venue_: Any, version: int) -> bool:
    (row,) = await venue_.fetch("SELECT version FROM books WHERE symbol = $1", AAPL)
    return bool(row["version"] > version)


async def _listed(venue_: Any, symbol: str) -> Any:
    query = venue.QueryVenueOpenOrders(query_id=uuid4(), symbol=symbol, after=None, since_trade_id=None, most=10)
    await venue_.command(query)
    answers = partial(venue_.peers.heard_of, venue.VenueOpenOrders, symbol)
    return await eventually(lambda: next((one for one in answers() if one.query_id == query.query_id), None))
