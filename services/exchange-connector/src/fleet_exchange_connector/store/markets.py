"""The simulated market's row, and the lock of the feed."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import asyncpg
from fleet_bus import Transaction

from fleet_exchange_connector.domain.instruments import Instrument
from fleet_exchange_connector.domain.market import Market
from fleet_exchange_connector.domain.orders import KnownOrder
from fleet_exchange_connector.domain.prices import PriceState
from fleet_exchange_connector.store.books import KNOWN_COLUMNS, known_order

_COLUMNS = (
    *("first_minute", "minute", "step", "prices", "resumed_at", "is_paused", "rounds", "shown_at", "history_next"),
    "prices_before",
)
_READ = f"SELECT {', '.join(_COLUMNS)} FROM simulated_market"  # noqa: S608 (constants)
# Two questions that each batch of commands has, once its books are locked, in one round trip.
_READ_WITH_ORDERS = f"""
SELECT {", ".join(_COLUMNS)}, {", ".join(f"NULL AS {name}" for name in KNOWN_COLUMNS)} FROM simulated_market
UNION ALL SELECT {", ".join("NULL" for _ in _COLUMNS)}, {", ".join(KNOWN_COLUMNS)} FROM venue_orders
WHERE venue_order_ref = ANY($1::uuid[])
"""  # noqa: S608 (constants)
_OPEN = """
INSERT INTO simulated_market (first_minute, minute, step, prices, resumed_at, is_paused, rounds, shown_at, history_next,
    prices_before)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING RETURNING true
"""
_SAVE = """
UPDATE simulated_market SET first_minute = $1, minute = $2, step = $3, prices = $4, resumed_at = $5, is_paused = $6,
    rounds = $7, shown_at = $8, history_next = $9, prices_before = $10
"""
_FEED_LOCK = 0xEC_0001


class MarketRow:
    """Reads and writes the row; `seed` and `stretches` are settings of the process."""

    def __init__(self, instruments: Mapping[str, Instrument], *, seed: int, stretches: int) -> None:
        self._instruments = instruments
        self._seed = seed
        self._stretches = stretches

    async def read(self, connection: asyncpg.Connection, *, lock: bool = False) -> Market | None:
        row = await connection.fetchrow(_READ + (" FOR NO KEY UPDATE" if lock else ""))
        return None if row is None else self._market(row)

    async def read_with_orders(
        self, connection: asyncpg.Connection, refs: Sequence[UUID]
    ) -> tuple[Market | None, dict[UUID, KnownOrder]]:
        """The market as `read`, and those of these orders that there are."""
        rows = await connection.fetch(_READ_WITH_ORDERS, refs)
        markets = [self._market(row) for row in rows if row["venue_order_ref"] is None]
        orders = (known_order(row) for row in rows if row["venue_order_ref"] is not None)
        return (markets[0] if markets else None), {order.venue_order_ref: order for order in orders}

    def _market(self, row: asyncpg.Record) -> Market:
        fields = {name: row[name] for name in _COLUMNS}
        for name in ("prices", "prices_before"):
            fields[name] = row[name] and {symbol: PriceState(*found) for symbol, found in row[name].items()}
        return Market(instruments=self._instruments, seed=self._seed, stretches=self._stretches, **fields)

    async def open(self, connection: asyncpg.Connection, market: Market) -> bool:
        """Stores the market as it opens; False if it has been opened before."""
        return bool(await connection.fetchval(_OPEN, *_values(market)))

    def save(self, tx: Transaction, market: Market) -> None:
        tx.write(_SAVE, *_values(market))


async def take_feed(connection: asyncpg.Connection) -> int | None:
    """The feed's new epoch if this session has got the feed's lock; it keeps it until it ends."""
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _FEED_LOCK):
        return None
    epoch: int = await connection.fetchval("UPDATE feed_epoch SET epoch = epoch + 1 RETURNING epoch")
    return epoch


def _values(market: Market) -> tuple[Any, ...]:
    return (
        market.first_minute,
        market.minute,
        market.step,
        _row_of(market.prices),
        market.resumed_at,
        market.is_paused,
        market.rounds,
        market.shown_at,
        market.history_next,
        None if market.prices_before is None else _row_of(market.prices_before),
    )


def _row_of(prices: Mapping[str, PriceState]) -> dict[str, list[int]]:
    return {symbol: [state.micros, state.regime] for symbol, state in prices.items()}
