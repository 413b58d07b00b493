"""What clients called their orders is kept for the order's life and 90 days."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from fleet_contracts import execution
from fleet_testkit.eventually import eventually

MANY = 1_100
"""More than two rounds of the walk."""
DUE = "SELECT count(*) FROM due WHERE kind = 'forget-client-order-ids' AND due_at <= $1"


@pytest_asyncio.fixture
async def aged(run_trading: Any) -> Any:
    """A fleet whose clock is right, as order ids tell their time."""
    async with run_trading() as fleet:
        fleet.clock.set(datetime.now(UTC))
        yield fleet


@pytest_asyncio.fixture
async def database(aged: Any) -> Any:
    connection = await asyncpg.connect(aged.settings.database_url.get_secret_value())
    yield connection
    await connection.close()


async def ended(fleet: Any, user: UUID, order: dict[str, Any]) -> None:
    canceled = execution.OrderCanceled(
        order_id=UUID(order["order_id"]),
        market_at=fleet.clock.now(),
        code="requested",
        detail="",
        cumulative_quantity=Decimal(0),
    )
    await fleet.report(user, canceled)
    await fleet.becomes(order, user, "canceled")


async def has_rested(fleet: Any, database: asyncpg.Connection) -> bool:
    return not await database.fetchval(DUE, fleet.clock.now())


@pytest.mark.long
async def test_a_client_order_id_is_kept_for_the_orders_life_and_90_days(aged: Any, database: Any) -> None:
    user = aged.a_user()
    terms = {"type": "limit", "limit_price": "50", "quantity": "1"}
    orders = {name: await aged.accepted(user, client_order_id=name, **terms) for name in ("short", "long", "open")}
    await ended(aged, user, orders["short"])
    denied = await aged.order(user, client_order_id="denied", quantity="1000000")
    assert denied.code == "insufficient_funds"

    async def known() -> set[str]:
        return {row[0] for row in await database.fetch("SELECT client_order_id FROM client_order_ids")}

    async def walked(*, days: float) -> None:
        """So much later, and all that was due by then has been looked at."""
        aged.clock.advance(seconds=days * 86_400)

        await eventually(lambda: has_rested(aged, database))

    everything = {"short", "long", "open", "denied"}
    await walked(days=60)
    await ended(aged, user, orders["long"])
    await walked(days=29)
    assert await known() == everything
    again = await aged.order(user, client_order_id="short", **terms)
    assert (again.status, again.body["order_id"]) == (201, orders["short"]["order_id"])

    await walked(days=9)
    assert await known() == {"long", "open"}
    fresh = await aged.order(user, client_order_id="short", **terms)
    assert (fresh.status, "Idempotent-Replayed" in fresh.headers) == (201, False)
    assert fresh.body["order_id"] != orders["short"]["order_id"]

    await walked(days=51)  # 149: the long one ended 89 days ago
    assert await known() == {"short", "long", "open"}
    await walked(days=2)
    assert await known() == {"short", "open"}
    await walked(days=400)
    assert await known() == {"short", "open"}
    again = await aged.order(user, client_order_id="open", **terms)
    assert again.body["order_id"] == orders["open"]["order_id"]


@pytest.mark.long
async def test_the_walk_goes_on_where_it_was_and_never_far_at_once(aged: Any, database: Any) -> None:
    user = aged.a_user()
    order = await aged.accepted(user, client_order_id="new")
    await eventually(lambda: has_rested(aged, database))
    columns = [
        row[0]
        for row in await database.fetch(
            "SELECT column_name::text FROM information_schema.columns WHERE table_name = 'orders'"
        )
    ]
    old = {
        "order_id": "uuidv7(-interval '200 days')",
        "client_order_id": "'old-' || n",
        "stand": "'canceled'",
        "updated_at": "updated_at - interval '199 days'",
        "reserved": "0",
    }
    copied = ", ".join(old.get(name, name) for name in columns)
    await database.execute(
        f"INSERT INTO orders ({', '.join(columns)}) SELECT {copied} FROM orders, generate_series(1, $1::int) AS n"
        " WHERE order_id = $2",
        MANY,
        order["order_id"],
    )
    await database.execute(
        "INSERT INTO client_order_ids SELECT account_id, client_order_id, order_id, '' FROM orders"
        " WHERE client_order_id LIKE 'old-%'"
    )
    left: list[int] = []

    async def forgotten() -> bool:
        if not await has_rested(aged, database):
            return False
        left.append(await database.fetchval("SELECT count(*) FROM client_order_ids"))
        aged.clock.advance(seconds=1 if len(left) > 1 else 3600)
        return left[-1] == 1

    await eventually(forgotten, timeout_s=30, what="only the new order's id is left")
    assert left[0] == MANY + 1
    assert max(before - after for before, after in pairwise(left)) == 500
    assert (await aged.order(user, client_order_id="new")).headers["Idempotent-Replayed"] == "true"
