"""A book's orders as bytes: a million of them are plain limit orders at rest, and those are rows of numbers."""

from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any, Final

import msgspec
import numpy as np
from fleet_simulator import Order, OrderType, Phase, SelfTrade, Side, TimeInForce

_CHUNK: Final = 10_000
_MOST: Final = 1 << 62
_SIDES, _TIMES, _SELF_TRADES = tuple(Side), tuple(TimeInForce), tuple(SelfTrade)
_WORDS: Final = {word: number for words in (_SIDES, _TIMES, _SELF_TRADES) for number, word in enumerate(words)}
_PLAIN: Final = {
    "type": OrderType.LIMIT,
    "phase": Phase.BOOK,
    "protection_price": None,
    "met_quote": False,
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
}
_plain_values = attrgetter(*_PLAIN)
_PLAIN_VALUES: Final = tuple(_PLAIN.values())
_NUMBERS: Final = (
    *("quantity", "limit_price", "accepted_at", "arrival", "filled_quantity", "filled_notional", "fee"),
    *("account", "book_id", "priority", "entered_at", "maker_quantity", "maker_notional", "resting", "declared"),
)
_numbers = attrgetter(*_NUMBERS)
_REF_CHARS: Final = 32


class PackedOrders(msgspec.Struct, array_like=True):
    """`numbers` are rows of int64, one for each of `refs`; `others` are as the simulator writes them."""

    accounts: list[str]
    refs: bytes
    numbers: bytes
    others: list[dict[str, Any]]


def packed(orders: Iterable[Order]) -> PackedOrders:
    accounts: dict[str, int] = {}
    refs: list[str] = []
    rows: list[tuple[int, ...]] = []
    pieces: list[bytes] = []
    others: list[dict[str, Any]] = []
    for order in orders:
        if _plain_values(order) != _PLAIN_VALUES or order.filled_notional > _MOST:
            others.append(order.to_data())
            continue
        account = accounts.setdefault(order.account_id, len(accounts))
        words = _WORDS[order.side], _WORDS[order.time_in_force], _WORDS[order.self_trade]
        refs.append(order.order_ref)
        rows.append((account, *words, *_numbers(order)))
        if len(rows) == _CHUNK:
            pieces.append(np.array(rows, dtype=np.int64).tobytes())
            rows.clear()
    pieces.append(np.array(rows, dtype=np.int64).tobytes())
    return PackedOrders(list(accounts), bytes.fromhex("".join(refs)), b"".join(pieces), others)


def unpacked(content: PackedOrders) -> Iterator[Order]:
    refs = content.refs.hex()
    rows = np.frombuffer(content.numbers, dtype=np.int64).reshape(-1, 4 + len(_NUMBERS))
    for first in range(0, len(rows), _CHUNK):
        for n, row in enumerate(rows[first : first + _CHUNK].tolist(), start=first):
            account, side, time_in_force, self_trade, quantity, limit_price, accepted_at, arrival, *numbers = row
            filled_quantity, filled_notional, fee, number, book_id, priority, entered_at, *numbers = numbers
            maker_quantity, maker_notional, resting, declared = numbers
            yield Order(
                order_ref=refs[_REF_CHARS * n : _REF_CHARS * (n + 1)],
                account_id=content.accounts[account],
                side=_SIDES[side],
                type=OrderType.LIMIT,
                quantity=quantity,
                time_in_force=_TIMES[time_in_force],
                limit_price=limit_price,
                protection_price=None,
                accepted_at=accepted_at,
                arrival=arrival,
                filled_quantity=filled_quantity,
                filled_notional=filled_notional,
                fee=fee,
                self_trade=_SELF_TRADES[self_trade],
                account=number,
                book_id=book_id,
                priority=priority,
                entered_at=entered_at,
                maker_quantity=maker_quantity,
                maker_notional=maker_notional,
                resting=resting,
                declared=declared,
            )
    yield from map(Order.from_data, content.others)
