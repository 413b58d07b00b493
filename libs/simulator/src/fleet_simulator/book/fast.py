"""The compiled book. Importing this module brings numba with it, and compiles what `make setup` has not."""

from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from fleet_simulator.book import commands as c
from fleet_simulator.book import events as e
from fleet_simulator.book import ids as of_ids
from fleet_simulator.book import layout as at
from fleet_simulator.book import reading
from fleet_simulator.book.book import Level, Resting, Snapshot
from fleet_simulator.book.commands import MAX_ORDERS, Commands, Row, Side
from fleet_simulator.book.engine import obey
from fleet_simulator.book.events import Events
from fleet_simulator.book.layout import Array, Arrays
from fleet_simulator.book.levels import TREE_HEIGHTS
from fleet_simulator.book.table import grown, new_table, room_in

CHUNK: Final = 4096
"""Commands that room is made for at once: what they need at most stays below 10 MB."""


class FastBook:
    """Arrays that compiled code works on; this makes room in them and asks. For one thread at a time.

    Room is made before a call, for the most that its commands can need: each may rest one order on a level in a block of
    its own with TREE_HEIGHTS words, and writes at most 3 events and one for each order that it ends. So the loops never
    stop in between. Arrays do not shrink. Memory: 0.2 to 0.4 kB an order, some 1 kB more for each that stands alone at
    its price (prices close together share that), 96 bytes for each event of the largest call; huge pages round an array
    of half a MB or more up to the next 2 MB.
    """

    def __init__(self, *, max_orders: int = MAX_ORDERS) -> None:
        if not 0 < max_orders <= MAX_ORDERS:
            raise ValueError(f"max_orders must be 1 to {MAX_ORDERS}, was {max_orders}")
        self._header = np.zeros(at.HEADER, dtype=np.int64)
        self._header[at.MAX_ORDERS] = max_orders
        self._header[at.HEIGHTS] = TREE_HEIGHTS
        self._arrays = Arrays(
            orders=at.zeros(16, at.ROW),
            levels=at.zeros(2 * at.BLOCK_LEVELS, at.LEVEL_ROW),
            ids=of_ids.new_ids(16),
            numbers=new_table(16),
            blocks=at.zeros(2, at.BLOCK_ROW),
            words=new_table(128),
            events=at.zeros(64, e.COLUMNS),
        )
        at.tell(self._header, self._arrays)
        self._command = _rows(1, c.COLUMNS)
        self._answer = _rows(1, len(Resting._fields))

    def __reduce__(self) -> tuple[object, ...]:
        """A copy, in this process or another, is made from a snapshot: the header has addresses in it."""
        return _restored, (self.snapshot(), int(self._header[at.MAX_ORDERS]))

    @property
    def sequence(self) -> int:
        return int(self._header[at.SEQUENCE])

    @property
    def commands(self) -> int:
        return int(self._header[at.COMMANDS])

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
        written = obey(self._header, commands, first, last)
        return self._arrays.events[:written].copy()

    def _make_room(self, commands: int) -> None:
        orders, levels, ids, numbers, blocks, words, events = self._arrays
        state = self._header.tolist()
        live = state[at.LIVE] + commands
        in_use = state[at.BLOCKS] + commands
        set_words = state[at.WORDS] + TREE_HEIGHTS * commands
        written = live + 3 * commands
        if (
            live < len(orders)
            and in_use < len(blocks)
            and of_ids.room_in(ids) >= live
            and room_in(numbers) >= in_use
            and room_in(words) >= set_words
            and len(events) >= written
        ):
            return
        used_blocks = state[at.LAST_BLOCK] + 1
        blocks = _grown(blocks, in_use + 1, used_blocks)
        self._arrays = Arrays(
            _grown(orders, live + 1, state[at.LAST_ORDER] // at.ROW + 1),
            _grown(levels, len(blocks) * at.BLOCK_LEVELS, used_blocks * at.BLOCK_LEVELS),
            of_ids.grown(ids, live),
            grown(numbers, in_use),
            blocks,
            grown(words, set_words),
            _grown(events, written, 0),
        )
        at.tell(self._header, self._arrays)

    def __len__(self) -> int:
        return int(self._header[at.LIVE])

    def best(self, side: int) -> int | None:
        return reading.best_price(self._header, int(Side(side))) or None

    def level(self, side: int, price: int) -> Level:
        found = reading.write_level(self._header, side, price, self._answer)
        return Level(*self._answer[0, :3].tolist()) if found else Level(price, 0, 0)

    def depth(self, side: int, limit: int) -> NDArray[np.int64]:
        limit = max(0, min(limit, int(self._header[at.LEVELS + Side(side)])))
        out = _rows(limit, len(Level._fields))
        reading.write_levels(self._header, side, out)
        return out

    def order(self, order_id: int) -> Resting | None:
        found = reading.write_order(self._header, order_id, self._answer)
        return Resting(*self._answer[0].tolist()) if found else None

    def orders(self, account: int | None = None) -> NDArray[np.int64]:
        out = _rows(len(self), len(Resting._fields))
        count = reading.write_orders(self._header, account is not None, account or 0, out)
        return out if count == len(out) else out[:count].copy()

    def snapshot(self) -> Snapshot:
        return Snapshot(np.array([self.sequence, self.commands], dtype=np.int64), self.orders())

    @classmethod
    def restore(cls, snapshot: Snapshot, *, max_orders: int = MAX_ORDERS) -> Self:
        book = cls(max_orders=max_orders)
        snapshot = snapshot.checked()
        book._make_room(len(snapshot.orders))
        book._header[[at.SEQUENCE, at.COMMANDS]] = snapshot.counters
        reading.read_orders(book._header, snapshot.orders)
        return book

    def state_hash(self) -> int:
        return int(reading.state_hash(self._header))


def _rows(count: int, columns: int) -> Array:
    return np.empty((count, columns), dtype=np.int64)


def _grown(rows: Array, needed: int, used: int) -> Array:
    """With room for so many; those that are in use are copied.

    What of a large array has never been written is no memory yet, while growing takes new pages, which the kernel fills
    with zeros: so a large one grows fourfold."""
    if needed <= len(rows):
        return rows
    larger = at.zeros(max(needed, (2 if 2 * rows.nbytes < at.LARGE else 4) * len(rows)), rows.shape[1])
    larger[:used] = rows[:used]
    return larger


def _restored(snapshot: Snapshot, max_orders: int) -> FastBook:
    return FastBook.restore(snapshot, max_orders=max_orders)


def _link() -> None:
    """Calls each compiled function once: a first call takes 50 ms, which shall not be an order's."""
    book = FastBook()
    book._make_room(len(book._arrays.ids))
    book.apply_one(c.add(1, 1, Side.BUY, 1, 1))
    book.best(Side.BUY)
    book.level(Side.BUY, 1)
    book.depth(Side.BUY, 1)
    book.order(1)
    FastBook.restore(book.snapshot()).state_hash()


_link()
