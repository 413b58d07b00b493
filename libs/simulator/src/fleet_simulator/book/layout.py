"""How the fast book lies in memory: arrays of int64, and a header that counts what is in them and tells where they are.

A row of orders or levels is named by its *place*, the number of its first cell: `orders[order + REMAINING]`. The first
row is nobody's, so that place 0 means none.
"""

import mmap
from contextlib import suppress
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleet_simulator.book.compiled import at, inline

Array = NDArray[np.int64]
_LINE: Final = 64  # bytes, as the next two
_HUGE_PAGE: Final = 1 << 21
LARGE: Final = _HUGE_PAGE >> 2


def zeros(rows: int, columns: int) -> Array:
    """From the beginning of a cache line on, which malloc does not give: a row in two lines would be fetched by halves.

    Large ones lie in huge pages where the kernel has them: with small ones the walk to a page took longer than the cell.
    """
    size = rows * columns * 8
    if size < LARGE:
        cells = np.zeros((size + _LINE) // 8, dtype=np.int64)
        first = -cells.ctypes.data % _LINE // 8
    else:
        memory = mmap.mmap(-1, size + 2 * _HUGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):  # a kernel that was built without them
                memory.madvise(mmap.MADV_HUGEPAGE)
        cells = np.frombuffer(memory, dtype=np.int64)
        first = -cells.ctypes.data % _HUGE_PAGE // 8
    return cells[first : first + rows * columns].reshape(rows, columns)


class Arrays(NamedTuple):
    """`orders` are rows of a cache line, `levels` of half of one.

    `ids`: which orders there are (ids.py). `numbers`, `blocks` and `words`: which levels (levels.py); the first and the
    last are tables (table.py). `events`: what the last call wrote.
    """

    orders: Array
    levels: Array
    ids: Array
    numbers: Array
    blocks: Array
    words: Array
    events: Array


class Cells(NamedTuple):
    """The same for compiled code: the first cell of each, and the masks of the tables."""

    header: Array
    orders: Array
    levels: Array
    ids: Array
    ids_mask: int
    numbers: Array
    numbers_mask: int
    blocks: Array
    words: Array
    words_mask: int
    events: Array


@inline
def cells_at(header: Array) -> Cells:
    """A function whose body stands where it is called takes Cells; one that is called takes the header alone and asks.

    Twelve numbers for each call cost more than to load those it needs.
    """
    return Cells(
        header,
        at(header[ORDERS_AT]),
        at(header[LEVELS_AT]),
        at(header[IDS_AT]),
        header[IDS_MASK],
        at(header[NUMBERS_AT]),
        header[NUMBERS_MASK],
        at(header[BLOCKS_AT]),
        at(header[WORDS_AT]),
        header[WORDS_MASK],
        at(header[EVENTS_AT]),
    )


def tell(header: Array, arrays: Arrays) -> None:
    """Writes into the header where the arrays are."""
    for cell, array in zip(
        (ORDERS_AT, LEVELS_AT, IDS_AT, NUMBERS_AT, BLOCKS_AT, WORDS_AT, EVENTS_AT), arrays, strict=True
    ):
        header[cell] = array.ctypes.data
    header[IDS_MASK] = len(arrays.ids) - 1
    header[NUMBERS_MASK] = len(arrays.numbers) - 1
    header[WORDS_MASK] = len(arrays.words) - 1


class Order(NamedTuple):
    """An order while it is being dealt with: a command's columns, or those of an order that rests."""

    order_id: int
    account: int
    side: int
    price: int
    quantity: int
    flags: int


# header
SEQUENCE: Final = 0
COMMANDS: Final = 1
LIVE: Final = 2
LEVELS: Final = 3  # of the bids, and in the next cell of the asks
BEST: Final = 5  # level of the best bid, and in the next cell of the best ask
BLOCKS: Final = 7
WORDS: Final = 8
FREE_ORDER: Final = 9  # the first of a list of rows that were given back, linked by NEXT
LAST_ORDER: Final = 10  # the highest place that was ever used
FREE_BLOCK: Final = 11  # a number, not a place; linked by BITS
LAST_BLOCK: Final = 12
WRITTEN: Final = 13  # cells of events
MAX_ORDERS: Final = 14
HEIGHTS: Final = 15
ORDERS_AT: Final = 16
LEVELS_AT: Final = 17
IDS_AT: Final = 18
IDS_MASK: Final = 19
NUMBERS_AT: Final = 20
NUMBERS_MASK: Final = 21
BLOCKS_AT: Final = 22
WORDS_AT: Final = 23
WORDS_MASK: Final = 24
EVENTS_AT: Final = 25
AHEAD: Final = 26  # eight cells each: orders and levels of the commands to come
HEADER: Final = AHEAD + 16

# orders
ORDER_ID: Final = 0
ACCOUNT: Final = 1
LEVEL: Final = 2
FLAGS: Final = 3
QUANTITY: Final = 4
REMAINING: Final = 5
NEXT: Final = 6
PREVIOUS: Final = 7
ROW: Final = 8

# levels
TOTAL: Final = 0
COUNT: Final = 1
HEAD: Final = 2
TAIL: Final = 3
LEVEL_ROW: Final = 4
RANK_SHIFT: Final = 4
BLOCK_LEVELS: Final = 1 << RANK_SHIFT
BLOCK_SHIFT: Final = RANK_SHIFT + 2
BLOCK: Final = BLOCK_LEVELS * LEVEL_ROW

# blocks, in rows of two
BITS: Final = 0
KEY: Final = 1
BLOCK_ROW: Final = 2
