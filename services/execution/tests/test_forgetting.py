"""What ended 90 days ago goes, with its fills; what is open, or hangs together with what is, stays."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest_asyncio
from fleet_bus import Bus, Due
from fleet_chassis.database import Database
from fleet_contracts.trading import SubmitOrder
from fleet_execution.domain import OrderKey, Stand, Terms, submit
from fleet_execution.store.forgetting import BATCH, FORGET, forget
from fleet_execution.store.unit import PostgresUnitOfWork
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually
from fleet_testkit.peers import Process
from msgspec.structs import replace
from pydantic import SecretStr

_OLD = {
    "venue_order_ref": "gen_random_uuid()",
    "order_id": "uuidv7(-interval '200 days')",
    "stand": "'canceled'",
    "ended_at": "now() - interval '91 days'",
    "code": "'old'",
}


@pytest_asyncio.fixture(loop_scope="session")
async def database(execution_service: Any) -> Any:
    url: SecretStr = execution_service.settings.database_url
    async with Database(url, application_name="test") as database, database.connection() as connection:
        yield connection


async def copy(database: Any, order: SubmitOrder, number: int, **changed: str) -> None:
    """So many rows like the order's, which differ in this."""
    columns = [
        row[0]
        for row in await database.fetch(
            "SELECT column_name::text FROM information_schema.columns WHERE table_name = 'venue_orders'"
        )
    ]
    fields = ", ".join((_OLD | changed).get(name, name) for name in columns)
    await database.execute(
        f"INSERT INTO venue_orders ({', '.join(columns)}) SELECT {fields} FROM venue_orders, generate_series(1, $1::int)"
        " WHERE order_id = $2",
        number,
        order.order_id,
    )


async def test_what_is_over_for_90_days_is_forgotten(
    execution_service: Any, an_order: SubmitOrder, database: Any
) -> None:
    service = execution_service
    await service.placed(an_order)
    group, part = "'00000000-0000-7000-8000-000000000001'::uuid", "'00000000-0000-7000-8000-000000000002'::uuid"
    await copy(database, an_order, BATCH + 7)
    await database.execute(
        "INSERT INTO fills SELECT venue_order_ref, 't', 1, 1, 1, 1, 0, 'USD', 'maker', now(), now() FROM venue_orders"
        " WHERE code = 'old'"
    )
    await copy(database, an_order, 1, code="'recent'", ended_at="now() - interval '89 days'")
    await copy(database, an_order, 1, code="'in a group'", group_ref=group)
    await copy(database, an_order, 1, code="'its open leg'", group_ref=group, ended_at="NULL")
    await copy(database, an_order, 1, code="'a part'", order_id=part)
    await copy(database, an_order, 1, code="'its open order'", order_id=part, ended_at="NULL")
    await database.execute(
        "INSERT INTO never_sent SELECT gen_random_uuid(), gen_random_uuid(), account_id, now() - n * interval '80 days'"
        " FROM venue_orders, generate_series(1, 2) n WHERE order_id = $1",
        an_order.order_id,
    )

    async def left() -> set[str]:
        service.clock.advance(seconds=1800)
        return {row[0] for row in await database.fetch("SELECT coalesce(code, 'new') FROM venue_orders")}

    stays = {"new", "recent", "in a group", "its open leg", "a part", "its open order"}

    async def is_forgotten() -> bool:
        return await left() == stays

    await eventually(is_forgotten)
    assert await database.fetchval("SELECT count(*) FROM fills") == 0
    assert await database.fetchval("SELECT count(*) FROM never_sent") == 1


NOW = datetime(2026, 1, 5, 15, tzinfo=UTC)


async def test_of_comparisons_stays_what_tells_something_or_is_needed(kafka: Any, make_database: Any) -> None:
    """hours ago and outcome, in order; those with a fill say from where on to ask → who is left"""
    symbols = {
        # A doubt that lasts: the last of it is what is left to do.
        "A/USD": ([(2_300, "clean t1"), (50, "clean t2"), (49, "unresolved"), (48, "unresolved"), (25, "unresolved")])
    } | {
        # Settled by the venue's word, and gone by itself: shown for 90 days, and then no more.
        "B/USD": [(2_300, "unresolved"), (2_200, "accepted"), (2_100, "unresolved"), (2_000, "mended"), (47, "clean")],
        # No fill for long: of what found nothing the last alone.
        "C/USD": [(30, "clean"), (29, "unanswered"), (28, "clean"), (0, "asked")],
    }
    async with Database(await make_database("execution"), application_name="test") as database:
        bus = Bus(Process("execution", kafka.url, kafka.unique("t") + "."), database, clock=FakeClock(NOW))
        async with bus.transaction() as tx:
            for symbol, comparisons in symbols.items():
                for hours, said in comparisons:
                    outcome, *fill = said.split()
                    await tx.connection.execute(
                        "INSERT INTO reconciliations (reconciliation_id, venue, symbol, cause, asked_at, outcome, attempt,"
                        " page, last_trade_id, open_differences, differences)"
                        " VALUES (gen_random_uuid(), 'paper', $1, 'continuous', $2, $3, 1, 0, $4, 0, '[]')",
                        *(symbol, NOW - timedelta(hours=hours), outcome, fill[0] if fill else None),
                    )
        async with bus.transaction() as tx:
            await forget(tx, Due(FORGET, "execution", 0, NOW))
        async with bus.transaction() as tx:
            rows = await tx.connection.fetch("SELECT symbol, asked_at FROM reconciliations ORDER BY symbol, asked_at")
    left: dict[str, list[int]] = {}
    for symbol, asked_at in rows:
        left.setdefault(symbol, []).append(int((NOW - asked_at) / timedelta(hours=1)))
    assert left == {"A/USD": [2_300, 50, 25], "B/USD": [2_100, 2_000, 47], "C/USD": [28, 0]}


async def test_comparisons_are_forgotten_when_no_more_orders_are_and_a_batch_at_a_time(
    kafka: Any, make_database: Any
) -> None:
    """a batch of orders → no comparison yet; then a batch of comparisons, then the rest; a second between them"""
    old = NOW - timedelta(days=91)
    terms = Terms("buy", "limit", Decimal(10), Decimal(100), None, "gtc", None)
    async with Database(await make_database("execution"), application_name="test") as database:
        bus = Bus(Process("execution", kafka.url, kafka.unique("t") + "."), database, clock=FakeClock(NOW))
        async with bus.transaction() as tx:
            uow = PostgresUnitOfWork(tx)
            for number in range(BATCH):
                key = OrderKey.of(UUID(int=number), uuid4(), uuid4(), "A/USD", "paper")
                order, _ = submit(key, terms, command_sequence=1, market_at=old, now=old, refusal=None)
                uow.save(replace(order, stand=Stand.CANCELED, ended_at=old))
            await uow.flush()
            await tx.connection.execute(
                "INSERT INTO reconciliations (reconciliation_id, venue, symbol, cause, asked_at, outcome, attempt, page,"
                " open_differences, differences) SELECT gen_random_uuid(), 'paper', 'A/USD', 'continuous',"
                " $1::timestamptz + n * interval '1 minute', 'clean', 1, 0, 0, '[]' FROM generate_series(1, $2::int) n",
                *(old, BATCH + 7),
            )
        seen: list[Any] = []
        for _ in range(3):
            async with bus.transaction() as tx:
                await forget(tx, Due(FORGET, "execution", 0, NOW))
            async with bus.transaction() as tx:
                seen += await tx.connection.fetch(
                    "SELECT (SELECT count(*) FROM venue_orders), (SELECT count(*) FROM reconciliations), due_at - $2"
                    " FROM due WHERE kind = $1",
                    *(FORGET, NOW),
                )
    second, hour = timedelta(seconds=1), timedelta(hours=1)
    assert [tuple(row) for row in seen] == [(0, BATCH + 7, second), (0, 7, second), (0, 1, hour)]
