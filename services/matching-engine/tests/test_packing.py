"""Orders as bytes: whatever is not as in a plain one is kept."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from fleet_matching_engine.domain.packing import packed, unpacked
from fleet_simulator import Order, OrderType, Phase, SelfTrade, Side, TimeInForce
from fleet_simulator.book.book import Resting

PLAIN = Order(
    order_ref="0" * 31 + "1",
    account_id="A",
    side=Side.BUY,
    type=OrderType.LIMIT,
    quantity=7,
    time_in_force=TimeInForce.GTC,
    limit_price=100,
    protection_price=None,
    accepted_at=1000,
    arrival=3,
    account=2,
    book_id=5,
)
OTHER: dict[str, Any] = {
    "order_ref": "0" * 31 + "2",
    "account_id": "B",
    "side": Side.SELL,
    "type": OrderType.STOP_LIMIT,
    "time_in_force": TimeInForce.DAY,
    "met_quote": True,
    "taking": True,
    "post_only": True,
    "reduce_only": True,
    "self_trade": SelfTrade.CANCEL_NEWEST,
    "oco_group": "g",
    "parent_ref": "p",
    "phase": next(phase for phase in Phase if phase is not Phase.BOOK),
    "elected": True,
}


def kept(order: Order) -> Order:
    side = 0 if order.side is Side.BUY else 1
    row = Resting(order.book_id, order.account, side, order.limit_price or 0, order.quantity, order.resting, 0)
    resting = np.array([row], dtype=np.int64)
    (found,) = unpacked(packed([order], resting), resting)
    return found


def test_a_plain_order_is_a_row() -> None:
    assert packed([PLAIN], np.array([Resting(5, 2, 0, 100, 7, 7, 0)], dtype=np.int64)).others == []
    assert kept(PLAIN) == PLAIN


@pytest.mark.parametrize("name", [field.name for field in fields(Order)])
def test_an_order_that_differs_in_one_thing_is_kept_as_it_is(name: str) -> None:
    changed: Any = OTHER[name] if name in OTHER else (getattr(PLAIN, name) or 0) + 4
    order = replace(PLAIN, **{name: changed})
    assert kept(order) == order
