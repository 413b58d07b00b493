"""What a book answers: rows of twelve int64, and the same as values for who reads them one by one.

The first nine columns mean the same in every row, the last three depend on its kind. SEQUENCE counts the book's events
from 1 without a gap, COMMAND the commands it was given, so that an event names its cause at any batch size. An order
ends with a TRADED or DECREMENTED that leaves 0 of it, or with its CANCELED.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fleet_simulator.book.commands import Side

Events = NDArray[np.int64]
"""Shape (n, 12)."""

SEQUENCE: Final = 0
COMMAND: Final = 1
KIND: Final = 2
ORDER_ID: Final = 3
ACCOUNT: Final = 4
SIDE: Final = 5
PRICE: Final = 6
QUANTITY: Final = 7
REMAINING: Final = 8
# TRADED, DECREMENTED
MAKER_ID: Final = 9
MAKER_ACCOUNT: Final = 10
MAKER_REMAINING: Final = 11
# REPLACED
PREVIOUS_PRICE: Final = 9
PREVIOUS_REMAINING: Final = 10
PRIORITY_KEPT: Final = 11
# CANCELED, REJECTED
REASON: Final = 9
WAS_RESTING: Final = 10
COLUMNS: Final = 12


class Kind(IntEnum):
    ACCEPTED = 0
    REJECTED = 1
    TRADED = 2
    DECREMENTED = 3
    CANCELED = 4
    REPLACED = 5


class Reason(IntEnum):
    """Up to MASS: why an order was cancelled. From INVALID_WORD on: why a command was rejected; POST_ONLY is both."""

    REQUESTED = 1
    IOC = 2
    FOK = 3
    PROTECTION = 4
    """The market order's rest lies beyond its protection price."""
    NO_LIQUIDITY = 5
    """The market order found the other side empty, or emptied it."""
    SELF_TRADE = 6
    POST_ONLY = 7
    MINIMUM = 8
    REPLACED = 9
    """The new total was no more than what is filled."""
    MASS = 10
    INVALID_WORD = 20
    INVALID_SIDE = 21
    INVALID_QUANTITY = 22
    INVALID_PRICE = 23
    INVALID_FLAGS = 24
    INVALID_MINIMUM = 25
    DUPLICATE_ORDER = 26
    """An order of this id rests. Ids of ended orders are not remembered."""
    UNKNOWN_ORDER = 27
    """No order of this id and account rests."""
    BOOK_FULL = 28


@dataclass(frozen=True, slots=True)
class Rejected:
    """Nothing has changed. Side, price and quantity as they were given."""

    sequence: int
    command: int
    order_id: int
    account: int
    side: int
    price: int
    quantity: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class _OfOrder:
    sequence: int
    command: int
    order_id: int
    account: int
    side: Side
    price: int
    quantity: int


@dataclass(frozen=True, slots=True)
class Accepted(_OfOrder):
    """A new order. `rested` is what of it stands in the book when its command is done, after the events that follow."""

    rested: int


@dataclass(frozen=True, slots=True)
class _OfTwo(_OfOrder):
    """`order_id`, `account`, `side` and `remaining` are of the one who came last."""

    remaining: int
    maker_id: int
    maker_account: int
    maker_remaining: int


@dataclass(frozen=True, slots=True)
class Traded(_OfTwo):
    """A trade at the maker's price."""


@dataclass(frozen=True, slots=True)
class Decremented(_OfTwo):
    """No trade: both orders are of one account, and both have become smaller by `quantity`."""


@dataclass(frozen=True, slots=True)
class Canceled(_OfOrder):
    """`quantity` will not fill any more. `was_resting`: it stood in the book, else it never came to rest."""

    reason: Reason
    was_resting: bool


@dataclass(frozen=True, slots=True)
class Replaced(_OfOrder):
    """`quantity` is the new total; `rested` as in Accepted."""

    rested: int
    previous_price: int
    previous_remaining: int
    priority_kept: bool


Event = Accepted | Rejected | Traded | Decremented | Canceled | Replaced


def decode(events: Events) -> list[Event]:
    """The rows as values, in their order."""
    return [_decoded(row) for row in events.tolist()]


def _decoded(row: list[int]) -> Event:
    sequence, command, kind, order_id, account, side, price, quantity, remaining, first, second, third = row
    if kind == Kind.REJECTED:
        return Rejected(sequence, command, order_id, account, side, price, quantity, Reason(first))
    head = (sequence, command, order_id, account, Side(side), price, quantity)
    match Kind(kind):
        case Kind.ACCEPTED:
            return Accepted(*head, remaining)
        case Kind.CANCELED:
            return Canceled(*head, Reason(first), bool(second))
        case Kind.REPLACED:
            return Replaced(*head, remaining, first, second, bool(third))
        case Kind.DECREMENTED:
            return Decremented(*head, remaining, first, second, third)
        case _:
            return Traded(*head, remaining, first, second, third)
