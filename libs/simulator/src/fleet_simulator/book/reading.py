"""What the fast book tells of itself, and how it is filled again."""

from typing import Final

import numpy as np

from fleet_simulator.book.book import HASH_FACTOR, HASH_SEED, HASH_SHIFT
from fleet_simulator.book.compiled import CELLS, FLAG, INT, NONE, ROWS, WORD, entry, inline, inner, pointer
from fleet_simulator.book.layout import (
    ACCOUNT,
    BEST,
    COMMANDS,
    COUNT,
    FLAGS,
    HEAD,
    LEVELS,
    NEXT,
    ORDER_ID,
    QUANTITY,
    REMAINING,
    SEQUENCE,
    TOTAL,
    Array,
    Cells,
    Order,
    cells_at,
)
from fleet_simulator.book.levels import find_level, level_after, price_of
from fleet_simulator.book.resting import find_order, rest, resting

_SEED: Final = np.uint64(HASH_SEED)
_FACTOR: Final = np.uint64(HASH_FACTOR)
_SHIFT: Final = np.uint64(HASH_SHIFT)


@inner
def _write_order(book: Cells, row: int, out: Array, to: int) -> None:
    """As Resting's columns."""
    order = resting(book, row)
    out[to, 0] = order.order_id
    out[to, 1] = order.account
    out[to, 2] = order.side
    out[to, 3] = order.price
    out[to, 4] = order.quantity
    out[to, 5] = book.orders[row + REMAINING]
    out[to, 6] = order.flags


@inner
def _write_level(book: Cells, level: int, out: Array, to: int) -> None:
    """As Level's columns."""
    out[to, 0] = price_of(book, level)
    out[to, 1] = book.levels[level + TOTAL]
    out[to, 2] = book.levels[level + COUNT]


@entry(INT, CELLS, FLAG, INT, ROWS)
def write_orders(header: Array, of_account: bool, account: int, out: Array) -> int:
    """All orders, or an account's, by side and priority: how many."""
    book = cells_at(pointer(header))
    count = 0
    for side in range(2):
        level = book.header[BEST + side]
        while level != 0:
            row = book.levels[level + HEAD]
            while row != 0:
                if not of_account or book.orders[row + ACCOUNT] == account:
                    _write_order(book, row, out, count)
                    count += 1
                row = book.orders[row + NEXT]
            level = level_after(book.header, level)
    return count


@entry(FLAG, CELLS, INT, ROWS)
def write_order(header: Array, order_id: int, out: Array) -> bool:
    """Whether it was found."""
    book = cells_at(pointer(header))
    row = find_order(book, order_id)
    if row != 0:
        _write_order(book, row, out, 0)
    return row != 0


@entry(NONE, CELLS, INT, ROWS)
def write_levels(header: Array, side: int, out: Array) -> None:
    """The best levels of the side, of which there are at least as many as rows."""
    book = cells_at(pointer(header))
    level = book.header[BEST + side]
    for row in range(out.shape[0]):
        _write_level(book, level, out, row)
        level = level_after(book.header, level)


@entry(INT, CELLS, INT)
def best_price(header: Array, side: int) -> int:
    """Or 0."""
    book = cells_at(pointer(header))
    level = book.header[BEST + side]
    return price_of(book, level) if level != 0 else 0


@entry(FLAG, CELLS, INT, INT, ROWS)
def write_level(header: Array, side: int, price: int, out: Array) -> bool:
    """Whether there is one."""
    book = cells_at(pointer(header))
    level = find_level(book, side, price)
    if level != 0:
        _write_level(book, level, out, 0)
    return level != 0


@entry(NONE, CELLS, ROWS)
def read_orders(header: Array, rows: Array) -> None:
    """Fills an empty book with the orders of a snapshot, as `write_orders` wrote them."""
    book = cells_at(pointer(header))
    for row in range(rows.shape[0]):
        order = Order(rows[row, 0], rows[row, 1], rows[row, 2], rows[row, 3], rows[row, 4], rows[row, 6])
        rest(book, order, order.quantity, rows[row, 5])


@inline
def _mixed(state: np.uint64, word: int) -> np.uint64:
    state = (state ^ np.uint64(word)) * _FACTOR
    return state ^ state >> _SHIFT


@entry(WORD, CELLS)
def state_hash(header: Array) -> np.uint64:
    """As `book.mixed` says."""
    book = cells_at(pointer(header))
    header, orders, levels = book.header, book.orders, book.levels
    state = _mixed(_mixed(_SEED, header[SEQUENCE]), header[COMMANDS])
    for side in range(2):
        state = _mixed(state, header[LEVELS + side])
        level = header[BEST + side]
        while level != 0:
            state = _mixed(_mixed(_mixed(state, price_of(book, level)), levels[level + TOTAL]), levels[level + COUNT])
            row = levels[level + HEAD]
            while row != 0:
                state = _mixed(_mixed(state, orders[row + ORDER_ID]), orders[row + ACCOUNT])
                state = _mixed(_mixed(state, orders[row + QUANTITY]), orders[row + REMAINING])
                state = _mixed(state, orders[row + FLAGS])
                row = orders[row + NEXT]
            level = level_after(book.header, level)
    return state
