"""Price levels: found by a table, ordered by bitmaps.

A price's *rank* is its distance from the end where its side is best: ranks rise as prices get worse, on both sides.
Levels stand in blocks of 16 ranks; a table tells a block's number by side and rank / 16, and a bitmap by that number
which of its levels have orders. The blocks are the leaves of a tree of 64-bit words: bit b of word (height 0, p) says
that there is a block for rank / 16 = 64 p + b, bit b of (height h + 1, p) that word (h, 64 p + b) is not 0. Words that
are 0 do not exist; the others stand in a table under (prefix, height, side). So the next level is found by looking at
one bitmap, or at a few words up and down again; and a level that is alone wherever its price lies costs one block and
at most seven words, some 1 kB.
"""

from typing import Final

from fleet_simulator.book.commands import MAX_PRICE, Side
from fleet_simulator.book.compiled import inline, inner, lowest_bit, prefetch
from fleet_simulator.book.layout import (
    BEST,
    BITS,
    BLOCK,
    BLOCK_LEVELS,
    BLOCK_ROW,
    BLOCK_SHIFT,
    BLOCKS,
    COUNT,
    FREE_BLOCK,
    HEAD,
    HEIGHTS,
    KEY,
    LAST_BLOCK,
    LEVEL_ROW,
    LEVELS,
    RANK_SHIFT,
    TAIL,
    TOTAL,
    WORDS,
    Array,
    Cells,
    cells_at,
)
from fleet_simulator.book.table import expect, find, guess, insert, remove

TREE_HEIGHTS: Final = 7
"""16 * 64^7 ranks are more than there are prices. Compiled code has it from the header, as a number that it does not know:
it would write each loop over it out seven times."""
_BUY: Final = int(Side.BUY)


@inline
def rank_of(side: int, price: int) -> int:
    """Its own inverse."""
    return MAX_PRICE - price if side == _BUY else price


@inline
def _find_block(book: Cells, side: int, rank: int) -> int:
    """Its number, or 0."""
    place = find(book.numbers, book.numbers_mask, _block_key(rank, side))
    return int(book.numbers[place]) if place >= 0 else 0


@inline
def _level_in(block: int, rank: int) -> int:
    return block * BLOCK + (rank & BLOCK_LEVELS - 1) * LEVEL_ROW


@inline
def _bit(rank: int) -> int:
    return 1 << (rank & BLOCK_LEVELS - 1)


@inline
def side_of(book: Cells, level: int) -> int:
    return int(book.blocks[(level >> BLOCK_SHIFT) * BLOCK_ROW + KEY]) & 1


@inline
def price_of(book: Cells, level: int) -> int:
    return rank_of(side_of(book, level), _rank_at(book, level))


@inline
def _rank_at(book: Cells, level: int) -> int:
    key = book.blocks[(level >> BLOCK_SHIFT) * BLOCK_ROW + KEY]
    return int(key >> 1) << RANK_SHIFT | (level >> BLOCK_SHIFT - RANK_SHIFT & BLOCK_LEVELS - 1)


@inline
def guess_level(book: Cells, side: int, price: int) -> int:
    """Where the level of this price probably is, or would be."""
    rank = rank_of(side, price)
    return _level_in(guess(book.numbers, book.numbers_mask, _block_key(rank, side)), rank)


@inline
def find_level(book: Cells, side: int, price: int) -> int:
    """The level of this price, or 0."""
    rank = rank_of(side, price)
    block = _find_block(book, side, rank)
    return _level_in(block, rank) if block != 0 and book.blocks[block * BLOCK_ROW + BITS] & _bit(rank) != 0 else 0


@inline
def expect_block(book: Cells, side: int, price: int) -> None:
    expect(book.numbers, book.numbers_mask, _block_key(rank_of(side, price), side))


@inline
def expect_level(book: Cells, level: int) -> None:
    """This level will be wanted."""
    prefetch(book.levels, level)
    prefetch(book.blocks, (level >> BLOCK_SHIFT) * BLOCK_ROW)


@inline
def level_for(book: Cells, side: int, price: int) -> int:
    """The level of this price, opened if it has no order yet."""
    header, levels = book.header, book.levels
    rank = rank_of(side, price)
    block = _find_block(book, side, rank)
    if block == 0:
        block = _new_block(header, side, rank)
    level = _level_in(block, rank)
    if book.blocks[block * BLOCK_ROW + BITS] & _bit(rank) == 0:
        book.blocks[block * BLOCK_ROW + BITS] |= _bit(rank)
        levels[level + TOTAL] = 0
        levels[level + COUNT] = 0
        levels[level + HEAD] = 0
        levels[level + TAIL] = 0
        header[LEVELS + side] += 1
        best = header[BEST + side]
        if best == 0 or rank < _rank_at(book, best):
            header[BEST + side] = level
    return level


@inner
def close_level(header: Array, level: int) -> None:
    """Takes out a level without orders."""
    book = cells_at(header)
    side, rank, block = side_of(book, level), _rank_at(book, level), level >> BLOCK_SHIFT
    if header[BEST + side] == level:
        header[BEST + side] = level_after(header, level)
    header[LEVELS + side] -= 1
    book.blocks[block * BLOCK_ROW + BITS] &= ~_bit(rank)
    if book.blocks[block * BLOCK_ROW + BITS] == 0:
        _free_block(header, block, side, rank)


@inner
def level_after(header: Array, level: int) -> int:
    """The next level on its side that is worse, or 0."""
    book = cells_at(header)
    block = level >> BLOCK_SHIFT
    side, rank = side_of(book, level), _rank_at(book, level)
    above = book.blocks[block * BLOCK_ROW + BITS] & (-2 << (rank & BLOCK_LEVELS - 1))
    if above != 0:
        return _level_in(block, lowest_bit(above))
    number = rank >> RANK_SHIFT
    for height in range(book.header[HEIGHTS]):
        prefix = number >> 6
        place = find(book.words, book.words_mask, _word_key(prefix, height, side))
        above = book.words[place] & (-2 << (number & 63))
        if above != 0:
            number = prefix << 6 | lowest_bit(above)
            for below in range(height - 1, -1, -1):
                place = find(book.words, book.words_mask, _word_key(number, below, side))
                number = number << 6 | lowest_bit(book.words[place])
            block = _find_block(book, side, number << RANK_SHIFT)
            return _level_in(block, lowest_bit(book.blocks[block * BLOCK_ROW + BITS]))
        number = prefix
    return 0


@inline
def _block_key(rank: int, side: int) -> int:
    return rank >> RANK_SHIFT << 1 | side


@inline
def _word_key(prefix: int, height: int, side: int) -> int:
    return prefix << 4 | height << 1 | side


@inner
def _new_block(header: Array, side: int, rank: int) -> int:
    book = cells_at(header)
    block = header[FREE_BLOCK]
    if block != 0:
        header[FREE_BLOCK] = book.blocks[block * BLOCK_ROW + BITS]
    else:
        block = header[LAST_BLOCK] + 1
        header[LAST_BLOCK] = block
    book.blocks[block * BLOCK_ROW + BITS] = 0
    book.blocks[block * BLOCK_ROW + KEY] = _block_key(rank, side)
    header[BLOCKS] += 1
    insert(book.numbers, book.numbers_mask, _block_key(rank, side), block)
    number = rank >> RANK_SHIFT
    for height in range(book.header[HEIGHTS]):
        key, bit = _word_key(number >> 6, height, side), 1 << (number & 63)
        place = find(book.words, book.words_mask, key)
        if place >= 0:
            book.words[place] |= bit
            break
        insert(book.words, book.words_mask, key, bit)
        header[WORDS] += 1
        number >>= 6
    return int(block)


@inner
def _free_block(header: Array, block: int, side: int, rank: int) -> None:
    book = cells_at(header)
    remove(book.numbers, book.numbers_mask, find(book.numbers, book.numbers_mask, _block_key(rank, side)))
    book.blocks[block * BLOCK_ROW + BITS] = header[FREE_BLOCK]
    header[FREE_BLOCK] = block
    header[BLOCKS] -= 1
    number = rank >> RANK_SHIFT
    for height in range(book.header[HEIGHTS]):
        place = find(book.words, book.words_mask, _word_key(number >> 6, height, side))
        left = book.words[place] & ~(1 << (number & 63))
        if left != 0:
            book.words[place] = left
            break
        remove(book.words, book.words_mask, place)
        header[WORDS] -= 1
        number >>= 6
