"""All that execution ever reported, delivered again: nothing moves."""

import random
from collections.abc import AsyncIterator
from decimal import Decimal as D
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest_asyncio
from fleet_contracts import execution
from fleet_contracts.topics import EXECUTION_REPORTS
from fleet_contracts.vocabulary import VenueOrderStand
from fleet_testkit.eventually import eventually

TABLES = (
    "accounts",
    "balances",
    "positions",
    "orders",
    "trades",
    "entries",
    "adjustments",
    "snapshots",
    "checked_accounts",
    "checked_sums",
    "client_order_ids",
    "due",
    "parked",
    "outbox",
)
BRACKET = {"order_class": "bracket", "take_profit": {"limit_price": "120"}, "stop_loss": {"stop_price": "80"}}
Records = list[tuple[execution.AnyReport, ...]]


async def _story(fleet: Any, user: UUID) -> Records:
    """Orders of every fate, some still open, and the records that tell it: late, crossing, too much, corrected."""
    limit = {"type": "limit", "limit_price": "100"}
    names = ("filled", "canceled", "replaced", "rejected", "expired", "overfilled", "corrected", "refused", "open")
    orders = {name: await fleet.accepted(user, **limit) for name in names}
    bracket = await fleet.accepted(user, **(limit | BRACKET))
    orders["triggered"] = await fleet.accepted(user, type="stop", stop_price="120")
    for name in ("canceled", "refused"):
        assert (await fleet.call("DELETE", f"/api/v1/orders/{orders[name]['order_id']}", user=user)).status == 202
    change = {"quantity": "12"}
    path = f"/api/v1/orders/{orders['replaced']['order_id']}"
    assert (await fleet.call("PATCH", path, change, user=user)).status == 202

    def report(kind: Any, name: str, **more: Any) -> Any:
        return kind(order_id=UUID(orders[name]["order_id"]), market_at=fleet.clock.now(), **more)

    def filled(name: str, quantity: int, cumulative: int) -> execution.OrderFilled:
        told: execution.OrderFilled = fleet.filled(orders[name], quantity, 99, cumulative=cumulative, fee="0.1")
        return told

    def canceled(name: str, cumulative: int) -> Any:
        why = {"code": "requested", "detail": "", "cumulative_quantity": D(cumulative)}
        return report(execution.OrderCanceled, name, **why)

    orders["bracket"], orders["profit"] = bracket, {"order_id": bracket["legs"][0]}
    refusal = {"code": "no", "detail": "No."}
    bust = filled("corrected", 4, 4)
    fields: dict[str, Any] = {name: getattr(bust, name) for name in bust.__struct_fields__} | refusal
    busted = [
        execution.TradeCorrected(**(fields | {"last_quantity": D(quantity), "revision": revision}))
        for revision, quantity in ((1, 3), (2, 0))
    ]
    state = report(
        execution.OrderState,
        "open",
        stand=VenueOrderStand.WORKING,
        cumulative_quantity=D(2),
        fills=(filled("open", 2, 2),),
    )
    figures = {"quantity": D(12), "limit_price": D(100), "cumulative_quantity": D(5)}
    return [
        (report(execution.OrderUnknown, "open", detail="No answer."),),
        tuple(report(execution.OrderAccepted, name, venue="paper") for name in orders if name != "canceled"),
        (filled("filled", 4, 4), filled("replaced", 5, 5), report(execution.OrderReplaced, "replaced", **figures)),
        (filled("filled", 6, 10), canceled("canceled", 0)),
        # After its end, and more than was ordered.
        (filled("canceled", 3, 3), filled("overfilled", 12, 12)),
        (
            report(execution.OrderRejected, "rejected", **refusal),
            report(execution.OrderCancelRejected, "refused", **refusal),
        ),
        (report(execution.OrderExpired, "expired", cumulative_quantity=D(0)), bust, state),
        (busted[0], filled("bracket", 10, 10)),
        (filled("profit", 10, 10), report(execution.OrderAccepted, "refused", venue="paper")),
        (report(execution.OrderTriggered, "triggered", trigger_price=D(120)),),
        (filled("triggered", 4, 4),),
        # An end that counts what was corrected after it.
        (canceled("corrected", 4), busted[1]),
    ]


@pytest_asyncio.fixture(loop_scope="session")
async def books(fleet: Any) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(fleet.settings.database_url.get_secret_value())
    yield connection
    await connection.close()


async def _applied(books: asyncpg.Connection, fleet: Any, user: UUID, sent: int) -> bool:
    reached = await books.fetchval(
        "SELECT sequence FROM inbox_positions WHERE topic LIKE '%' || $1 AND key = $2",
        EXECUTION_REPORTS.name,
        str(fleet.account_of(user)),
    )
    return bool(reached == sent)


async def _tables(books: asyncpg.Connection) -> dict[str, list[str]]:
    async def nothing_is_leaving() -> bool:
        return not await books.fetchval("SELECT count(*) FROM outbox")

    await eventually(nothing_is_leaving, timeout_s=30, what="the outbox is empty")
    return {
        table: [row[0] for row in await books.fetch(f"SELECT t::text FROM {table} AS t ORDER BY 1")] for table in TABLES
    }


async def test_reports_delivered_again_twice_and_shuffled_between_keys_change_nothing(
    fleet: Any, books: asyncpg.Connection
) -> None:
    told: dict[UUID, Records] = {}
    for _ in range(3):
        user = fleet.a_user()
        told[user] = await _story(fleet, user)
    sent = dict.fromkeys(told, 0)

    async def deliver(shuffled: random.Random) -> None:
        """Each key's records in their order, those of different keys in any."""
        turns = [user for user, records in told.items() for _ in records]
        shuffled.shuffle(turns)
        at = {user: iter(records) for user, records in told.items()}
        for user in turns:
            await fleet.report(user, *next(at[user]))
            sent[user] += 1
        for user in told:
            await eventually(partial(_applied, books, fleet, user, sent[user]), timeout_s=30, what="all is applied")

    await deliver(random.Random(1))
    before = await _tables(books)
    assert len(before["trades"]) == 3 * 10
    assert before["parked"] == []
    for seed in (2, 3):
        await deliver(random.Random(seed))
        after = await _tables(books)
        assert [row for table in TABLES for row in set(after[table]) ^ set(before[table])] == []
        assert after == before
    await fleet.books_hold()


async def test_changes_and_refusals_told_again_change_nothing_whatever_came_after_them(
    fleet: Any, books: asyncpg.Connection
) -> None:
    """replaced, replaced, refused, a replace that waits; legs that grow, shrink and grow -> all again, twice"""
    user = fleet.a_user()
    order = await fleet.accepted(user, type="limit", limit_price="100")
    bracket = await fleet.accepted(user, type="limit", limit_price="100", **BRACKET)
    profit, loss = ({"order_id": leg} for leg in bracket["legs"])
    told: Records = []

    async def tell(*reports: execution.AnyReport) -> None:
        told.append(reports)
        await fleet.report(user, *reports)

    def changed(
        of: dict[str, Any], quantity: int, cumulative: int = 0, code: str = "requested"
    ) -> execution.OrderReplaced:
        fleet.clock.advance(seconds=0.001)
        return execution.OrderReplaced(
            order_id=UUID(of["order_id"]),
            market_at=fleet.clock.now(),
            quantity=D(quantity),
            limit_price=None,
            cumulative_quantity=D(cumulative),
            code=code,
        )

    async def ask(**change: str) -> None:
        fleet.clock.advance(seconds=0.001)
        path = f"/api/v1/orders/{order['order_id']}"
        assert (await fleet.call("PATCH", path, change, user=user)).status == 202

    def refused() -> execution.OrderReplaceRejected:
        fleet.clock.advance(seconds=0.001)
        return execution.OrderReplaceRejected(
            order_id=UUID(order["order_id"]), market_at=fleet.clock.now(), code="no", detail="No."
        )

    for quantity in (12, 15):
        await ask(quantity=str(quantity))
        await tell(changed(order, quantity))
        await fleet.becomes(order, user, "new")
    await ask(limit_price="90")
    await tell(refused())
    await fleet.becomes(order, user, "new")
    await ask(quantity="20")
    grown = "parent_filled"
    await tell(fleet.filled(bracket, 4, 99), changed(profit, 4, code=grown), changed(loss, 4, code=grown))
    await tell(fleet.filled(profit, 1, 120, cumulative=1), changed(loss, 3, code="oco"))
    last = changed(loss, 7, code=grown)
    # One cause of its venue makes a leg larger more than once at one time.
    more = [changed(profit, quantity, 1, code=grown) for quantity in (6, 8)]
    more = [msgspec.structs.replace(each, market_at=last.market_at) for each in more]
    await tell(fleet.filled(bracket, 4, 99, cumulative=8), *more, last)
    sent = len(told)
    await eventually(partial(_applied, books, fleet, user, sent), timeout_s=30, what="all is applied")
    before = await _tables(books)
    assert (await fleet.shown(order, user))["status"] == "pending_replace"
    assert [(await fleet.shown(leg, user))["quantity"] for leg in (order, profit, loss)] == ["15", "8", "7"]
    for _ in range(2):
        for reports in told:
            await fleet.report(user, *reports)
        sent += len(told)
        await eventually(partial(_applied, books, fleet, user, sent), timeout_s=30, what="all is applied again")
        after = await _tables(books)
        assert [row for table in TABLES for row in set(after[table]) ^ set(before[table])] == []
    await tell(changed(order, 20))
    assert (await fleet.becomes(order, user, "new"))["quantity"] == "20"
    await fleet.books_hold()
