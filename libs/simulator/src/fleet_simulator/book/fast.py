"""The compiled book. Importing this module brings numba with it, and compiles what `make setup` has not."""

from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from fleet_simulator.book import commands as c
from fleet_simulator.book import events as e
from fleet_simulator.book import layout as at
from fleet_simulator.book import reading
from fleet_simulator.book.book import Level, Resting, Snapshot
from fleet_simulator.book.commands import MAX_ORDERS, Commands, Row, Side
from fleet_simulator.book.engine import obey
from fleet_simulator.book.events import Events
from fleet_simulator.book.layout import Array, Arrays
from fleet_simulator.book.levels import HEIGHTS
from fleet_simulator.book.table import move, new_table

CHUNK: Final = 4096
"""Commands that room is made for at once: what they need at most stays below 10 MB."""


class FastBook:
    """Arrays that compiled code works on; this makes room in them and asks.

    Room is made before a call, for the most that its commands can need: each may rest one order on one new level with
    HEIGHTS words, and writes at most 3 events and one for each order that it ends. So the loops never stop in between.
    Memory: 96 to 128 bytes an order, at most 0.4 kB a level wherever its price lies, and 96 bytes for each order that
    one call may end; arrays double as they grow, and do not shrink.
    """

    def __init__(self, *, max_orders: int = MAX_ORDERS) -> None:
        if not 0 < max_orders <= MAX_ORDERS:
            raise ValueError(f"max_orders must be 1 to {MAX_ORDERS}, was {max_orders}")
        header = np.zeros(at.HEADER, dtype=np.int64)
        header[at.MAX_ORDERS] = max_orders
        self._arrays = Arrays(
            header,
            orders=np.zeros((16, at.ROW), dtype=np.int64),
            levels=np.zeros((16, at.ROW), dtype=np.int64),
            ids=new_table(16),
            slots=new_table(16),
            words=new_table(128),
            events=_rows(64, e.COLUMNS),
        )
        self._command = _rows(1, c.COLUMNS)
        self._answer = _rows(1, len(Resting._fields))

    @property
    def sequence(self) -> int:
        return int(self._arrays.header[at.SEQUENCE])

    @property
    def commands(self) -> int:
        return int(self._arrays.header[at.COMMANDS])

    def apply(self, commands: Commands) -> Events:
        commands = c.checked(commands)
        pieces = [
            self._obey(commands, first, min(first + CHUNK, len(commands))) for first in range(0, len(commands), CHUNK)
        ]
        return pieces[0] if len(pieces) == 1 else np.concatenate([_rows(0, e.COLUMNS), *pieces])

    def apply_one(self, command: Row) -> Events:
        self._command[0] = command
        return self._obey(self._command, 0, 1)

    def _obey(self, commands: Commands, first: int, last: int) -> Events:
        self._make_room(last - first)
        written = obey(self._arrays, commands, first, last)
        return self._arrays.events[:written].copy()

    def _make_room(self, commands: int) -> None:
        header, orders, levels, ids, slots, words, events = self._arrays
        state = header.tolist()
        live = state[at.LIVE] + commands
        opened = state[at.LEVELS] + state[at.LEVELS + 1] + commands
        set_words = state[at.WORDS] + HEIGHTS * commands
        written = live + 3 * commands
        if (
            live < len(orders)
            and opened < len(levels)
            and 2 * live <= len(ids)
            and 2 * opened <= len(slots)
            and 2 * set_words <= len(words)
            and written <= len(events)
        ):
            return
        self._arrays = Arrays(
            header,
            _grown(orders, live, state[at.LAST_ORDER]),
            _grown(levels, opened, state[at.LAST_LEVEL]),
            _roomier(ids, live),
            _roomier(slots, opened),
            _roomier(words, set_words),
            events if written <= len(events) else _rows(2 * written, e.COLUMNS),
        )

    def __len__(self) -> int:
        return int(self._arrays.header[at.LIVE])

    def best(self, side: int) -> int | None:
        level = self._arrays.header[at.BEST + Side(side)]
        return int(self._arrays.levels[level // at.ROW, at.PRICE]) if level else None

    def level(self, side: int, price: int) -> Level:
        found = reading.write_level(self._arrays, side, price, self._answer)
        return Level(*self._answer[0, :3].tolist()) if found else Level(price, 0, 0)

    def depth(self, side: int, limit: int) -> NDArray[np.int64]:
        limit = max(0, min(limit, int(self._arrays.header[at.LEVELS + Side(side)])))
        out = _rows(limit, len(Level._fields))
        reading.write_levels(self._arrays, side, out)
        return out

    def order(self, order_id: int) -> Resting | None:
        found = reading.write_order(self._arrays, order_id, self._answer)
        return Resting(*self._answer[0].tolist()) if found else None

    def orders(self, account: int | None = None) -> NDArray[np.int64]:
        out = _rows(len(self), len(Resting._fields))
        count = reading.write_orders(self._arrays, account is not None, account or 0, out)
        return out if count == len(out) else out[:count].copy()

    def snapshot(self) -> Snapshot:
        return Snapshot(np.array([self.sequence, self.commands], dtype=np.int64), self.orders())

    @classmethod
    def restore(cls, snapshot: Snapshot, *, max_orders: int = MAX_ORDERS) -> Self:
        book = cls(max_orders=max_orders)
        snapshot = snapshot.checked()
        book._make_room(len(snapshot.orders))
        book._arrays.header[[at.SEQUENCE, at.COMMANDS]] = snapshot.counters
        reading.read_orders(book._arrays, snapshot.orders)
        return book

    def state_hash(self) -> int:
        return int(reading.state_hash(self._arrays))


def _rows(count: int, columns: int) -> Array:
    return np.empty((count, columns), dtype=np.int64)


def _grown(rows: Array, needed: int, last: int) -> Array:
    """Room for so many, and for nobody's."""
    if needed < len(rows):
        return rows
    larger = _rows(2 * needed, rows.shape[1])
    used = last // at.ROW + 1
    larger[:used] = rows[:used]
    return larger


def _roomier(table: Array, needed: int) -> Array:
    if 2 * needed <= len(table):
        return table
    larger = new_table(needed)
    move(table, larger)
    return larger


def _link() -> None:
    """Calls each compiled function once: a first call takes 50 ms, which shall not be an order's."""
    book = FastBook()
    book._make_room(len(book._arrays.ids))
    book.apply_one(c.add(1, 1, Side.BUY, 1, 1))
    book.level(Side.BUY, 1)
    book.depth(Side.BUY, 1)
    book.order(1)
    FastBook.restore(book.snapshot()).state_hash()


_link()
