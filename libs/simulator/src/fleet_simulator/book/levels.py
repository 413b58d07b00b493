"""Price levels: found by a table, ordered by bitmaps.

A price's *rank* is its distance from the end where its side is best: ranks rise as prices get worse, on both sides. The
set of ranks in use is a tree of 64-bit words: bit b of word (height 0, p) says that rank 64 p + b has a level, bit b of
(height h + 1, p) that word (h, 64 p + b) is not 0. Words that are 0 do not exist; the others stand in a table under
(prefix, height, side). So a level costs at most HEIGHTS words wherever its price lies (and none of its own among
neighbours), and the next level is found by looking at one word, or a few up and down again.
"""

from typing import Final

from fleet_simulator.book.commands import MAX_PRICE, Side
from fleet_simulator.book.compiled import inline, inner, lowest_bit
from fleet_simulator.book.layout import (
    BEST,
    COUNT,
    FREE_LEVEL,
    HEAD,
    LAST_LEVEL,
    LEVELS,
    PRICE,
    ROW,
    SIDE,
    TAIL,
    TOTAL,
    WORDS,
    Cells,
)
from fleet_simulator.book.table import find, insert, remove

HEIGHTS: Final = 7  # 64^7 = 2^42 ranks
_BUY: Final = int(Side.BUY)


@inline
def rank_of(side: int, price: int) -> int:
    """Its own inverse."""
    return MAX_PRICE - price if side == _BUY else price


@inline
def find_level(book: Cells, side: int, price: int) -> int:
    place = find(book.slots, book.slots_mask, rank_of(side, price) * 2 + side)
    return int(book.slots[place]) if place >= 0 else 0


@inner
def open_level(book: Cells, side: int, price: int) -> int:
    """The level of this price, which has none yet."""
    header, levels = book.header, book.levels
    level = header[FREE_LEVEL]
    if level != 0:
        header[FREE_LEVEL] = levels[level + HEAD]
    else:
        level = header[LAST_LEVEL] + ROW
        header[LAST_LEVEL] = level
    levels[level + PRICE] = price
    levels[level + SIDE] = side
    levels[level + TOTAL] = 0
    levels[level + COUNT] = 0
    levels[level + HEAD] = 0
    levels[level + TAIL] = 0
    rank = rank_of(side, price)
    insert(book.slots, book.slots_mask, rank * 2 + side, level)
    _set(book, side, rank)
    header[LEVELS + side] += 1
    best = header[BEST + side]
    if best == 0 or rank < rank_of(side, levels[best + PRICE]):
        header[BEST + side] = level
    return int(level)


@inner
def close_level(book: Cells, level: int) -> None:
    """Takes out a level without orders."""
    header, levels = book.header, book.levels
    side, price = levels[level + SIDE], levels[level + PRICE]
    rank = rank_of(side, price)
    remove(book.slots, book.slots_mask, find(book.slots, book.slots_mask, rank * 2 + side))
    _clear(book, side, rank)
    header[LEVELS + side] -= 1
    if header[BEST + side] == level:
        header[BEST + side] = level_after(book, side, price)
    levels[level + HEAD] = header[FREE_LEVEL]
    header[FREE_LEVEL] = level


@inner
def level_after(book: Cells, side: int, price: int) -> int:
    """The next level that is worse than this price, which need not have one; 0 for none."""
    rank = rank_of(side, price)
    for height in range(HEIGHTS):
        prefix = rank >> 6
        place = find(book.words, book.words_mask, _key(prefix, height, side))
        if place >= 0:
            above = book.words[place] & (-2 << (rank & 63))
            if above != 0:
                rank = prefix << 6 | lowest_bit(above)
                for below in range(height - 1, -1, -1):
                    place = find(book.words, book.words_mask, _key(rank, below, side))
                    rank = rank << 6 | lowest_bit(book.words[place])
                return int(book.slots[find(book.slots, book.slots_mask, rank * 2 + side)])
        rank = prefix
    return 0


@inline
def _key(prefix: int, height: int, side: int) -> int:
    return prefix << 4 | height << 1 | side


@inner
def _set(book: Cells, side: int, rank: int) -> None:
    for height in range(HEIGHTS):
        key, bit = _key(rank >> 6, height, side), 1 << (rank & 63)
        place = find(book.words, book.words_mask, key)
        if place >= 0:
            book.words[place] |= bit
            return
        insert(book.words, book.words_mask, key, bit)
        book.header[WORDS] += 1
        rank >>= 6


@inner
def _clear(book: Cells, side: int, rank: int) -> None:
    for height in range(HEIGHTS):
        place = find(book.words, book.words_mask, _key(rank >> 6, height, side))
        left = book.words[place] & ~(1 << (rank & 63))
        if left != 0:
            book.words[place] = left
            return
        remove(book.words, book.words_mask, place)
        book.header[WORDS] -= 1
        rank >>= 6
