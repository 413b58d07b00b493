"""The unit of work of this service: what one transaction has locked, and what it will write before COMMIT."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Context, copy_context
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from fleet_bus import Transaction
from fleet_chassis.ids import parse_ids
from fleet_chassis.logging import get_logger
from fleet_simulator import Latency, Models

from fleet_exchange_connector.domain.book import Book
from fleet_exchange_connector.domain.corrections import Correction, Trade
from fleet_exchange_connector.domain.instruments import Instrument
from fleet_exchange_connector.domain.looking import next_look
from fleet_exchange_connector.domain.market import Market
from fleet_exchange_connector.domain.orders import (
    Fill,
    KnownOrder,
    OrderCommand,
    PlaceOrder,
    Report,
    ReportKind,
    Restriction,
    Status,
)
from fleet_exchange_connector.domain.replays import Replay
from fleet_exchange_connector.domain.times import to_ns
from fleet_exchange_connector.ports import Event, OrdersReported
from fleet_exchange_connector.store import books, corrections, replays
from fleet_exchange_connector.store.forgetting import KEPT
from fleet_exchange_connector.store.markets import MarketRow

# Kinds of due rows; the aggregate is a symbol, a replay, or the venue.
LOOK, MINUTE, HISTORY, REPLAY, STATUS = "paper.look", "paper.minute", "paper.history", "paper.replay", "paper.status"
ARRIVAL = "paper.arrival"
BOOK, ORDER, MARKET, REPLAY_ID = "book:", "order:", "market", "replay:"
_TOLD = """
INSERT INTO told (key, content) VALUES ($1, $2)
ON CONFLICT (key) DO UPDATE SET content = excluded.content WHERE told.content IS DISTINCT FROM excluded.content
RETURNING true
"""
_LATELY = timedelta(minutes=10)
"""Much longer than a transaction, whose fill may be of a time before that of a question that was answered first."""
_LISTED = KEPT - timedelta(days=1)
"""Fills older than this are not listed: execution forgets at hours of its own, and would not know them."""
_SAID_ONLY = frozenset({ReportKind.CANCEL_REJECTED, ReportKind.REPLACE_REJECTED, ReportKind.STATE})


log = get_logger("fleet_exchange_connector")


@dataclass(frozen=True, slots=True)
class Stores:
    """What every unit of work of this process shares. `market_row` is None on a replay."""

    instruments: Mapping[str, Instrument]
    models: Models
    latency: Latency | None
    cache: books.BookCache
    market_row: MarketRow | None
    restriction: Callable[[str, UUID], Restriction]
    is_cut_off: Callable[[UUID, datetime], bool]
    publish: Callable[[Transaction, Event], None]


class UnitOfWork:
    """Ids to lock are `book:<symbol>`, `market`, `order:<venue_order_ref>` (read only), `replay:<replay_id>`."""

    def __init__(self, tx: Transaction, stores: Stores) -> None:
        self.now = tx.now
        self.market: Market | None = None
        self._tx = tx
        self._stores = stores
        self._books: dict[str, Book] = {}
        self._known: dict[UUID, KnownOrder] = {}
        self._waiting: set[tuple[UUID, UUID]] = set()
        self._added: dict[UUID, PlaceOrder] = {}
        self._changed: dict[UUID, tuple[str, Status]] = {}
        self._fills: dict[UUID, list[Fill]] = {}
        self._moved: set[tuple[str, UUID]] = set()
        self._to_wait: list[tuple[OrderCommand, datetime | None]] = []
        self._replays: dict[UUID, Replay] = {}
        self._changed_replays: dict[UUID, Replay] = {}
        self._new_market: Market | None = None
        self._told: dict[str, tuple[Context, list[Report]]] = {}

    async def lock(self, ids: Sequence[str]) -> None:
        symbols = [found.removeprefix(BOOK) for found in ids if found.startswith(BOOK)]
        refs = parse_ids([found.removeprefix(ORDER) for found in ids if found.startswith(ORDER)])
        connection, row = self._tx.connection, self._stores.market_row
        if symbols:
            await self._lock_books(symbols, idle_too=True)
        if row is None and refs:
            self._known = await books.known_orders(connection, refs)
            self._waiting = await books.waiting_orders(connection, refs)
        elif row is not None and refs:
            self.market, self._known = await row.read_with_orders(connection, refs)
            if self.has_latency:
                self._waiting = await books.waiting_orders(connection, refs)
        elif row is not None and (symbols or MARKET in ids):
            self.market = await row.read(connection, lock=MARKET in ids)
        for found in ids:
            if found.startswith(REPLAY_ID):
                replay = await replays.read(connection, UUID(found.removeprefix(REPLAY_ID)), lock=True)
                if replay is not None:
                    self._replays[replay.replay_id] = replay

    async def flush(self) -> None:
        self._say_told()
        if self._to_wait:
            books.keep_commands(self._tx, self._to_wait, self.now)
        for symbol, book in self._books.items():
            for ref, status in book.take_changed():
                self._changed.setdefault(ref, (symbol, status))
        if self._added:
            added = [(c, self._changed[ref][1], self._open_state(ref)) for ref, c in self._added.items()]
            books.add_orders(self._tx, added, self.now)
        changed = [
            (ref, status, self._open_state(ref)) for ref, (_, status) in self._changed.items() if ref not in self._added
        ]
        if changed:
            books.change_orders(self._tx, changed, self.now)
        if self._fills:
            books.add_fills(self._tx, [fill for fills in self._fills.values() for fill in fills])
        moved = self._moved | {(self._changed[ref][0], fills[0].account_id) for ref, fills in self._fills.items()}
        if moved:
            held = [(symbol, account_id, self._books[symbol].position(account_id)) for symbol, account_id in moved]
            books.save_positions(self._tx, held)
        if self.market is not None or self._changed:
            self._save_books()
        for book in self._books.values():
            self._tx.after_commit(partial(self._stores.cache.put, book))
        if self._new_market is not None and self._stores.market_row is not None:
            self._stores.market_row.save(self._tx, self._new_market)
        for replay in self._changed_replays.values():
            replays.save(self._tx, replay)

    def publish(self, event: Event) -> None:
        """What a batch does to the orders of a symbol is told in one record, in the trace of the first; a record costs more
        than what it says."""
        if isinstance(event, OrdersReported):
            self._told.setdefault(event.symbol, (copy_context(), []))[1].extend(event.reports)
        else:
            self._say_told()
            self._stores.publish(self._tx, event)

    def _say_told(self) -> None:
        told, self._told = self._told, {}
        for symbol, (trace, reports) in told.items():
            trace.run(self._stores.publish, self._tx, OrdersReported(symbol, reports))

    # Orders and books

    def book(self, symbol: str) -> Book | None:
        return self._books.get(symbol)

    def known(self, venue_order_ref: UUID) -> KnownOrder | None:
        order = self._added.get(venue_order_ref) or self._known.get(venue_order_ref)
        if order is None or venue_order_ref not in self._changed:
            return self._known.get(venue_order_ref)
        status = self._changed[venue_order_ref][1]
        return KnownOrder(venue_order_ref=venue_order_ref, account_id=order.account_id, status=status)

    async def fills(self, venue_order_ref: UUID) -> tuple[Fill, ...]:
        stored = await books.fills_of(self._tx.connection, venue_order_ref)
        return (*stored, *self._fills.get(venue_order_ref, ()))

    async def users(self, venue_order_refs: Sequence[UUID]) -> dict[UUID, UUID]:
        stored = await books.users_of(self._tx.connection, venue_order_refs)
        return stored | {ref: self._added[ref].user_id for ref in venue_order_refs if ref in self._added}

    async def fills_since(self, symbol: str, venue_trade_id: str, limit: int) -> Sequence[Fill]:
        oldest = self.now - _LISTED
        return await books.fills_since(self._tx.connection, symbol, venue_trade_id, limit, oldest=oldest)

    async def last_trade_id(self, symbol: str) -> str:
        return await books.last_trade_id(self._tx.connection, symbol, self.now - _LATELY)

    def is_waiting(self, venue_order_ref: UUID, account_id: UUID) -> bool:
        return (venue_order_ref, account_id) in self._waiting

    def restriction(self, symbol: str, account_id: UUID) -> Restriction:
        return self._stores.restriction(symbol, account_id)

    def is_cut_off(self, account_id: UUID, said_at: datetime) -> bool:
        return self._stores.is_cut_off(account_id, said_at)

    def add(self, command: PlaceOrder) -> None:
        self._added[command.venue_order_ref] = command

    def record(self, symbol: str, reports: Iterable[Report]) -> None:
        for report in reports:
            if report.kind in _SAID_ONLY:
                continue
            self._changed[report.venue_order_ref] = (symbol, report.status)
            if report.fill is not None:
                self._fills.setdefault(report.venue_order_ref, []).append(report.fill)

    def correct(self, before: Trade, after: Trade, correction: Correction) -> None:
        corrections.keep(self._tx, before, after, correction, self.now)
        self._changed[after.fill.venue_order_ref] = (after.symbol, after.order)
        self._moved.add((after.symbol, after.fill.account_id))

    @property
    def has_latency(self) -> bool:
        return self._stores.latency is not None

    def wait(self, command: OrderCommand) -> None:
        arrives_at, latency = None, self._stores.latency
        if latency is not None:
            delay_ns = latency.delay_ns(str(command.venue_order_ref), command.command_sequence)
            arrives_at = self.now + timedelta(microseconds=delay_ns // 1_000)
            # A row a time: what arrives together is taken together.
            self._tx.schedule(ARRIVAL, command.symbol, to_ns(arrives_at), "wall", arrives_at)
        self._to_wait.append((command, arrives_at))
        if isinstance(command, PlaceOrder):
            self._waiting.add((command.venue_order_ref, command.account_id))

    async def take_arrived(self, symbol: str) -> list[OrderCommand]:
        taken = await books.take_arrived(self._tx.connection, symbol, self.now)
        self._known |= await books.known_orders(self._tx.connection, [command.venue_order_ref for command in taken])
        await self._know_parents(taken)
        return taken

    async def take_waiting(self, symbols: Iterable[str]) -> dict[str, list[OrderCommand]]:
        await self._lock_books(sorted(symbols), idle_too=False)
        found = await books.take_commands(self._tx.connection, list(self._books)) if self._books else {}
        await self._know_parents(command for commands in found.values() for command in commands)
        return found

    async def _know_parents(self, taken: Iterable[OrderCommand]) -> None:
        places = [command for command in taken if isinstance(command, PlaceOrder)]
        parents = [command.parent_ref for command in places if command.parent_ref is not None]
        if parents:
            self._known |= await books.known_orders(self._tx.connection, parents)

    # The simulated market

    def change_market(self, market: Market, *, history_after: timedelta = timedelta(0)) -> None:
        before = self._new_market or self.market
        self._new_market = self.market = market
        resumed = before is not None and before.is_paused and not market.is_paused
        if market.is_paused:
            self._tx.unschedule(MINUTE, "paper", market.minute)
            return
        if before is None or resumed or before.minute != market.minute:
            self._tx.schedule(MINUTE, "paper", market.minute, "wall", market.closes_at)
        record = market.history_next
        if record is not None and (before is None or resumed or before.history_next != record):
            self._tx.schedule(HISTORY, "paper", record, "wall", self.now + history_after)

    async def open_market(self, market: Market) -> None:
        """Stores the simulated market as it opens; does nothing where it has been opened before."""
        row = self._stores.market_row
        if row is not None and await row.open(self._tx.connection, market):
            self.change_market(market)

    async def add_books(self, symbols: Iterable[str]) -> None:
        """A row for each symbol, to be locked; those that are there stay as they are."""
        await books.add_books(self._tx.connection, sorted(symbols))

    # What the venue says of itself

    async def is_news(self, key: str, said: object) -> bool:
        return bool(await self._tx.connection.fetchval(_TOLD, key, said))

    def schedule_status(self, after: timedelta) -> None:
        self._tx.schedule(STATUS, "paper", 0, "wall", self.now + after)

    # Replays

    def replay(self, replay_id: UUID) -> Replay | None:
        return self._replays.get(replay_id)

    def change_replay(self, replay: Replay) -> None:
        """Keeps it, and lets its next phase follow as soon as the fleet is at rest."""
        self._replays[replay.replay_id] = self._changed_replays[replay.replay_id] = replay
        self.schedule_replay(replay)
        if not replay.is_running:
            said = {"replay_id": str(replay.replay_id), "status": replay.status, "step": replay.step}
            self._tx.after_commit(partial(log.info, "replay_ended", **said, reason=replay.reason))

    async def asked(self, user_id: UUID, idempotency_key: str | None) -> replays.Asked | None:
        """The replay that this user has started under this key."""
        if idempotency_key is None:
            return None
        return await replays.asked(self._tx.connection, user_id, idempotency_key)

    async def replays_so_far(self) -> tuple[UUID | None, datetime | None]:
        return await replays.begin(self._tx.connection)

    async def add_replay(self, replay: Replay, idempotency_key: str | None, request_hash: bytes) -> None:
        await replays.add(self._tx.connection, replay, idempotency_key, request_hash)
        self.schedule_replay(replay)

    def schedule_replay(self, replay: Replay) -> None:
        if replay.is_running:
            self._tx.schedule(REPLAY, str(replay.replay_id), replay.place, "wall", replay.due_at(self.now))

    async def _lock_books(self, symbols: Sequence[str], *, idle_too: bool) -> None:
        stores = self._stores
        self._books = await books.lock_books(
            self._tx.connection, symbols, stores.instruments, stores.models, stores.cache, idle_too=idle_too
        )

    def _save_books(self) -> None:
        if self._books:
            books.save_books(self._tx, list(self._books.values()))
        for book in self._books.values():
            book.version += 1
            at = next_look(book, self.market, self.now) if self.market is not None else None
            if at is not None:
                self._tx.schedule(LOOK, book.instrument.symbol, 0, "wall", at)

    def _open_state(self, ref: UUID) -> dict[str, Any] | None:
        symbol = self._changed[ref][0]
        book = self._books.get(symbol)
        return None if book is None else book.order_state(ref)


Opening = Callable[[Transaction], UnitOfWork]
"""How this process opens a unit of work."""


def opening(stores: Stores) -> Opening:
    return partial(UnitOfWork, stores=stores)
