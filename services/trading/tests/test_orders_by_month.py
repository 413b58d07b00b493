"""The table of orders lies in months, and each month is there before it comes."""

import asyncio
import shutil
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import fleet_bus
import fleet_gate
import fleet_trading
import pytest
from fleet_chassis.ids import first_id_of
from fleet_chassis.migrations import migrate
from fleet_testkit.eventually import eventually
from fleet_trading.store.reading import LEDGER, ORDERS, TRADES

FOLDERS = [Path(fleet_bus.__file__).parent / "migrations", Path(fleet_gate.__file__).parent / "migrations"]
TRADING = Path(fleet_trading.__file__).parents[2] / "migrations"
PARTS = """
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'orders'::regclass ORDER BY 2
"""
AN_ORDER = """
INSERT INTO orders SELECT $1::uuid, $1::uuid::text, $2::uuid, $2::uuid, NULL, NULL, NULL, 'AAPL/USD', 'AAPL', 'USD', 'buy',
    'market', 1, NULL, 105, 0.001, 'gtc', 'paper', now(), now(), now(), 'filled', 'none', true, 1, 100, 0.1, 0,
    NULL, NULL, 3, NULL, 0
"""


async def test_the_migration_keeps_every_order(make_database: Any, tmp_path: Path) -> None:
    before = tmp_path / "trading" / "migrations"
    before.mkdir(parents=True)
    for file in TRADING.glob("*.sql"):
        if file.name < "0015":
            shutil.copy(file, before)
    url = await make_database([*FOLDERS, before])
    connection = await asyncpg.connect(url)
    try:
        now = datetime.now(UTC)
        ages = [timedelta(days=days) for days in (-400, -40, 0, 25, 70, 4000)]
        ids = [
            UUID(int=0),
            *(first_id_of(now + age) for age in ages),
            *(uuid4() for _ in range(20)),
            UUID(int=2**128 - 1),
        ]
        await connection.executemany(AN_ORDER, [(order_id, uuid4()) for order_id in ids])
        rows = await connection.fetch("SELECT * FROM orders ORDER BY order_id")
        await migrate(url, [*FOLDERS, TRADING])
        assert await connection.fetch("SELECT * FROM orders ORDER BY order_id") == rows
        assert [row["order_id"] for row in rows] == sorted(ids)
    finally:
        await connection.close()


@pytest.mark.long
async def test_months_are_made_before_they_come_and_take_in_what_came_before_them(run_trading: Any) -> None:
    async with run_trading() as fleet:
        fleet.clock.set(datetime.now(UTC))
        connection = await asyncpg.connect(fleet.settings.database_url.get_secret_value())
        try:
            user = fleet.a_user()
            kept = await fleet.accepted(user)

            async def is_ahead() -> bool:
                """The month after the one that runs has come to be."""
                names = [row[0] for row in await connection.fetch(PARTS)]
                return f"orders_{fleet.clock.now() + timedelta(days=31):%Y_%m}" in names

            await eventually(is_ahead, what="next month is there")
            # For months no process ran, and orders came all the same.
            missing = [first_id_of(fleet.clock.now() + timedelta(days=days)) for days in (70, 100, 130)]
            await connection.executemany(AN_ORDER, [(order_id, fleet.account_of(user)) for order_id in missing])
            assert await connection.fetchval("SELECT count(*) FROM orders_beyond") == 3
            ordering = asyncio.gather(*(fleet.order(user, quantity="1") for _ in range(20)))
            fleet.clock.advance(seconds=120 * 86_400)
            await eventually(is_ahead, timeout_s=20, what="the months that were missing are there")
            assert {reply.status for reply in await ordering} == {201}
            assert await connection.fetchval("SELECT count(*) FROM orders_beyond") == 0
            found = {row[0] for row in await connection.fetch("SELECT order_id FROM orders")}
            assert {UUID(kept["order_id"]), *missing} <= found
            assert len(found) == 24
            bounds = [row[1].removeprefix("FOR VALUES FROM ").split(" TO ") for row in await connection.fetch(PARTS)]
            bounds.sort(key=lambda bound: "" if "MINVALUE" in bound[0] else bound[0])
            assert all(before[1] == after[0] for before, after in pairwise(bounds))
            assert (bounds[0][0], bounds[-1][1]) == ("(MINVALUE)", "(MAXVALUE)")
        finally:
            await connection.close()


async def test_pages_keep_to_their_index_with_any_values(make_database: Any) -> None:
    """The plan for any values is the one that trading asks for: nothing else must come of any statement."""
    connection = await asyncpg.connect(await make_database("trading"))
    busy = uuid4()
    try:
        await connection.execute(
            """
            INSERT INTO orders SELECT uuidv7(n * interval '5 minutes'), 'c' || n, account, account, NULL, NULL, NULL,
                'S' || hashint8(n) % 20 || '/USD', 'S', 'USD', 'buy', 'market', 1, NULL, 105, 0.001, 'gtc', 'paper', now(),
                now(), now(), CASE WHEN n % 100 = 0 THEN 'new' ELSE 'filled' END, 'none', true, 1, 100, 0.1, 0, NULL,
                NULL, 3, NULL, 0
            FROM generate_series(1, 20000) AS n, LATERAL (
                SELECT CASE WHEN n % 2 = 0 THEN $1::uuid ELSE md5((n % 50)::text)::uuid END AS account) AS whose
            """,
            busy,
        )
        await connection.execute(
            """
            INSERT INTO trades SELECT account_id, row_number() OVER (PARTITION BY account_id ORDER BY order_id), order_id,
                order_id, symbol, side, 1, 100, 0, 'USD', 'taker', 'paper', '1', now(), now(), 1 FROM orders
            """
        )
        await connection.execute(
            """
            INSERT INTO entries SELECT account_id, trade_no, trade_id, 'client', 'trade', 'USD', 1, 1, '', now(), now(), now()
            FROM trades
            """
        )
        await connection.execute(
            "ANALYZE orders; ANALYZE trades; ANALYZE entries; SET plan_cache_mode = force_generic_plan"
        )

        async def plan(query: str, *values: object) -> str:
            await connection.execute(f"PREPARE page AS {query}")
            asked = ", ".join(f"'{value}'" for value in values)
            lines = await connection.fetch(f"EXPLAIN EXECUTE page ({asked})")
            await connection.execute("DEALLOCATE page")
            return "\n".join(line for (line,) in lines)

        for (status, has_symbol), query in ORDERS.items():
            found = await plan(
                query, busy, busy, UUID(int=0), UUID(int=2**128 - 1), 101, *(["S1/USD"] if has_symbol else [])
            )
            assert not any(word in found for word in ("Seq Scan", "Sort", "Merge")), (status, has_symbol, found)
            assert "of_symbol" not in found or has_symbol
            conditions = [line for line in found.splitlines() if "Index Cond" in line]
            assert all("account_id = $1" in condition for condition in conditions), found
            assert all(("symbol = $6" in condition) == has_symbol for condition in conditions) or status == "open", (
                found
            )
        for (has_symbol, has_order), query in TRADES.items():
            asked = (busy, 10**9, 101, *(["S1/USD"] if has_symbol else []), *([uuid4()] if has_order else []))
            found = await plan(query, *asked)
            assert "Seq Scan" not in found, found
            index = "trades_of_order" if has_order else "trades_of_symbol" if has_symbol else "trades_pkey"
            assert index in found, found
            assert has_order or "Sort" not in found, found
        found = await plan(LEDGER, busy, 10**9, 101)
        assert "Index Scan Backward using entries_pkey" in found, found
    finally:
        await connection.close()
