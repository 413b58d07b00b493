"""Which orders rest, by their ids: open addressing with linear probing, a cell an order, at most a quarter in use.

A cell is an order's place above the low bits of its id's hash, 0 an empty one. Those bits say where it is looked for
first, so that cells are moved without a look at the orders; whether it is the id itself, its order tells.
"""

from typing import Final

from fleet_simulator.book.compiled import NONE, ROWS, entry, inline, pointer, prefetch
from fleet_simulator.book.layout import ORDER_ID, Array, Cells, zeros
from fleet_simulator.book.table import spread

_SPACE: Final = 4  # cells an order: at a quarter full most ids are where they are looked for first
_PLACE_SHIFT: Final = 37
_HASH: Final = (1 << _PLACE_SHIFT) - 1


def new_ids(orders: int) -> Array:
    """With room for so many."""
    return zeros(1 << (_SPACE * orders - 1).bit_length(), 1)


def room_in(ids: Array) -> int:
    return len(ids) // _SPACE


def grown(ids: Array, orders: int) -> Array:
    """The same with room for so many."""
    if room_in(ids) >= orders:
        return ids
    larger = new_ids(orders)
    _move(ids, larger)
    return larger


@inline
def _hash(order_id: int) -> int:
    return spread(order_id) & _HASH


@inline
def find(book: Cells, order_id: int) -> int:
    """Its cell, or, if the order does not rest, -1 - the cell that it would have."""
    ids, mask, wanted = book.ids, book.ids_mask, _hash(order_id)
    cell = wanted & mask
    while ids[cell] != 0:
        if ids[cell] & _HASH == wanted and book.orders[(ids[cell] >> _PLACE_SHIFT) + ORDER_ID] == order_id:
            return cell
        cell = (cell + 1) & mask
    return -1 - cell


@inline
def order_in(book: Cells, cell: int) -> int:
    return int(book.ids[cell]) >> _PLACE_SHIFT


@inline
def guess(book: Cells, order_id: int) -> int:
    """Where the order of this id probably is, or 0."""
    wanted = _hash(order_id)
    found = book.ids[wanted & book.ids_mask]
    return int(found >> _PLACE_SHIFT) if found & _HASH == wanted else 0


@inline
def expect(book: Cells, order_id: int) -> None:
    """This id will be looked for."""
    prefetch(book.ids, _hash(order_id) & book.ids_mask)


@inline
def insert(book: Cells, order_id: int, order: int) -> None:
    """One that is not there."""
    _put(book.ids, book.ids_mask, order << _PLACE_SHIFT | _hash(order_id))


@inline
def _put(ids: Array, mask: int, content: int) -> None:
    cell = content & mask
    while ids[cell] != 0:
        cell = (cell + 1) & mask
    ids[cell] = content


@inline
def remove(book: Cells, hole: int) -> None:
    """Empties the cell, and moves into it what may stand there."""
    ids, mask = book.ids, book.ids_mask
    cell = (hole + 1) & mask
    while ids[cell] != 0:
        if ((cell - ids[cell]) & mask) >= ((cell - hole) & mask):
            ids[hole] = ids[cell]
            hole = cell
        cell = (cell + 1) & mask
    ids[hole] = 0


@entry(NONE, ROWS, ROWS)
def _move(old: Array, new: Array) -> None:
    cells, mask = pointer(new), new.shape[0] - 1
    for row in range(old.shape[0]):
        if old[row, 0] != 0:
            _put(cells, mask, old[row, 0])
