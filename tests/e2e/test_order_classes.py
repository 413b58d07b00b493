"""Stops, brackets and replaced orders through the gateway, on a market that moves."""

from decimal import Decimal
from typing import Any

import pytest
from fleet_sdk.client import FleetClient
from fleet_testkit.eventually import eventually
from orders_under_way import ENDED, assert_money
from whole_fleet import User, until_priced, until_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
# It moves by many ticks a second, so that prices near the present one are reached within moments.
SYMBOL = "BTC/USD"
QUANTITY = Decimal("0.01")
TICK = Decimal("0.01")


def order(**changes: Any) -> dict[str, Any]:
    body = {"symbol": SYMBOL, "side": "buy", "type": "market", "quantity": str(QUANTITY), "time_in_force": "gtc"}
    return body | changes


async def around(client: FleetClient) -> tuple[str, str]:
    """A price a little below the market, and one a little above it."""
    await until_priced(client, SYMBOL)
    ticker = await client.ticker(SYMBOL)
    bid, ask = Decimal(ticker["bid"]), Decimal(ticker["ask"])
    away = max((ask - bid) * 2, ask * Decimal("0.0002"))
    return str((bid - away).quantize(TICK)), str((ask + away).quantize(TICK))


@pytest.mark.long
async def test_of_a_bracket_one_exit_fills_and_the_other_is_canceled(user: User) -> None:
    """buy with take-profit and stop-loss near the market → one of them fills, all of it; the other ends; cash is right"""
    below, above = await around(user.client)
    placed = await user.client.place_order(
        order(order_class="bracket", take_profit={"limit_price": above}, stop_loss={"stop_price": below})
    )
    assert len(placed["legs"]) == 2
    entry = await until_status(user.client, placed["order_id"], "filled")
    legs = [await until_status(user.client, leg, *ENDED, timeout_s=60) for leg in entry["legs"]]
    assert sorted(leg["status"] for leg in legs) == ["canceled", "filled"]
    assert {leg["parent_order_id"] for leg in legs} == {entry["order_id"]}
    assert {Decimal(leg["filled_quantity"]) for leg in legs} == {QUANTITY, Decimal(0)}
    assert not [p for p in await user.client.positions() if Decimal(p["quantity"])]
    await assert_money(user.client)


async def test_a_bracket_that_is_canceled_before_it_fills_leaves_nothing(user: User) -> None:
    price = await until_priced(user.client, SYMBOL)
    limit = (price / 2).quantize(TICK)
    placed = await user.client.place_order(
        order(
            type="limit",
            limit_price=str(limit),
            order_class="bracket",
            take_profit={"limit_price": str(limit * 2)},
            stop_loss={"stop_price": str(limit / 2 // TICK * TICK)},
        )
    )
    await until_status(user.client, placed["order_id"], "new")
    await user.client.cancel_order(placed["order_id"])
    await until_status(user.client, placed["order_id"], "canceled")
    for leg in placed["legs"]:
        ended = await until_status(user.client, leg, *ENDED)
        assert (ended["status"], ended["reason"]["code"]) == ("canceled", "parent_ended")
    await assert_money(user.client)


@pytest.mark.long
async def test_a_stop_and_an_order_if_touched_wait_for_their_prices(user: User) -> None:
    """one above the market, one below it → the market comes to one of them, which fills; the other is canceled"""
    below, above = await around(user.client)
    stop = await user.client.place_order(order(type="stop", stop_price=above))
    touched = await user.client.place_order(order(type="market_if_touched", stop_price=below))
    waiting = [stop["order_id"], touched["order_id"]]

    async def fills() -> bool:
        return any([(await user.client.order(order_id))["status"] == "filled" for order_id in waiting])

    await eventually(fills, 60)
    for order_id in waiting:
        if (await user.client.order(order_id))["status"] == "new":
            await user.client.cancel_order(order_id)
        await until_status(user.client, order_id, "filled", "canceled")
    await assert_money(user.client)


async def test_a_resting_order_is_replaced(user: User) -> None:
    """PATCH → the same order on new terms, reserved for them; canceled, everything is free again"""
    price = (await until_priced(user.client, SYMBOL) / 2).quantize(TICK)
    placed = await user.client.place_order(order(type="limit", limit_price=str(price)))
    path = f"/orders/{placed['order_id']}"
    await until_status(user.client, placed["order_id"], "new")
    await user.client.request("PATCH", path, {"quantity": "0.005", "limit_price": str(price - TICK)})

    async def replaced() -> bool:
        shown = await user.client.order(placed["order_id"])
        terms = Decimal(shown["quantity"]), Decimal(shown["limit_price"])
        return bool(shown["status"] == "new" and terms == (Decimal("0.005"), price - TICK))

    await eventually(replaced)
    reserved = Decimal((await user.client.portfolio())["cash"]) - Decimal(
        (await user.client.portfolio())["buying_power"]
    )
    assert Decimal("0.005") * price <= reserved + 1 <= Decimal("0.006") * price
    await user.client.cancel_order(placed["order_id"])
    await until_status(user.client, placed["order_id"], "canceled")
    await assert_money(user.client)
