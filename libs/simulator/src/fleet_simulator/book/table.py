"""Open addressing with linear probing: rows of (key, value), a power of two of them, at most a quarter in use.

A key is any int64; a value of 0 marks an empty row. Removal moves what follows back, so there are no tombstones and a
look-up is as fast after years as at first.
"""

from typing import Final

import numpy as np

from fleet_simulator.book.compiled import NONE, ROWS, entry, inline, pointer, prefetch
from fleet_simulator.book.layout import Array, zeros

_VALUE: Final = 1
_ROW: Final = 2
_SPACE: Final = 4  # rows a key: at a quarter full most keys are where they are looked for first
_FACTOR: Final = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: spreads ids in sequence, and strides
_HALF: Final = np.uint64(32)


def new_table(keys: int) -> Array:
    """With room for so many."""
    return zeros(1 << (_SPACE * keys - 1).bit_length(), _ROW)


def room_in(table: Array) -> int:
    return len(table) // _SPACE


def grown(table: Array, keys: int) -> Array:
    """The same keys with room for so many."""
    if room_in(table) >= keys:
        return table
    larger = new_table(keys)
    _move(table, larger)
    return larger


@inline
def spread(key: int) -> int:
    """Its low bits say where the key is looked for first."""
    product = np.uint64(key) * _FACTOR
    return int(np.int64(product ^ product >> _HALF))


@inline
def _home(key: int, mask: int) -> int:
    return spread(key) & mask


@inline
def find(table: Array, mask: int, key: int) -> int:
    """Where the key's value is (`table[find(…)]`), or, if the key is not there, -1 - where its value would go.

    `mask` is the number of rows less 1.
    """
    row = _home(key, mask)
    while table[row * _ROW + _VALUE] != 0:
        if table[row * _ROW] == key:
            return row * _ROW + _VALUE
        row = (row + 1) & mask
    return -1 - (row * _ROW + _VALUE)


@inline
def guess(table: Array, mask: int, key: int) -> int:
    """The key's value if it is where it is looked for first, or 0."""
    place = _home(key, mask) * _ROW
    return table[place + _VALUE] if table[place] == key else 0


@inline
def expect(table: Array, mask: int, key: int) -> None:
    """This key will be looked for."""
    prefetch(table, _home(key, mask) * _ROW)


@inline
def insert(table: Array, mask: int, key: int, value: int) -> None:
    """A key that is not there."""
    place = -1 - find(table, mask, key)
    table[place - _VALUE] = key
    table[place] = value


@inline
def remove(table: Array, mask: int, place: int) -> None:
    """Empties the row whose value is at `place`, and moves into it what may stand there."""
    hole = place >> 1
    row = (hole + 1) & mask
    while table[row * _ROW + _VALUE] != 0:
        home = _home(table[row * _ROW], mask)
        if ((row - home) & mask) >= ((row - hole) & mask):
            table[hole * _ROW] = table[row * _ROW]
            table[hole * _ROW + _VALUE] = table[row * _ROW + _VALUE]
            hole = row
        row = (row + 1) & mask
    table[hole * _ROW + _VALUE] = 0


@entry(NONE, ROWS, ROWS)
def _move(old: Array, new: Array) -> None:
    table, mask = pointer(new), new.shape[0] - 1
    for row in range(old.shape[0]):
        if old[row, _VALUE] != 0:
            insert(table, mask, old[row, 0], old[row, _VALUE])
