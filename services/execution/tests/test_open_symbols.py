"""In which symbols anything is open at a venue: asked of it every few seconds, however much is open there."""

import json

from fleet_chassis.database import Database
from fleet_execution.store.comparing import OPEN_SYMBOLS
from fleet_testkit.fixtures import MakeDatabase

_ORDERS = """
INSERT INTO venue_orders (venue_order_ref, order_id, account_id, user_id, symbol, venue, side, order_type, quantity,
    time_in_force, command_sequence, stand, cumulative_quantity, is_cancel_pending, market_at, created_at, updated_at,
    ended_at)
SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), $1, $2, 'buy', 'limit', 1, 'gtc', 1,
    'working', 0, false, now(), now(), now(), CASE WHEN $4::boolean THEN NULL ELSE now() END
FROM generate_series(1, $3)
"""


async def test_open_symbols_are_found_without_reading_what_is_open(make_database: MakeDatabase) -> None:
    url = await make_database("execution")
    async with Database(url, application_name="test") as database, database.connection() as connection:
        for symbol, venue, count, is_open in (
            ("AAPL/USD", "paper", 3_000, True),
            ("BTC/USD", "paper", 1, True),
            ("ETH/USD", "paper", 2_000, False),
            ("FB/USD", "internal", 1, True),
            ("MSFT/USD", "paper", 3_000, True),
        ):
            await connection.execute(_ORDERS, symbol, venue, count, is_open)
        await connection.execute("ANALYZE venue_orders")
        found = await connection.fetch(OPEN_SYMBOLS, "paper")
        assert sorted(row[0] for row in found) == ["AAPL/USD", "BTC/USD", "MSFT/USD"]
        assert await connection.fetch(OPEN_SYMBOLS, "elsewhere") == []
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {OPEN_SYMBOLS}".replace("$1", "'paper'")
        (plan,) = json.loads(await connection.fetchval(explain))
        assert plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"] < 50
