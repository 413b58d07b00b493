"""What ended 90 days ago goes, with its fills and corrections; what is open stays, and so does what is held."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest_asyncio
from fleet_bus import Bus, Due
from fleet_chassis.database import Database
from fleet_contracts import venue
from fleet_contracts.vocabulary import OrderType, Side, VenueOrderStand
from fleet_exchange_connector.settings import Settings
from fleet_exchange_connector.store import forgetting
from fleet_exchange_connector.store.forgetting import BATCH, FORGET, PAGES
from fleet_testkit.eventually import eventually
from fleet_testkit.peers import Keys

ACCEPTED, FILLED, CANCELED = venue.VenueOrderAccepted, venue.VenueOrderFilled, venue.VenueOrderCanceled
STATE, REJECTED, CANCEL_REJECTED = venue.VenueOrderState, venue.VenueOrderRejected, venue.VenueCancelRejected
SYMBOL = "IBM/USD"
LONG_AGO, LATELY = timedelta(days=91), timedelta(days=89)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


@pytest_asyncio.fixture(loop_scope="session")
async def silent_bus(make_database: Any, tmp_path: Path) -> Any:
    """A bus that sends nothing: transactions over the real tables."""
    fields = Keys.make(tmp_path, "exchange-connector").settings(
        "exchange-connector", await make_database("exchange-connector"), "127.0.0.1:9"
    )
    settings = Settings.model_validate(fields)
    async with Database(settings.database_url, application_name="test", plans_once=True) as database:
        yield Bus(settings, database)


async def add_orders(bus: Bus, code: str, number: int, *, ended: timedelta | None) -> None:
    """So many that were placed 200 days ago and ended so long ago, or are open (None), each with a fill and its correction."""
    now = datetime.now(UTC)
    async with bus.transaction() as tx:
        rows = await tx.connection.fetch(
            "INSERT INTO venue_orders SELECT gen_random_uuid(), 'A/USD', gen_random_uuid(), gen_random_uuid(), 1,"
            " CASE WHEN $3::jsonb IS NULL THEN 'canceled' ELSE 'working' END, 1, $1, NULL, $3, $4, $5, 'buy'"
            " FROM generate_series(1, $2::int) RETURNING venue_order_ref",
            *(code, number, None if ended is not None else {"order": "open"}, now - timedelta(days=200)),
            now - (ended or timedelta(days=199)),
        )
        refs = [row[0] for row in rows]
        await tx.connection.execute(
            "INSERT INTO venue_fills SELECT r, 1, r, 1, 1, 1, 0, 'USD', 'taker', $2::timestamptz, $2"
            " FROM unnest($1::uuid[]) r",
            *(refs, now - timedelta(days=199)),
        )
        await tx.connection.execute(
            "INSERT INTO trade_corrections SELECT r, 1, 1, 2, 1, 1, 1, 'Wrong.', r, $2 FROM unnest($1::uuid[]) r",
            *(refs, now - timedelta(days=198)),
        )


async def walk(bus: Bus, page: int = 0) -> tuple[int, timedelta]:
    """One transaction of it: the page that comes next, and when."""
    async with bus.transaction() as tx:
        await tx.connection.execute("DELETE FROM due WHERE kind = $1", FORGET)
        await forgetting.forget(tx, Due(FORGET, "", page, tx.now))
        now = tx.now
    async with bus.transaction() as tx:
        ((sequence, due_at),) = await tx.connection.fetch("SELECT sequence, due_at FROM due WHERE kind = $1", FORGET)
    return sequence, due_at - now


async def left(bus: Bus) -> list[tuple[Any, ...]]:
    """How many orders, fills and corrections of which code."""
    async with bus.transaction() as tx:
        return [
            tuple(row)
            for row in await tx.connection.fetch(
                "SELECT o.code, count(o), count(f), count(c) FROM venue_orders o FULL JOIN venue_fills f"
                " USING (venue_order_ref) FULL JOIN trade_corrections c USING (venue_order_ref) GROUP BY 1 ORDER BY 1"
            )
        ]


async def test_what_is_over_for_90_days_is_forgotten_a_batch_at_a_time(silent_bus: Bus) -> None:
    """more than a batch in one stretch of pages, an open order 200 days old, one that ended of late -> the first batch; a second
    later the rest; the other two stay"""
    await add_orders(silent_bus, "open", 1, ended=None)
    await add_orders(silent_bus, "old", BATCH + 7, ended=LONG_AGO)
    await add_orders(silent_bus, "recent", 1, ended=LATELY)
    stay = [("open", 1, 1, 1), ("recent", 1, 1, 1)]
    assert await walk(silent_bus) == (0, SECOND)
    assert await left(silent_bus) == sorted([*stay, ("old", 7, 7, 7)])
    assert await walk(silent_bus) == (0, HOUR)
    assert await left(silent_bus) == stay


async def test_the_walk_comes_to_every_page_and_begins_again(silent_bus: Bus) -> None:
    """what ended long ago lies in the first stretch of pages, in the third, and between what is kept"""
    await add_orders(silent_bus, "old", 3, ended=LONG_AGO)
    async with silent_bus.transaction() as tx:
        await tx.connection.execute(
            "INSERT INTO venue_orders SELECT gen_random_uuid(), 'A/USD', gen_random_uuid(), gen_random_uuid(), 1,"
            " 'canceled', 0, 'recent', repeat('x', 1000), NULL, now(), now(), 'buy' FROM generate_series(1, $1::int)",
            2 * PAGES * 7,
        )
    await add_orders(silent_bus, "old", 3, ended=LONG_AGO)
    seen = []
    page = 0
    for _ in range(3):
        page, after = await walk(silent_bus, page)
        seen.append((page, after, sum(count for code, count, *_ in await left(silent_bus) if code == "old")))
    assert seen == [(PAGES, SECOND, 3), (2 * PAGES, SECOND, 3), (0, HOUR, 0)]
    assert await walk(silent_bus, 10_000) == (0, HOUR), "the table may have become smaller"


async def age(found: Any, refs: list[UUID], by: timedelta = LONG_AGO) -> None:
    """As if what these orders came to had been so long ago."""
    for change in (
        "venue_orders SET placed_at = placed_at - $2::interval, updated_at = updated_at - $2",
        "venue_fills SET executed_at = executed_at - $2::interval, market_at = market_at - $2",
    ):
        await found.fetch(f"UPDATE {change} WHERE venue_order_ref = ANY($1)", refs, by)


async def forgets(found: Any) -> None:
    """A whole walk, beside the process that runs."""
    async with Database(found.settings.database_url, application_name="test") as database:
        bus, page = Bus(found.settings, database), 0
        while (page := (await walk(bus, page))[0]) > 0:
            pass


async def filled(found: Any, **changed: Any) -> tuple[Any, str]:
    """An order of ten at the market, and the name of its fill."""
    order = found.place(SYMBOL, **changed)
    await found.command(order)
    _, fill = await found.told(order.venue_order_ref, ACCEPTED, FILLED)
    return order, fill.venue_trade_id


async def listed(found: Any, since: str | None) -> Any:
    query = venue.QueryVenueOpenOrders(query_id=uuid4(), symbol=SYMBOL, after=None, since_trade_id=since, most=500)
    await found.command(query)

    def answer() -> Any:
        heard = found.peers.heard_of(venue.VenueOpenOrders, SYMBOL)
        return next((said for said in heard if said.query_id == query.query_id), None)

    return await eventually(answer, what="an answer")


async def test_of_a_group_whose_parent_is_forgotten_the_legs_go_on(open_venue: Any) -> None:
    """bracket: bought 91 days ago, both legs open -> the parent is forgotten; listed and held is what was -> the venue starts
    again, a leg is cancelled, and the sell of what is held fills"""
    async with open_venue(exchange_connector_history_days=0) as found:
        async with found.running():
            parent = found.place(SYMBOL)
            group = {
                "side": Side.SELL,
                "account_id": parent.account_id,
                "parent_ref": parent.venue_order_ref,
                "oco_group": uuid4(),
            }
            legs = [
                found.place(SYMBOL, limit_price=Decimal(9000), **group),
                found.place(SYMBOL, order_type=OrderType.STOP, stop_price=Decimal(1), **group),
            ]
            await found.command(*legs, parent)
            await found.told(parent.venue_order_ref, ACCEPTED, FILLED)
            before = await listed(found, None)
            refs = [order.venue_order_ref for order in (*legs, parent)]
            await age(found, refs)
            await forgets(found)
            assert {row[0] for row in await found.fetch("SELECT venue_order_ref FROM venue_orders")} == set(refs[:2])
            after = await listed(found, None)
            assert {order.venue_order_ref for order in after.orders} == set(refs[:2])
            assert (after.orders, after.positions) == (before.orders, before.positions)
        async with found.running():
            after = await listed(found, None)
            assert (after.orders, after.positions) == (before.orders, before.positions)
            await found.command(found.cancel_of(legs[0]))
            await eventually(lambda: CANCELED in map(type, found.reports(refs[0])))
            await filled(found, account_id=parent.account_id, side=Side.SELL, reduce_only=True)
            held = await found.fetch("SELECT quantity FROM venue_positions WHERE account_id = $1", parent.account_id)
            assert [row["quantity"] for row in held] == [0]


async def test_what_is_said_about_a_forgotten_order_fills_nothing_and_is_answered(open_venue: Any) -> None:
    """filled, forgotten -> placed again: too late, as its `send_by` is over; cancelled, asked for: unknown; its trade corrected:
    there is none"""
    async with open_venue(exchange_connector_history_days=0) as found, found.running():
        order, name = await filled(found, send_by=datetime.now(UTC) + timedelta(minutes=1))
        ref = order.venue_order_ref
        await age(found, [ref])
        await forgets(found)
        status, shown = await found.api(
            "POST", f"/paper/trades/{name}/bust", {"reason": "Clearly erroneous."}, scopes="admin"
        )
        assert (status, shown["code"]) == (404, "trade_not_found")
        assert "90 days" in shown["detail"]
        await found.command(found.query_of(order), found.cancel_of(order))
        *_, state, refused = await found.told(ref, ACCEPTED, FILLED, STATE, CANCEL_REJECTED)
        assert (state.stand, state.fills, refused.code) == (VenueOrderStand.UNKNOWN, (), "unknown_order")
        again = venue.PlaceVenueOrder(**{**_fields(order), "send_by": datetime.now(UTC) - LONG_AGO})
        await found.command(again)
        *_, rejected = await found.told(ref, ACCEPTED, FILLED, STATE, CANCEL_REJECTED, REJECTED)
        assert rejected.code == "too_late"
        held = await found.fetch("SELECT quantity FROM venue_positions WHERE account_id = $1", order.account_id)
        assert [row["quantity"] for row in held] == [10]


def _fields(order: Any) -> dict[str, Any]:
    return {name: getattr(order, name) for name in order.__struct_fields__}


async def test_fills_since_one_that_is_forgotten_or_may_be_are_those_that_came_after_it(open_venue: Any) -> None:
    """a trade 89 days and some hours ago, and nothing after it -> who asks since then is not told of it, for he may have
    forgotten it, but from where on to ask; it is forgotten, two came since -> since its name they are listed, once"""
    async with open_venue(exchange_connector_history_days=0) as found, found.running():
        old, name = await filled(found)
        await age(found, [old.venue_order_ref], timedelta(days=89, hours=12))
        answer = await listed(found, name)
        assert answer.fills == ()
        since = answer.last_trade_id
        assert since.startswith("none-since-")
        _, first = await filled(found)
        _, second = await filled(found)
        await age(found, [old.venue_order_ref], timedelta(days=1))
        await forgets(found)
        assert not await found.fetch("SELECT FROM venue_fills WHERE venue_order_ref = $1", old.venue_order_ref)
        for asked in (name, since):
            answer = await listed(found, asked)
            assert [fill.venue_trade_id for fill in answer.fills] == [first, second]
            assert answer.last_trade_id == second


async def test_two_processes_forget_in_one_walk(open_venue: Any) -> None:
    """orders that ended 91 days ago -> two processes start -> they are gone, and one row says when it goes on"""
    async with open_venue(exchange_connector_history_days=0) as found:
        async with found.running():
            order, _ = await filled(found)
        await age(found, [order.venue_order_ref])
        await found.fetch("UPDATE due SET due_at = '1970-01-01' WHERE kind = $1", FORGET)
        async with found.running(), found.running(ordinal=1):

            async def is_forgotten() -> bool:
                return not await found.fetch("SELECT FROM venue_orders")

            await eventually(is_forgotten)
            rows = await found.fetch("SELECT aggregate_id, sequence FROM due WHERE kind = $1", FORGET)
            assert [tuple(row) for row in rows] == [("", 0)]
