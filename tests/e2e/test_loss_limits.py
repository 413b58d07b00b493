"""A limit of loss, through the whole fleet: it stops nothing but what would make the loss larger."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from fleet_sdk.problems import ApiError
from fleet_testkit.eventually import eventually
from whole_fleet import User, until_priced, until_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SYMBOL = "AAPL/USD"
BUY = {"symbol": SYMBOL, "side": "buy", "type": "market", "quantity": "10", "time_in_force": "gtc"}


async def test_an_account_that_has_lost_what_it_may_in_a_day_only_reduces(user: User) -> None:
    """a limit of a cent → a buy, which loses its fee and half the spread → the owner hears it → core-engine restricts the
    account → a buy is refused, and what is held can be sold"""
    await until_priced(user.client, SYMBOL)
    await user.client.request("PUT", "/risk/limits", {"scope": "account", "limits": {"daily_loss": "0.01"}})
    async with user.client.socket() as socket:
        await socket.subscribe("alerts")
        placed = await user.client.place_order(BUY)
        await until_status(user.client, placed["order_id"], "filled")
        async with asyncio.timeout(10):
            async for message in socket:
                if any(is_breached(alert, placed["account_id"]) for alert in message["data"]):
                    break

    async def restricted() -> Any:
        states = (await user.client.request("GET", "/system/status"))["states"]
        return next((one for one in states if one["target"] == placed["account_id"]), None)

    state = await eventually(restricted)
    assert (state["scope"], state["state"], state["by"]) == ("account", "reducing", "risk")

    async def refusal() -> str | None:
        try:
            await user.client.place_order(BUY | {"quantity": "1"})
        except ApiError as refused:
            assert refused.status == 422
            return refused.code
        return None

    assert await eventually(refusal, what="trading has heard it") == "market_reducing"
    held = sum(Decimal(one["quantity"]) for one in await user.client.positions())
    sold = await user.client.place_order(BUY | {"side": "sell", "quantity": str(held)})
    await until_status(user.client, sold["order_id"], "filled")


def is_breached(alert: dict[str, Any], account_id: str) -> bool:
    begins = "daily_loss has come to 100 % of its limit"
    return (alert["kind"], alert["account_id"]) == ("limit_breached", account_id) and str(alert["text"]).startswith(
        begins
    )
