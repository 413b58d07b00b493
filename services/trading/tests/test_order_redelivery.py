"""All that execution ever reported, delivered again: nothing moves."""

import random
from collections.abc import AsyncIterator
from decimal import Decimal as D
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
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
        (busted[1],),
    ]


@pytest_asyncio.fixture(loop_scope="session")
async def books(fleet: Any) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(fleet.settings.database_url.get_secret_value())
    yield connection
    await connection.close()


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
            await eventually(partial(applied, user), timeout_s=30, what="all is applied")

    async def applied(user: UUID) -> bool:
        reached = await books.fetchval(
            "SELECT sequence FROM inbox_positions WHERE topic LIKE '%' || $1 AND key = $2",
            EXECUTION_REPORTS.name,
            str(fleet.account_of(user)),
        )
        return bool(reached == sent[user])

    async def tables() -> dict[str, list[str]]:
        await eventually(nothing_is_leaving, timeout_s=30, what="the outbox is empty")
        return {
            table: [row[0] for row in await books.fetch(f"SELECT t::text FROM {table} AS t ORDER BY 1")]
            for table in TABLES
        }

    async def nothing_is_leaving() -> bool:
        return not await books.fetchval("SELECT count(*) FROM outbox")

    await deliver(random.Random(1))
    before = await tables()
    assert len(before["trades"]) == 3 * 9
    assert before["parked"] == []
    for seed in (2, 3):
        await deliver(random.Random(seed))
        after = await tables()
        assert [row for table in TABLES for row in set(after[table]) ^ set(before[table])] == []
        assert after == before
    await fleet.books_hold()
