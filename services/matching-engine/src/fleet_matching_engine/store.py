"""The archive: orders that have ended, and fills, as rows."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from fleet_bus import Record
from fleet_chassis.database import Database, columns
from fleet_contracts.venue import PlaceVenueOrder, QueryVenueOpenOrders, QueryVenueOrders

from fleet_matching_engine.domain.orders import EndedOrder, Fill, OrderFill
from fleet_matching_engine.domain.venue import Venue
from fleet_matching_engine.events import trade_number

_ROWS_AT_ONCE: Final = 5_000
_FILL = "trade, quantity, price, cumulative, fee, is_maker, executed_at, market_at"
_KEEP_ORDERS = """
INSERT INTO ended_orders (venue_order_ref, account_id, symbol, stand, code, cumulative, kept_upto)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[])
ON CONFLICT DO NOTHING
"""
_KEEP_FILLS = f"""
INSERT INTO fills (symbol, venue_order_ref, account_id, {_FILL})
SELECT * FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                     $8::bigint[], $9::boolean[], $10::timestamptz[], $11::timestamptz[]) ON CONFLICT DO NOTHING
"""  # noqa: S608 (constants)
# What was kept for a snapshot that was never stored lies ahead of a machine that begins at the one before.
_ORDERS = """
SELECT venue_order_ref, account_id, symbol, stand, code, cumulative FROM ended_orders
WHERE venue_order_ref = ANY($1::uuid[]) AND kept_upto <= $2
"""
_FILLS_OF_ORDERS = f"""
SELECT venue_order_ref, {_FILL} FROM fills WHERE venue_order_ref = ANY($1::uuid[]) ORDER BY venue_order_ref, trade
"""  # noqa: S608 (constants)
_FILLS_SINCE = f"""
SELECT venue_order_ref, account_id, {_FILL} FROM fills WHERE symbol = $1 AND trade >= $2
ORDER BY trade, venue_order_ref LIMIT $3
"""  # noqa: S608 (constants)


class _Placed(msgspec.Struct):
    venue_order_ref: UUID


class _Queried(msgspec.Struct):
    venue_order_refs: tuple[UUID, ...]


class _Listed(msgspec.Struct):
    symbol: str
    since_trade_id: str | None
    most: int


class PostgresArchive:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def recall(self, machine: Any, records: Sequence[Record]) -> None:
        """One look for all the orders that are placed or asked for, unless nothing has been archived yet."""
        venue: Venue = machine.venue
        refs = {ref for record in records for ref in _refs(record) if ref.hex not in venue.ended}
        lists = [
            msgspec.json.decode(record.payload, type=_Listed)
            for record in records
            if record.payload is not None and record.type == QueryVenueOpenOrders.type_name()
        ]
        venue.recalled, venue.recalled_fills = {}, {}
        if not venue.archived_upto or not (refs or lists):
            return
        async with self._database.connection() as connection:
            rows = await connection.fetch(_ORDERS, list(refs), venue.archived_upto) if refs else []
            filled = [row["venue_order_ref"] for row in rows if row["cumulative"]]
            fills: dict[UUID, list[Fill]] = {}
            for ref, *values in await connection.fetch(_FILLS_OF_ORDERS, filled) if filled else []:
                fills.setdefault(ref, []).append(Fill(*values))
            for ref, account_id, symbol, stand, code, cumulative in rows:
                ended = EndedOrder(str(account_id), symbol, stand, code, cumulative, fills.get(ref, []))
                venue.recalled[ref.hex] = ended
            for asked in lists:
                if asked.since_trade_id is not None:
                    since = trade_number(asked.since_trade_id)
                    found = await connection.fetch(_FILLS_SINCE, asked.symbol, since, asked.most + 1)
                    venue.recalled_fills[asked.symbol, since, asked.most] = [
                        OrderFill(ref.hex, str(account_id), Fill(*values)) for ref, account_id, *values in found
                    ]

    async def keep(self, machine: Any, upto: int) -> None:
        venue: Venue = machine.venue
        ended = (
            (UUID(hex=ref), UUID(one.account_id), one.symbol, one.stand, one.code, one.cumulative, upto)
            for ref, one in venue.ended.items()
        )
        fills = (
            (symbol, UUID(hex=one.order_ref), UUID(one.account_id), *msgspec.structs.astuple(one.fill))
            for symbol, book in venue.books.items()
            for one in book.tape
        )
        for statement, width, rows in ((_KEEP_FILLS, 11, fills), (_KEEP_ORDERS, 7, ended)):
            for some in _pieces(rows):
                async with self._database.transaction() as connection:
                    await connection.execute(statement, *columns(some, width))
        venue.archived(upto)


def _refs(record: Record) -> tuple[UUID, ...]:
    if record.payload is None:
        return ()
    if record.type == PlaceVenueOrder.type_name():
        return (msgspec.json.decode(record.payload, type=_Placed).venue_order_ref,)
    if record.type == QueryVenueOrders.type_name():
        return msgspec.json.decode(record.payload, type=_Queried).venue_order_refs
    return ()


def _pieces(rows: Iterable[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    some: list[tuple[Any, ...]] = []
    for row in rows:
        some.append(row)
        if len(some) == _ROWS_AT_ONCE:
            yield some
            some = []
    if some:
        yield some
