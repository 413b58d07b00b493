"""What changes of an order without an event, for who keeps each order in a row of its own."""

from decimal import Decimal
from typing import Any

from fleet_simulator import Cancel, FeeSchedule, Market, OrderType, Place, Side, Trade


def order(ref: str, side: Side, limit_price: int, **changed: Any) -> Place:
    return Place(ref, "A", 1, side, OrderType.LIMIT, 10, limit_price=limit_price, **changed)


def test_a_child_that_its_parent_leaves_alone_has_changed() -> None:
    target = Market("AAPL/USD", FeeSchedule.of(Decimal("0.001"), tick=Decimal("0.01"), lot=Decimal(1)))
    target.apply(order("child", Side.SELL, 110, parent_ref="parent"), 0)
    target.apply(order("parent", Side.BUY, 100), 0)
    target.on_trade(Trade(1, 99, 4))
    assert (target.orders["child"].quantity, target.take_changed()) == (4, set())
    target.apply(Cancel("parent", "A", 2), 1)
    assert (target.take_changed(), target.orders["child"].parent_ref) == ({"child"}, None)
