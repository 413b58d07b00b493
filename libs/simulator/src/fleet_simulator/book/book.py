"""The interface of a book, and the values it answers questions with."""

from typing import Final, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from fleet_simulator.book.commands import MAX_PRICE, MAX_QUANTITY, Commands, Row, Side
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

    def checked(self) -> Self:
        """The same, in memory that compiled code takes; `ValueError` if no book can have given it."""
        counters, orders = (np.require(array, requirements=["C", "W"]) for array in self)
        if counters.shape != (2,) or orders.ndim != 2 or orders.shape[1] != len(Resting._fields):
            raise ValueError(f"a snapshot has shapes (2,) and (n, 7), was {counters.shape} and {orders.shape}")
        if counters.dtype != np.int64 or orders.dtype != np.int64:
            raise ValueError(f"a snapshot is of int64, was {counters.dtype} and {orders.dtype}")
        order_id, _, side, price, quantity, remaining, _ = orders.T
        bids, asks = price[side == Side.BUY], price[side == Side.SELL]
        if (
            np.any((side != Side.BUY) & (side != Side.SELL))
            or np.any((price < 1) | (price > MAX_PRICE))
            or np.any((remaining < 1) | (remaining > quantity) | (quantity > MAX_QUANTITY))
            or len(np.unique(order_id)) != len(orders)
            or (len(bids) and len(asks) and bids.max() >= asks.min())
        ):
            raise ValueError("a snapshot's orders have one id each, a side, price and quantities, and do not cross")
        return type(self)(counters, orders)


class Book(Protocol):
    """One symbol's orders. Same commands → same events and state hash, at any batch size and after any snapshot."""

    @property
    def sequence(self) -> int:
        """The last event's."""

    @property
    def commands(self) -> int:
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
