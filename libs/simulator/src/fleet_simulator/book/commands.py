"""What is asked of a book: the words, the flags, and the row of eight int64 that a command is (one cache line).

Columns that a word does not use are ignored. Prices are in ticks, quantities in lots, ids and accounts any int64.
"""

from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Commands = NDArray[np.int64]
"""Shape (n, 8)."""
Row = Sequence[int]
"""One command: eight numbers, as the functions below make them."""

WORD: Final = 0
ORDER_ID: Final = 1
ACCOUNT: Final = 2
SIDE: Final = 3
PRICE: Final = 4
QUANTITY: Final = 5
MINIMUM: Final = 6
FLAGS: Final = 7
COLUMNS: Final = 8

MAX_PRICE: Final = (1 << 42) - 1
MAX_QUANTITY: Final = (1 << 40) - 1
MAX_ORDERS: Final = 1 << 22  # times MAX_QUANTITY stays below 2^62, so that no sum over a level overflows
NO_PROTECTION: Final = 0


class Word(IntEnum):
    """ADD uses every column. MARKET too, PRICE being the protection price: the worst it may fill at, 0 for any.

    CANCEL: ORDER_ID, ACCOUNT. REPLACE: ORDER_ID, ACCOUNT, PRICE and QUANTITY, the order's new total with what has been
    filled in it. CANCEL_ACCOUNT: ACCOUNT.
    """

    ADD = 0
    CANCEL = 1
    REPLACE = 2
    MARKET = 3
    CANCEL_ACCOUNT = 4


class Side(IntEnum):
    BUY = 0
    SELL = 1


class TimeInForce(IntEnum):
    """Bits 0 and 1 of the flags: what becomes of a limit order that did not fill at once. A market order never rests."""

    REST = 0
    IOC = 1
    FOK = 2


class SelfTrade(IntEnum):
    """Bits 3 to 5: what happens when the incoming order meets one of its own account. The incoming order's word counts."""

    ALLOW = 0
    CANCEL_NEWEST = 1
    CANCEL_OLDEST = 2
    CANCEL_BOTH = 3
    DECREMENT = 4


TIME_IN_FORCE_MASK: Final = 0b000011
POST_ONLY: Final = 0b000100
SELF_TRADE_MASK: Final = 0b111000
SELF_TRADE_SHIFT: Final = 3


def flags(
    time_in_force: TimeInForce = TimeInForce.REST,
    *,
    post_only: bool = False,
    self_trade: SelfTrade = SelfTrade.ALLOW,
) -> int:
    return int(time_in_force) | (POST_ONLY if post_only else 0) | int(self_trade) << SELF_TRADE_SHIFT


def add(order_id: int, account: int, side: int, price: int, quantity: int, *, minimum: int = 0, flags: int = 0) -> Row:
    """A limit order. `minimum`: trades at least so much on entry, or nothing; what rests then is bound no longer."""
    return (int(Word.ADD), order_id, account, int(side), price, quantity, minimum, flags)


def market(
    order_id: int,
    account: int,
    side: int,
    quantity: int,
    *,
    protection_price: int = NO_PROTECTION,
    minimum: int = 0,
    flags: int = 0,
) -> Row:
    return (int(Word.MARKET), order_id, account, int(side), protection_price, quantity, minimum, flags)


def cancel(order_id: int, account: int) -> Row:
    return (int(Word.CANCEL), order_id, account, 0, 0, 0, 0, 0)


def replace(order_id: int, account: int, price: int, quantity: int) -> Row:
    """`quantity` is the new total, filled lots in it. Flags stay those of the order."""
    return (int(Word.REPLACE), order_id, account, 0, price, quantity, 0, 0)


def cancel_account(account: int) -> Row:
    return (int(Word.CANCEL_ACCOUNT), 0, account, 0, 0, 0, 0, 0)


def batch(rows: Iterable[Row]) -> Commands:
    return np.array(list(rows), dtype=np.int64).reshape(-1, COLUMNS)


def checked(commands: Commands) -> Commands:
    """The same, in one piece of memory that compiled code takes."""
    if commands.dtype != np.int64 or commands.ndim != 2 or commands.shape[1] != COLUMNS:
        raise ValueError(f"commands must be int64 of shape (n, {COLUMNS}), was {commands.dtype} {commands.shape}")
    return np.require(commands, requirements=["C", "W"])
