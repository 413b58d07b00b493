"""Venue orders and fills in PostgreSQL."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from fleet_bus import Transaction
from fleet_chassis.ids import parse_ids
from msgspec.structs import replace

from fleet_execution.domain import NO_CONDITIONS, Conditions, Filled, Leg, OrderKey, Stand, Terms, Trigger, VenueOrder
from fleet_execution.domain.fills import totals
from fleet_execution.domain.groups import Group
from fleet_execution.domain.twap import Twap
from fleet_execution.events import messages
from fleet_execution.ports import Told

_KEY = "order_id, account_id, user_id, symbol, venue, venue_order_ref"
_TERMS = "side, order_type, quantity, limit_price, protection_price, time_in_force, send_by"
_COURSE = (
    "market_at, created_at, updated_at, cumulative_quantity, is_cancel_pending, code, detail, accepted_at, ended_at,"
    " triggered_at"
)
_DOCUMENTS = "conditions, algo, leg, trigger"
_SELECT = f"SELECT {_KEY}, {_TERMS}, command_sequence, stand, {_COURSE}, parent_ref, group_ref, {_DOCUMENTS} FROM venue_orders"  # noqa: S608 (constants)
_FACTS = (
    "quantity, limit_price, conditions, algo, stand, cumulative_quantity, is_cancel_pending, code, detail, accepted_at, ended_at,"
    " triggered_at, trigger, updated_at"
)
_COLUMNS = (
    "order_id, account_id, user_id, symbol, venue, side, order_type, protection_price,"
    " time_in_force, send_by, command_sequence, market_at, created_at, parent_ref, group_ref, leg, " + _FACTS
)
# What an order is a child of never changes, so it is read without a lock.
_FIRST_OF = (
    "venue_order_ref = ANY(ARRAY("
    "SELECT coalesce(group_ref, parent_ref, venue_order_ref) FROM venue_orders WHERE venue_order_ref = ANY($1)))"
)
_SELECT_FILLS = """
SELECT venue_order_ref, market_at, venue_trade_id, last_quantity, last_price, cumulative_quantity, fee, fee_currency,
       liquidity, executed_at, revision
FROM fills WHERE venue_order_ref = ANY($1) ORDER BY venue_order_ref, number
"""
_INSERT = f"""
INSERT INTO venue_orders (venue_order_ref, {_COLUMNS})
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[],
    $9::numeric[], $10::text[], $11::timestamptz[], $12::bigint[], $13::timestamptz[], $14::timestamptz[], $15::uuid[],
    $16::uuid[], $17::jsonb[], $18::numeric[], $19::numeric[], $20::jsonb[], $21::jsonb[], $22::text[], $23::numeric[],
    $24::boolean[], $25::text[], $26::text[], $27::timestamptz[], $28::timestamptz[], $29::timestamptz[],
    $30::jsonb[], $31::timestamptz[])
"""  # noqa: S608 (constants)
_UPDATE = f"""
UPDATE venue_orders SET ({_FACTS}) = (n.quantity, n.limit_price, n.conditions, n.algo, n.stand, n.cumulative_quantity,
    n.is_cancel_pending, n.code, n.detail, n.accepted_at, n.ended_at, n.triggered_at, n.trigger, n.updated_at)
FROM unnest($1::uuid[], $2::numeric[], $3::numeric[], $4::jsonb[], $5::jsonb[], $6::text[], $7::numeric[],
    $8::boolean[], $9::text[], $10::text[], $11::timestamptz[], $12::timestamptz[], $13::timestamptz[],
    $14::jsonb[], $15::timestamptz[]) AS n (venue_order_ref, {_FACTS})
WHERE venue_orders.venue_order_ref = n.venue_order_ref
"""  # noqa: S608 (constants)
_INSERT_FILLS = """
INSERT INTO fills (venue_order_ref, number, venue_trade_id, last_quantity, last_price, cumulative_quantity, fee,
    fee_currency, liquidity, executed_at, market_at, revision)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::numeric[], $5::numeric[], $6::numeric[], $7::numeric[],
    $8::text[], $9::text[], $10::timestamptz[], $11::timestamptz[], $12::int[])
"""
_CORRECT_FILLS = """
UPDATE fills f SET last_quantity = n.last_quantity, last_price = n.last_price, cumulative_quantity = n.cumulative_quantity,
    fee = n.fee, market_at = n.market_at, revision = n.revision
FROM unnest($1::uuid[], $2::text[], $3::numeric[], $4::numeric[], $5::numeric[], $6::numeric[], $7::timestamptz[], $8::int[])
    AS n (venue_order_ref, venue_trade_id, last_quantity, last_price, cumulative_quantity, fee, market_at, revision)
WHERE f.venue_order_ref = n.venue_order_ref AND f.venue_trade_id = n.venue_trade_id
"""
HOLD = """
INSERT INTO positions (venue, symbol, account_id, quantity)
SELECT * FROM unnest($1::text[], $2::text[], $3::uuid[], $4::numeric[])
ON CONFLICT (venue, symbol, account_id) DO UPDATE SET quantity = positions.quantity + excluded.quantity
"""
_ACCEPTING = 0xEC_0003
"""The lock of who takes new orders, together; who cuts off what came before a deadline waits for all of them to end."""
# In one go: a new order asks all of it, and doubts and venues are few.
_OF_NEW_ORDERS = f"""
SELECT venue_order_ref, true AS is_there, NULL AS venue, NULL AS symbol, NULL::text[] AS capabilities FROM venue_orders
WHERE venue_order_ref = ANY($1)
UNION ALL SELECT venue_order_ref, false, NULL, NULL, NULL FROM never_sent WHERE venue_order_ref = ANY($1)
UNION ALL SELECT NULL, NULL, venue, symbol, NULL FROM doubts
UNION ALL SELECT NULL, NULL, venue, NULL, capabilities FROM venues
UNION ALL SELECT NULL, NULL, NULL, NULL, NULL FROM pg_advisory_xact_lock_shared({_ACCEPTING})
"""  # noqa: S608 (constants)


_HELD_UNTIL = """
SELECT venue_order_ref FROM venue_orders o JOIN unnest($1::uuid[], $2::timestamptz[]) AS d (account_id, at) USING (account_id)
WHERE o.ended_at IS NULL AND (o.algo IS NOT NULL OR o.leg IS NOT NULL OR o.trigger IS NOT NULL)
AND NOT o.is_cancel_pending AND o.created_at <= d.at ORDER BY o.created_at
"""


NEW = "new:"
"""Before the reference of a venue order that a command wants made."""
STEP = "algo"
"""The kind of the due rows that bring the next step of an order that is worked by an algorithm."""


class PostgresUnitOfWork:
    """The venue orders of one transaction: read under lock at its beginning, written together at its end."""

    def __init__(self, transaction: Transaction) -> None:
        self._tx = transaction
        self._orders: dict[UUID, VenueOrder] = {}
        self._stored: dict[UUID, VenueOrder] = {}
        self._whole: set[UUID] = set()
        self._never_sent: set[UUID] = set()
        self._doubts: set[tuple[str, str]] = set()
        self._capabilities: dict[str, frozenset[str]] = {}
        self._groups: dict[UUID, set[UUID]] = {}
        self._newly_never_sent: dict[UUID, OrderKey] = {}

    @property
    def now(self) -> datetime:
        return self._tx.now

    async def lock(self, ids: Sequence[str]) -> None:
        """Reads these venue orders (by ref) under lock, and which of the others we called never sent.

        Of those marked NEW there is hardly ever one: they are looked for together with what a new order asks."""
        refs = set(parse_ids([ref for ref in ids if not ref.startswith(NEW)]))
        new = set(parse_ids([ref.removeprefix(NEW) for ref in ids if ref.startswith(NEW)]))
        if new:
            refs |= await self._ask_of_new(new)
        if refs:
            await self._lock_families(refs)
        missing = refs - new - self._orders.keys()
        if missing:
            await self._ask_of_new(missing)

    async def _lock_families(self, refs: set[UUID]) -> None:
        """Of orders that hang together first the one that brought the others, or is worked in them: whoever holds it is alone
        with its family, so in what order the rest is locked does not matter."""
        await self._lock_more(_FIRST_OF, list(refs))
        if self._groups:
            await self._lock_more("group_ref = ANY($1)", list(self._groups))
        if parts := refs - self._orders.keys():
            await self._lock_more("venue_order_ref = ANY($1)", list(parts))

    async def _ask_of_new(self, refs: set[UUID]) -> set[UUID]:
        """What decides about new orders; those of them that are there."""
        there: set[UUID] = set()
        for ref, is_there, venue, symbol, capabilities in await self._tx.connection.fetch(_OF_NEW_ORDERS, list(refs)):
            if ref is not None:
                (there if is_there else self._never_sent).add(ref)
            elif symbol is not None:
                self._doubts.add((venue, symbol))
            elif venue is not None:
                self._capabilities[venue] = frozenset(capabilities)
        return there

    def _read(self, orders: Iterable[VenueOrder]) -> None:
        for order in orders:
            self._stored[order.key.ref] = order
            self.save(order)

    async def _lock_more(self, which: str, *values: object) -> None:
        rows = await self._tx.connection.fetch(
            f"{_SELECT} WHERE {which} ORDER BY venue_order_ref FOR NO KEY UPDATE", *values
        )
        self._read(
            await _with_fills(self._tx.connection, [r for r in rows if r["venue_order_ref"] not in self._orders])
        )

    async def children(self, parent: VenueOrder) -> Sequence[VenueOrder]:
        if parent.key.ref not in self._whole:
            self._whole.add(parent.key.ref)
            await self._lock_more("order_id = $1 AND parent_ref = $2", parent.key.order_id, parent.key.ref)
        found = [order for order in self._orders.values() if order.parent_ref == parent.key.ref]
        return sorted(found, key=lambda order: (order.created_at, order.key.ref))

    async def look_for_doubts(self) -> None:
        rows = await self._tx.connection.fetch("SELECT venue, symbol FROM doubts")
        self._doubts |= {(row[0], row[1]) for row in rows}

    def look_at(self, parent: VenueOrder, at: datetime) -> None:
        self._tx.schedule(STEP, str(parent.key.order_id), 0, "wall", at)

    def find(self, ref: UUID) -> VenueOrder | None:
        return self._orders.get(ref)

    def save(self, order: VenueOrder) -> None:
        self._orders[order.key.ref] = order
        if order.group_ref is not None:
            self._groups.setdefault(order.group_ref, set()).add(order.key.ref)

    def group(self, group_ref: UUID) -> Group:
        return Group.of(self._orders[group_ref], (self._orders[ref] for ref in self._groups[group_ref]))

    def can(self, venue: str, capability: str) -> bool:
        return capability in self._capabilities.get(venue, ())

    def is_never_sent(self, ref: UUID) -> bool:
        return ref in self._never_sent

    def is_in_doubt(self, venue: str, symbol: str) -> bool:
        return bool(self._doubts) and ((venue, "") in self._doubts or (venue, symbol) in self._doubts)

    def remember_never_sent(self, key: OrderKey) -> None:
        self._never_sent.add(key.ref)
        self._newly_never_sent[key.ref] = key

    def publish(self, told: Iterable[Told], *, market_at: datetime) -> None:
        for topic, key, message in messages(told):
            self._tx.publish(topic, key, message, market_at=market_at)

    def filled(self) -> dict[tuple[str, str, UUID], Decimal]:
        """By venue, symbol and account: by how much the sum of all fills is another one than at the beginning."""
        found: dict[tuple[str, str, UUID], Decimal] = {}
        for ref, order in self._orders.items():
            before = self._stored[ref].fills if ref in self._stored else ()
            if order.fills is not before:
                quantity = totals(order.fills).quantity - totals(before).quantity
                where = (order.key.venue, order.key.symbol, order.key.account_id)
                signed = quantity if order.terms.side == "buy" else -quantity
                found[where] = found.get(where, Decimal(0)) + signed
        return {where: quantity for where, quantity in found.items() if quantity}

    async def flush(self) -> None:
        changed = [(ref, order) for ref, order in self._orders.items() if self._stored.get(ref) is not order]
        new = [_row(order) for ref, order in changed if ref not in self._stored]
        if new:
            self._tx.write(_INSERT, *_by_column(new))
        old = [(ref, *_facts(order)) for ref, order in changed if ref in self._stored]
        if old:
            self._tx.write(_UPDATE, *_by_column(old))
        fills = [row for ref, order in changed for row in _fill_rows(order, self._stored.get(ref))]
        if fills:
            self._tx.write(_INSERT_FILLS, *_by_column(fills))
        corrected = [row for ref, order in changed for row in _corrected_rows(order, self._stored.get(ref))]
        if corrected:
            self._tx.write(_CORRECT_FILLS, *_by_column(corrected))
        held = sorted(self.filled().items())
        if held:
            self._tx.write(HOLD, *_by_column([(*where, quantity) for where, quantity in held]))
        if self._newly_never_sent:
            self._tx.write(
                "INSERT INTO never_sent (venue_order_ref, order_id, account_id, said_at)"
                " SELECT *, $4 FROM unnest($1::uuid[], $2::uuid[], $3::uuid[])",
                *_by_column([(ref, key.order_id, key.account_id) for ref, key in self._newly_never_sent.items()]),
                self.now,
            )


Unit = Callable[[Transaction], PostgresUnitOfWork]


async def venue_orders_of(connection: asyncpg.Connection, order_id: UUID) -> list[VenueOrder]:
    """The venue orders that were made of an order, oldest first."""
    rows = await connection.fetch(f"{_SELECT} WHERE order_id = $1 ORDER BY created_at, venue_order_ref", order_id)
    return await _with_fills(connection, rows)


async def watched(connection: asyncpg.Connection) -> list[VenueOrder]:
    """All orders that wait here for a price; a leg of nothing yet does not."""
    rows = await connection.fetch(
        f"{_SELECT} WHERE trigger IS NOT NULL AND triggered_at IS NULL AND ended_at IS NULL"
        " AND quantity > 0 AND NOT is_cancel_pending"
    )
    return [_order(row) for row in rows]


async def held_until(connection: asyncpg.Connection, passed: Mapping[UUID, datetime]) -> list[UUID]:
    """What is held or worked here since its account's deadline or before, and no end has been asked for.

    Whoever took an order when its deadline had not come yet has committed it by then."""
    await connection.execute(f"SELECT pg_advisory_xact_lock({_ACCEPTING})")
    rows = await connection.fetch(_HELD_UNTIL, list(passed), list(passed.values()))
    return [row[0] for row in rows]


async def group_of(connection: asyncpg.Connection, group_ref: UUID) -> Group:
    rows = await connection.fetch(f"{_SELECT} WHERE group_ref = $1", group_ref)
    orders = [_order(row) for row in rows]
    return Group.of(next(order for order in orders if order.key.ref == group_ref), orders)


async def _with_fills(connection: asyncpg.Connection, rows: Sequence[asyncpg.Record]) -> list[VenueOrder]:
    orders = [_order(row) for row in rows]
    # Of what is filled, and of what may have been, for a bust takes it away: an open one has a code then.
    with_fills = [o.key.ref for o in orders if o.cumulative_quantity or o.code or o.stand.is_terminal]
    fills: dict[UUID, list[Filled]] = {}
    if with_fills:
        for ref, *columns in await connection.fetch(_SELECT_FILLS, with_fills):
            fills.setdefault(ref, []).append(Filled(*columns))
    return [replace(order, fills=tuple(fills[order.key.ref])) if order.key.ref in fills else order for order in orders]


def _order(row: asyncpg.Record) -> VenueOrder:
    """By place, in the order of `_SELECT`, which is that of the fields."""
    parent_ref, group_ref, conditions, algo, leg, trigger = row[-6:]
    terms: list[Any] = [*row[6:13], NO_CONDITIONS if conditions is None else msgspec.convert(conditions, Conditions)]
    course: list[Any] = [
        *(row[13], Stand(row[14]), *row[15:-6]),
        *(None if algo is None else msgspec.convert(algo, Twap), parent_ref, group_ref),
        None if leg is None else msgspec.convert(leg, Leg),
        None if trigger is None else msgspec.convert(trigger, Trigger),
    ]
    return VenueOrder(OrderKey(*row[:6]), Terms(*terms), *course)


def _row(order: VenueOrder) -> tuple[object, ...]:
    key, terms = order.key, order.terms
    return (
        *(key.ref, key.order_id, key.account_id, key.user_id, key.symbol, key.venue),
        *(terms.side, terms.order_type, terms.protection_price, terms.time_in_force),
        *(terms.send_by, order.command_sequence, order.market_at, order.created_at),
        *(order.parent_ref, order.group_ref, order.leg),
        *_facts(order),
    )


def _facts(order: VenueOrder) -> tuple[object, ...]:
    terms = order.terms
    return (
        *(terms.quantity, terms.limit_price, None if terms.conditions == NO_CONDITIONS else terms.conditions),
        order.algo,
        *(order.stand.value, order.cumulative_quantity, order.is_cancel_pending, order.code, order.detail),
        *(order.accepted_at, order.ended_at, order.triggered_at, order.trigger, order.updated_at),
    )


def _fill_rows(order: VenueOrder, stored: VenueOrder | None) -> list[tuple[object, ...]]:
    """Fills are only ever added at the end, so the new ones are those past what was read."""
    known = 0 if stored is None else len(stored.fills)
    return [
        (
            *(order.key.ref, number, fill.venue_trade_id, fill.last_quantity, fill.last_price),
            *(fill.cumulative_quantity, fill.fee, fill.fee_currency, fill.liquidity, fill.executed_at, fill.market_at),
            fill.revision,
        )
        for number, fill in enumerate(order.fills[known:], start=known + 1)
    ]


def _corrected_rows(order: VenueOrder, stored: VenueOrder | None) -> list[tuple[object, ...]]:
    """Of the fills that were read, those that are others now."""
    before = () if stored is None else stored.fills
    return [
        (
            *(order.key.ref, fill.venue_trade_id, fill.last_quantity, fill.last_price),
            *(fill.cumulative_quantity, fill.fee, fill.market_at, fill.revision),
        )
        for known, fill in zip(before, order.fills, strict=False)
        if known is not fill
    ]


def _by_column(rows: Sequence[tuple[object, ...]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
