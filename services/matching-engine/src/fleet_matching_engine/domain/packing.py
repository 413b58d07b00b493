"""A book's orders as bytes. A million of them are plain limit orders at rest: the core's row of one has nearly all of it."""

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
from fleet_simulator import Order, OrderType, Phase, SelfTrade, Side, TimeInForce
from fleet_simulator.book.book import Resting
from numpy.typing import NDArray

_CHUNK: Final = 10_000
_SIDES: Final = (Side.BUY, Side.SELL)
"""By the core's numbers."""
_WORDS: Final = tuple((time, self_trade) for time in TimeInForce for self_trade in SelfTrade)
_NUMBERS: Final = {words: number for number, words in enumerate(_WORDS)}
_NOT_PLAIN: Final = (-1, 0, 0)
_PLAIN: Final = {
    "type": OrderType.LIMIT,
    "phase": Phase.BOOK,
    "protection_price": None,
    "met_quote": False,
    "taking": False,
    "stop_price": None,
    "trail_amount": None,
    "trail_ppm": None,
    "display_quantity": None,
    "minimum_quantity": 0,
    "expires_at": None,
    "post_only": False,
    "reduce_only": False,
    "oco_group": None,
    "parent_ref": None,
    "mark": None,
    "ahead": None,
    "granted": 0,
    "elected": False,
    "filled_quantity": 0,
    "filled_notional": 0,
    "maker_quantity": 0,
    "maker_notional": 0,
    "split_gain": 0,
    "fee": 0,
}
_plain_values = attrgetter(*_PLAIN)
_PLAIN_VALUES: Final = tuple(_PLAIN.values())
_REF_CHARS: Final = 32


class PackedOrders(msgspec.Struct, array_like=True):
    """A row of three int64 for each of the core's: place in `accounts` and words, time, arrival. `refs` of the plain ones.

    `others` are as the simulator writes them."""

    accounts: list[str]
    refs: bytes
    numbers: bytes
    others: list[dict[str, Any]]


def _is_plain(order: Order) -> bool:
    return (
        _plain_values(order) == _PLAIN_VALUES
        and order.quantity == order.resting == order.declared
        and order.priority == order.arrival
        and order.entered_at == order.accepted_at
    )


def packed(orders: Iterable[Order], resting: NDArray[np.int64]) -> PackedOrders:
    plain: dict[int, Order] = {}
    others: list[dict[str, Any]] = []
    for order in orders:
        if _is_plain(order):
            plain[order.book_id] = order
        else:
            others.append(order.to_data())
    accounts: dict[str, int] = {}
    refs: list[str] = []
    rows: list[tuple[int, int, int]] = []
    for book_id in resting[:, Resting._fields.index("order_id")].tolist():
        found = plain.get(book_id)
        if found is None:
            rows.append(_NOT_PLAIN)
            continue
        account = accounts.setdefault(found.account_id, len(accounts))
        words = _NUMBERS[found.time_in_force, found.self_trade]
        refs.append(found.order_ref)
        rows.append((account * len(_WORDS) + words, found.accepted_at, found.arrival))
    return PackedOrders(list(accounts), bytes.fromhex("".join(refs)), np.array(rows, dtype=np.int64).tobytes(), others)


def unpacked(content: PackedOrders, resting: NDArray[np.int64]) -> Iterator[Order]:
    refs, at = content.refs.hex(), 0
    numbers = np.frombuffer(content.numbers, dtype=np.int64).reshape(-1, 3)
    for first in range(0, len(numbers), _CHUNK):
        chunk = slice(first, first + _CHUNK)
        for (words, accepted_at, arrival), row in zip(numbers[chunk].tolist(), resting[chunk].tolist(), strict=True):
            if words < 0:
                continue
            book_id, number, side, price, _, quantity, _ = row
            account, which = divmod(words, len(_WORDS))
            time_in_force, self_trade = _WORDS[which]
            yield Order(
                order_ref=refs[at : at + _REF_CHARS],
                account_id=content.accounts[account],
                side=_SIDES[side],
                type=OrderType.LIMIT,
                quantity=quantity,
                time_in_force=time_in_force,
                limit_price=price,
                protection_price=None,
                accepted_at=accepted_at,
                arrival=arrival,
                self_trade=self_trade,
                account=number,
                book_id=book_id,
                declared=quantity,
            )
            at += _REF_CHARS
    yield from map(Order.from_data, content.others)
