"""Comparisons with venues, doubts, and what venues said of themselves, in PostgreSQL."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import asyncpg
import msgspec
from fleet_bus import Transaction
from fleet_chassis.database import columns

from fleet_execution.domain import Filled, OrderKey
from fleet_execution.domain.reconciliation import Cause, Difference, Ending, Reconciliation
from fleet_execution.events import question, questions_about
from fleet_execution.ports import VenueState

from .unit import HOLD, PostgresUnitOfWork

VENUES = "venues"
"""The id that locks what all venues said of themselves, and with it their doubts and comparisons."""
ROUND = "reconcile"
"""The kind of the due rows that begin a round of questions to a venue."""
UNKNOWN = "unknown"
"""The kind of the due rows that say of which venue and symbol an order is not known here."""

_COLUMNS = """reconciliation_id, venue, symbol, cause, asked_at, since_trade_id, outcome, attempt, page, after_ref,
last_trade_id, open_differences, differences, ended_at, positions_after"""
_KEEP = f"""
INSERT INTO reconciliations ({_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
ON CONFLICT (reconciliation_id) DO UPDATE SET asked_at = excluded.asked_at, since_trade_id = excluded.since_trade_id,
outcome = excluded.outcome, attempt = excluded.attempt, page = excluded.page, after_ref = excluded.after_ref,
last_trade_id = excluded.last_trade_id, open_differences = excluded.open_differences,
differences = excluded.differences, ended_at = excluded.ended_at, positions_after = excluded.positions_after
"""  # noqa: S608 (constants)
_LOCK_VENUES = """
SELECT venue, is_connected, can_list, capabilities, heard_at FROM venues ORDER BY venue FOR NO KEY UPDATE
"""
_UNLIKE_FILLS = """
SELECT n.venue_order_ref, n.venue_trade_id
FROM unnest($1::uuid[], $2::text[], $3::numeric[], $4::numeric[], $5::numeric[])
    AS n (venue_order_ref, venue_trade_id, last_quantity, last_price, fee)
WHERE NOT EXISTS (SELECT FROM fills f WHERE f.venue_order_ref = n.venue_order_ref AND f.venue_trade_id = n.venue_trade_id
                  AND (f.last_quantity, f.last_price, f.fee) = (n.last_quantity, n.last_price, n.fee))
AND NOT EXISTS (SELECT FROM settled_fills p
                WHERE p.venue_order_ref = n.venue_order_ref AND p.venue_trade_id = n.venue_trade_id)
"""
_SETTLE_FILLS = """
INSERT INTO settled_fills (venue_order_ref, venue_trade_id) SELECT * FROM unnest($1::uuid[], $2::text[])
ON CONFLICT DO NOTHING
"""
_DOUBT = """
INSERT INTO doubts (venue, symbol, reason, since) VALUES ($1, $2, $3, $4)
ON CONFLICT (venue, symbol) DO UPDATE SET reason = excluded.reason
"""
_KEEP_STATE = """
INSERT INTO venues (venue, is_connected, can_list, capabilities, heard_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (venue) DO UPDATE SET is_connected = excluded.is_connected, can_list = excluded.can_list,
capabilities = excluded.capabilities, heard_at = excluded.heard_at
"""
_OPEN_ORDERS = """
SELECT order_id, account_id, user_id, symbol, venue, venue_order_ref FROM venue_orders
WHERE venue = $1 AND symbol = $2 AND ended_at IS NULL AND algo IS NULL AND created_at < $3
AND (leg IS NULL OR NOT (leg->>'is_held')::boolean) AND (trigger IS NULL OR triggered_at < $3)
AND venue_order_ref > $4 AND venue_order_ref <= $5
ORDER BY venue_order_ref LIMIT $6
"""

# From one symbol to the next by the index: DISTINCT reads all that is open, 0.8 s of 600,000 orders.
_NEXT_SYMBOL = """SELECT symbol FROM venue_orders WHERE venue = $1 AND symbol > {after} AND ended_at IS NULL AND algo IS NULL
    ORDER BY symbol LIMIT 1"""
OPEN_SYMBOLS = f"""
WITH RECURSIVE found AS (
    ({_NEXT_SYMBOL.format(after="''")})
    UNION ALL SELECT ({_NEXT_SYMBOL.format(after="found.symbol")}) FROM found WHERE found.symbol IS NOT NULL
)
SELECT symbol FROM found WHERE symbol IS NOT NULL
"""  # noqa: S608 (constants)

_POSITIONS = """
SELECT account_id, quantity FROM positions WHERE venue = $1 AND symbol = $2 AND account_id = ANY($3)
UNION (SELECT account_id, quantity FROM positions
       WHERE venue = $1 AND symbol = $2 AND account_id > $4 AND account_id <= $5 AND quantity <> 0
       ORDER BY account_id LIMIT $6)
"""


class ComparingPostgresUnitOfWork(PostgresUnitOfWork):
    """The venue orders of one transaction, and the comparisons that it takes part in."""

    def __init__(self, transaction: Transaction) -> None:
        super().__init__(transaction)
        self._reconciliations: dict[UUID, Reconciliation] = {}
        self._doubted: dict[tuple[str, str], str | None] = {}
        self._venue_states: dict[str, VenueState] | None = None
        self._told_venue_states: dict[str, VenueState] = {}

    async def lock(self, ids: Sequence[str]) -> None:
        """Before orders, and before the due rows that bring a round: whoever compares takes one way."""
        if VENUES in ids:
            await self._lock_venues()
        await super().lock([ref for ref in ids if ref != VENUES])

    async def _lock_venues(self) -> dict[str, VenueState]:
        """All at once and in one order, for a batch may speak of several."""
        if self._venue_states is None:
            rows = await self._tx.connection.fetch(_LOCK_VENUES)
            self._venue_states = {row[0]: VenueState(row[1], row[2], frozenset(row[3]), row[4]) for row in rows}
        return self._venue_states

    async def venue_state(self, venue: str) -> VenueState | None:
        return self._told_venue_states.get(venue) or (await self._lock_venues()).get(venue)

    def keep_venue_state(self, venue: str, state: VenueState) -> None:
        self._told_venue_states[venue] = state

    async def asked(self, venue: str, symbol: str) -> Reconciliation | None:
        row = await self._tx.connection.fetchrow(
            f"SELECT {_COLUMNS} FROM reconciliations WHERE venue = $1 AND symbol = $2 AND outcome = 'asked'"  # noqa: S608
            " ORDER BY asked_at DESC LIMIT 1 FOR UPDATE",
            venue,
            symbol,
        )
        if row is None:
            return None
        # What this transaction has made of it is newer than its row.
        return self._reconciliations.get(row["reconciliation_id"], _reconciliation(row))

    async def latest(self, venue: str, symbols: Iterable[str]) -> Mapping[str, Reconciliation]:
        # By the index, a row of each: DISTINCT ON reads all that there are, a day's.
        rows = await self._tx.connection.fetch(
            f"SELECT r.* FROM unnest($2::text[]) AS s (symbol) CROSS JOIN LATERAL (SELECT {_COLUMNS} FROM reconciliations"  # noqa: S608
            " WHERE venue = $1 AND symbol = s.symbol ORDER BY asked_at DESC LIMIT 1) r",
            venue,
            list(symbols),
        )
        return {row["symbol"]: _reconciliation(row) for row in rows}

    async def overlapping_trade_id(self, venue: str, symbol: str) -> str | None:
        found = await self._tx.connection.fetch(
            "SELECT last_trade_id FROM reconciliations WHERE venue = $1 AND symbol = $2"
            " AND outcome IN ('clean', 'mended') AND last_trade_id IS NOT NULL ORDER BY asked_at DESC LIMIT 2",
            venue,
            symbol,
        )
        return found[-1][0] if found else None

    async def unlike_fills(self, fills: Iterable[tuple[UUID, Filled]]) -> set[tuple[UUID, str]]:
        listed = [(ref, fill.venue_trade_id, fill.last_quantity, fill.last_price, fill.fee) for ref, fill in fills]
        rows = await self._tx.connection.fetch(_UNLIKE_FILLS, *columns(listed, 5))
        await self.lock([str(row[0]) for row in rows if row[0] not in self._orders])
        return {(row[0], row[1]) for row in rows}

    async def reconciliation(self, reconciliation_id: UUID) -> Reconciliation | None:
        row = await self._tx.connection.fetchrow(
            f"SELECT {_COLUMNS} FROM reconciliations WHERE reconciliation_id = $1",  # noqa: S608 (constants)
            reconciliation_id,
        )
        return None if row is None else _reconciliation(row)

    async def last_ended(self, venue: str, symbol: str) -> Reconciliation | None:
        row = await self._tx.connection.fetchrow(
            f"SELECT {_COLUMNS} FROM reconciliations WHERE venue = $1 AND symbol = $2 AND outcome <> 'asked'"  # noqa: S608
            " ORDER BY asked_at DESC LIMIT 1",
            venue,
            symbol,
        )
        return None if row is None else _reconciliation(row)

    def hold(self, venue: str, symbol: str, account_id: UUID, more: Decimal) -> None:
        self._tx.write(HOLD, [venue], [symbol], [account_id], [more])

    def settle(self, fills: Sequence[tuple[UUID, str]]) -> None:
        self._tx.write(_SETTLE_FILLS, *columns(fills, 2))

    def keep_reconciliation(self, reconciliation: Reconciliation) -> None:
        self._reconciliations[reconciliation.reconciliation_id] = reconciliation

    async def open_orders(
        self, venue: str, symbol: str, *, before: datetime, after: UUID | None, upto: UUID | None, limit: int
    ) -> Sequence[OrderKey]:
        bounds = after or UUID(int=0), upto or UUID(int=2**128 - 1)
        rows = await self._tx.connection.fetch(_OPEN_ORDERS, venue, symbol, before, *bounds, limit)
        return [OrderKey(*row) for row in rows]

    async def positions(
        self, venue: str, symbol: str, *, of: Iterable[UUID], after: UUID | None, upto: UUID | None, limit: int
    ) -> Mapping[UUID, Decimal]:
        bounds = after or UUID(int=0), upto or UUID(int=2**128 - 1)
        wanted = set(of)
        # What this transaction has learnt is not in the rows yet.
        learnt = {
            account_id: quantity
            for (*where, account_id), quantity in self.filled().items()
            if where == [venue, symbol] and (account_id in wanted or bounds[0] < account_id <= bounds[1])
        }
        rows = await self._tx.connection.fetch(_POSITIONS, venue, symbol, list(wanted | learnt.keys()), *bounds, limit)
        found: dict[UUID, Decimal] = {row[0]: row[1] for row in rows}
        for account_id, quantity in learnt.items():
            found[account_id] = found.get(account_id, Decimal(0)) + quantity
        return found

    async def open_symbols(self, venue: str) -> set[str]:
        rows = await self._tx.connection.fetch(OPEN_SYMBOLS, venue)
        return {row[0] for row in rows}

    async def doubts(self, venue: str) -> Mapping[str, datetime]:
        rows = await self._tx.connection.fetch("SELECT symbol, since FROM doubts WHERE venue = $1", venue)
        return {row[0]: row[1] for row in rows}

    def doubt(self, venue: str, symbol: str, reason: str) -> None:
        self._doubted[(venue, symbol)] = reason

    def trust(self, venue: str, symbol: str) -> None:
        self._doubted[(venue, symbol)] = None

    def ask(self, reconciliation: Reconciliation) -> None:
        self._tx.publish(*question(reconciliation))

    def ask_about(self, keys: Iterable[OrderKey]) -> None:
        for said in questions_about(keys):
            self._tx.publish(*said)

    def look_again(self, venue: str, at: datetime) -> None:
        self._tx.schedule(ROUND, venue, 0, "wall", at)

    def look_at_unknown(self, venue: str, symbol: str) -> None:
        self._tx.schedule(UNKNOWN, f"{venue} {symbol}", 0, "wall", self.now)

    async def flush(self) -> None:
        await super().flush()
        for venue, state in sorted(self._told_venue_states.items()):
            said = state.is_connected, state.can_list, sorted(state.capabilities)
            self._tx.write(_KEEP_STATE, venue, *said, state.heard_at)
        for r in self._reconciliations.values():
            self._tx.write(_KEEP, *_row(r))
        for (venue, symbol), reason in self._doubted.items():
            if reason is None:
                self._tx.write("DELETE FROM doubts WHERE venue = $1 AND symbol = $2", venue, symbol)
            else:
                self._tx.write(_DOUBT, venue, symbol, reason, self.now)


ComparingUnit = Callable[[Transaction], ComparingPostgresUnitOfWork]


async def reconciliations_page(
    connection: asyncpg.Connection,
    *,
    venue: str | None,
    symbol: str | None,
    outcome: Ending | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[Reconciliation]:
    """Newest first."""
    rows = await connection.fetch(
        f"SELECT {_COLUMNS} FROM reconciliations WHERE ($1::text IS NULL OR venue = $1)"  # noqa: S608
        " AND ($2::text IS NULL OR symbol = $2) AND ($3::text IS NULL OR outcome = $3)"
        " AND ($4::timestamptz IS NULL OR (asked_at, reconciliation_id) < ($4, $5))"
        " ORDER BY asked_at DESC, reconciliation_id DESC LIMIT $6",
        *(venue, symbol, outcome),
        *(before or (None, None)),
        limit,
    )
    return [_reconciliation(row) for row in rows]


async def unresolved_now(connection: asyncpg.Connection) -> list[tuple[datetime, Reconciliation]]:
    """What has left something, of the symbols in doubt, with since when they are; by venue and symbol."""
    rows = await connection.fetch(
        f"SELECT d.since, r.* FROM doubts d CROSS JOIN LATERAL (SELECT {_COLUMNS} FROM reconciliations r"  # noqa: S608
        " WHERE r.venue = d.venue AND r.symbol = d.symbol AND r.outcome <> 'asked' ORDER BY r.asked_at DESC LIMIT 1) r"
        " WHERE r.outcome = 'unresolved' ORDER BY d.venue, d.symbol"
    )
    return [(row["since"], _reconciliation(row)) for row in rows]


def _reconciliation(row: asyncpg.Record) -> Reconciliation:
    return Reconciliation(
        reconciliation_id=row["reconciliation_id"],
        venue=row["venue"],
        symbol=row["symbol"],
        cause=Cause(row["cause"]),
        asked_at=row["asked_at"],
        since_trade_id=row["since_trade_id"],
        outcome=Ending(row["outcome"]),
        attempt=row["attempt"],
        page=row["page"],
        after=row["after_ref"],
        last_trade_id=row["last_trade_id"],
        open_differences=row["open_differences"],
        differences=msgspec.convert(row["differences"], tuple[Difference, ...]),
        ended_at=row["ended_at"],
        positions_after=row["positions_after"],
    )


def _row(r: Reconciliation) -> tuple[object, ...]:
    return (
        *(r.reconciliation_id, r.venue, r.symbol, r.cause.value, r.asked_at, r.since_trade_id, r.outcome.value),
        *(r.attempt, r.page, r.after, r.last_trade_id, r.open_differences, r.differences, r.ended_at),
        r.positions_after,
    )
