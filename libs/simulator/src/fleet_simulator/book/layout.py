"""How the fast book lies in memory.

A row of orders or levels is named by its *place*, the number of its first cell: `orders[order + REMAINING]`. The first
row is nobody's, so that place 0 means none.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fleet_simulator.book.compiled import arrays_of, inline, pointer

Array = NDArray[np.int64]


class Arrays(NamedTuple):
    """`orders` and `levels` are rows of one cache line; `ids`, `slots` and `words` open-addressing tables (table.py).

    `ids`: order id → order. `slots`: rank and side → level. `words`: the bitmaps of levels.py. `events`: what the last
    call wrote.
    """

    header: Array
    orders: Array
    levels: Array
    ids: Array
    slots: Array
    words: Array
    events: Array


ARRAYS: Final = arrays_of(Arrays, 1, 2, 2, 2, 2, 2, 2)


class Cells(NamedTuple):
    """The same for compiled code: the first cell of each, and the masks of the tables."""

    header: Array
    orders: Array
    levels: Array
    ids: Array
    ids_mask: int
    slots: Array
    slots_mask: int
    words: Array
    words_mask: int
    events: Array


@inline
def cells_of(arrays: Arrays) -> Cells:
    return Cells(
        pointer(arrays.header),
        pointer(arrays.orders),
        pointer(arrays.levels),
        pointer(arrays.ids),
        arrays.ids.shape[0] - 1,
        pointer(arrays.slots),
        arrays.slots.shape[0] - 1,
        pointer(arrays.words),
        arrays.words.shape[0] - 1,
        pointer(arrays.events),
    )


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
WORDS: Final = 5
BEST: Final = 6  # level of the best bid, and in the next cell of the best ask
FREE_ORDER: Final = 8  # the first of a list of rows that were given back, linked by NEXT
LAST_ORDER: Final = 9  # the highest place that was ever used
FREE_LEVEL: Final = 10  # linked by HEAD
LAST_LEVEL: Final = 11
WRITTEN: Final = 12  # cells of events
MAX_ORDERS: Final = 13
HEADER: Final = 16

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

# levels, in rows of as many
PRICE: Final = 0
SIDE: Final = 1
TOTAL: Final = 2
COUNT: Final = 3
HEAD: Final = 4
TAIL: Final = 5
