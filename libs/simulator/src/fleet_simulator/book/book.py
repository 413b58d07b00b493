"""The interface of a book, and the values it answers questions with."""

from typing import Final, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from fleet_simulator.book.commands import Commands, Row
from fleet_simulator.book.events import Events


class Resting(NamedTuple):
    """An order in the book. `quantity` is its total, what has been filled in it; `remaining` what stands."""

    order_id: int
    account: int
    side: int
    price: int
    quantity: int
    remaining: int
    flags: int


class Level(NamedTuple):
    """What stands at one price; 0 and 0 where nothing does."""

    price: int
    quantity: int
    orders: int


class Snapshot(NamedTuple):
    """All of a book's state as plain arrays, the same from either engine, and either restores it.

    `counters`: event sequence, commands. `orders`: a row of Resting's seven columns for each order, the bids from the
    best price down and then the asks from the best price up, within a price by time priority.
    """

    counters: NDArray[np.int64]
    orders: NDArray[np.int64]


class Book(Protocol):
    """One symbol's orders. Same commands → same events and state hash, at any batch size and after any snapshot."""

    sequence: int
    """The last event's."""
    commands: int
    """How many it was given."""

    def apply(self, commands: Commands) -> Events:
        """Obeys the commands in order. The events are the caller's own."""

    def apply_one(self, command: Row) -> Events: ...

    def __len__(self) -> int:
        """Orders that rest."""

    def best(self, side: int) -> int | None:
        """The highest bid or the lowest ask."""

    def level(self, side: int, price: int) -> Level: ...

    def depth(self, side: int, limit: int) -> NDArray[np.int64]:
        """The best `limit` levels, a row of Level's three columns each, the best first."""

    def order(self, order_id: int) -> Resting | None: ...

    def orders(self, account: int | None = None) -> NDArray[np.int64]:
        """All orders, or an account's: rows as in a snapshot."""

    def snapshot(self) -> Snapshot: ...

    @classmethod
    def restore(cls, snapshot: Snapshot) -> Self: ...

    def state_hash(self) -> int:
        """64 bits over all of the state; `StateHash` says how."""


_MASK: Final = (1 << 64) - 1
HASH_SEED: Final = 0x7472616465666C74
HASH_FACTOR: Final = 0x9E3779B97F4A7C15  # 2^64 / golden ratio, odd
HASH_SHIFT: Final = 32


def mixed(state: int, word: int) -> int:
    """One step of the state hash: `h = (h XOR word) * HASH_FACTOR mod 2^64; h = h XOR (h >> 32)`.

    The hash starts from HASH_SEED and takes these words: event sequence, commands; then for the bids and for the asks:
    the number of levels, and for each level from the best on its price, quantity and number of orders, followed by
    order_id, account, quantity, remaining and flags of each of its orders by time priority. Negative words as two's
    complement.
    """
    state = (state ^ (word & _MASK)) * HASH_FACTOR & _MASK
    return state ^ state >> HASH_SHIFT
