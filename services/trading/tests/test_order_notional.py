"""Orders for an amount of money instead of a quantity."""

from decimal import Decimal as D
from typing import Any

import pytest
from account_commands import AAPL, an_account, an_order, conditions, denial, done
from fleet_simulator import OrderType, Side
from fleet_trading.domain import OrderPlaced, Reference, Terms
from hypothesis import given
from hypothesis import strategies as st


def _quantity(**fields: Any) -> D:
    account = an_account(10**9)
    (event,) = done(account, an_order(quantity=0, **fields))
    assert isinstance(event, OrderPlaced), event
    return event.order.quantity


@given(st.decimals("1", "100000", places=2), st.decimals("1", "1000", places=4))
def test_it_buys_as_many_lots_as_the_money_pays_and_not_one_more(notional: D, limit: D) -> None:
    command = an_order(quantity=0, limit=limit, notional=notional)
    if notional < limit:
        assert denial(an_account(10**9), command) == "invalid_notional"
        return
    quantity = _quantity(limit=limit, notional=notional)
    assert quantity % AAPL.lot == 0
    assert quantity * limit <= notional < (quantity + AAPL.lot) * limit


def test_it_is_measured_at_the_limit_or_stop_price_or_what_the_market_asks_or_bids() -> None:
    quoted = conditions(reference=Reference(D(50), D(100), D(80), conditions().now, False))
    assert _quantity(notional=D(1000), conditions=quoted) == 10
    assert _quantity(notional=D(1000), conditions=quoted, limit=40) == 25
    stop = {"type": OrderType.STOP, "terms": Terms(stop_price=D(200))}
    assert _quantity(notional=D(1000), conditions=quoted, **stop) == 5
    account = an_account()
    stale = conditions(reference=Reference(D(50), D(100), D(80), conditions().now, True))
    assert denial(account, an_order(quantity=0, notional=D(1000), conditions=stale)) == "stale_reference"
    assert denial(account, an_order(side=Side.SELL, quantity=0, notional=D(1000))) == "insufficient_position"
    assert denial(account, an_order(quantity=0, notional=D(-5), limit=1)) == "invalid_notional"


@pytest.mark.parametrize("more", [{}, {"type": "limit", "limit_price": "180"}])
async def test_the_order_shows_the_quantity_and_a_repetition_is_the_same_order(fleet: Any, more: Any) -> None:
    user = fleet.a_user()
    body = {"quantity": None, "notional": "1000", "client_order_id": "a"} | more
    order = await fleet.accepted(user, **body)
    assert order["quantity"] == ("5" if more else "10")
    assert (await fleet.accepted(user, **body))["order_id"] == order["order_id"]
    assert (await fleet.order(user, **(body | {"notional": "1001"}))).code == "client_order_id_reused"


async def test_an_order_that_an_algorithm_works_is_not_replaced(fleet: Any) -> None:
    user = fleet.a_user()
    order = await fleet.accepted(user, algo={"type": "twap", "duration_s": 60, "slices": 4})
    reply = await fleet.call("PATCH", f"/api/v1/orders/{order['order_id']}", {"quantity": "12"}, user=user)
    assert (reply.status, reply.code) == (422, "unsupported")
    assert (await fleet.shown(order, user))["status"] == "pending_new"
