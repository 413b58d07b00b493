"""A program with an API key trades through the whole fleet, within what its key may."""

import asyncio
from typing import Any

import pytest
from fleet_sdk.client import FleetClient
from fleet_sdk.problems import ApiError, CodeNeeded, SocketClosed
from fleet_sdk.signing import ApiKey
from fleet_testkit.eventually import eventually
from whole_fleet import User, WholeFleet, show_second_factor, until_priced, until_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
SYMBOL = "AAPL/USD"


async def refusal_of(client: FleetClient, method: str, path: str, body: Any = None) -> str:
    with pytest.raises(ApiError) as refused:
        await client.request(method, path, body)
    return refused.value.code


async def test_a_key_trades_within_its_bounds_until_it_is_revoked(fleet: WholeFleet, user: User) -> None:
    """no factor: no key → factor → key → hears and buys AAPL → not MSFT, not beyond its cap, makes no key → revoked →
    refused, and its socket closed"""
    wanted = {"name": "bot", "scopes": ["read", "trade"], "symbols": [SYMBOL], "max_order_notional": "50000"}
    assert await refusal_of(user.client, "POST", "/auth/api-keys", wanted) == "mfa_required"
    await show_second_factor(user.client)
    made = await user.client.request("POST", "/auth/api-keys", wanted)
    await until_priced(user.client, SYMBOL)
    order = {"symbol": SYMBOL, "side": "buy", "type": "market", "quantity": "10"}
    key = ApiKey(made["key"], made["secret"])
    async with FleetClient(fleet.url, timeout_s=30, api_key=key) as bot, bot.socket() as stream:
        await stream.subscribe("order_updates")
        placed = await bot.place_order(order)
        await until_status(bot, placed["order_id"], "filled", timeout_s=60)
        assert [one["order_id"] async for one in bot.orders(symbol=SYMBOL)] == [placed["order_id"]]
        assert await refusal_of(bot, "POST", "/orders", order | {"symbol": "MSFT/USD"}) == "restricted_symbol"
        assert await refusal_of(bot, "POST", "/orders", order | {"quantity": "5000"}) == "max_order_notional"
        assert await refusal_of(bot, "POST", "/auth/api-keys", wanted) == "session_required"
        await user.client.request("DELETE", f"/auth/api-keys/{made['api_key_id']}")

        async def is_refused() -> bool:
            return await refusal_of(bot, "GET", f"/orders/{made['api_key_id']}") == "api_key_unknown"

        await eventually(is_refused, timeout_s=10)
        heard: set[str] = set()
        with pytest.raises(SocketClosed) as closed:
            async with asyncio.timeout(10):
                async for message in stream:
                    heard |= {one["status"] for one in message["data"] if one["order_id"] == placed["order_id"]}
        assert (closed.value.code, "filled" in heard) == (4401, True)
    with pytest.raises(CodeNeeded):
        await user.client.login(user.email, user.password)


async def test_a_key_that_may_deploy_trades_through_that_alone_and_within_its_bounds(
    fleet: WholeFleet, user: User
) -> None:
    """scope strategy: places no order → deploys AAPL, not MSFT → each deployment shows the tighter of its cap and the key's →
    what its user deployed without a cap it pauses and does not resume"""
    await show_second_factor(user.client)
    wanted = {"name": "bot", "scopes": ["read", "strategy"], "symbols": [SYMBOL], "max_order_notional": "500"}
    made = await user.client.request("POST", "/auth/api-keys", wanted)
    await until_priced(user.client, SYMBOL)
    async with FleetClient(fleet.url, timeout_s=30, api_key=ApiKey(made["key"], made["secret"])) as bot:
        order = {"symbol": SYMBOL, "side": "buy", "type": "market", "quantity": "1"}
        assert await refusal_of(bot, "POST", "/orders", order) == "insufficient_scope"
        strategy = await bot.create_strategy({"name": "bot", "kind": "builtin", "builtin": "sma_cross"})
        body = {"strategy_id": strategy["strategy_id"], "symbols": [SYMBOL], "timeframe": "1m", "mode": "paper"}
        assert await refusal_of(bot, "POST", "/deployments", body | {"symbols": ["MSFT/USD"]}) == "restricted_symbol"
        for asked, shown in ((None, "500"), ("900", "500"), ("90", "90")):
            deployed = await bot.create_deployment(body | {"max_order_notional": asked})
            found = await user.client.deployment(deployed["deployment_id"])
            assert (deployed["max_order_notional"], found["max_order_notional"]) == (shown, shown)
            await bot.change_deployment(deployed["deployment_id"], "stop")
        wide = (await user.client.create_deployment(body))["deployment_id"]
        assert (await bot.change_deployment(wide, "pause"))["state"] == "paused"
        assert await refusal_of(bot, "POST", f"/deployments/{wide}/resume") == "max_order_notional"
        assert (await user.client.change_deployment(wide, "resume"))["state"] == "active"
        assert (await bot.change_deployment(wide, "stop"))["state"] == "stopped"


async def test_an_owner_releases_his_halt_with_a_fresh_second_factor(user: User) -> None:
    halt = {"scope": "account", "action": "halt", "reason": "a walk"}

    async def is_halted() -> bool:
        try:
            await user.client.request("POST", "/risk/kill-switch", halt)
        except ApiError as refused:
            # core-engine hears of the account a moment after it was opened.
            assert refused.code == "account_not_found"
            return False
        return True

    await user.client.portfolio()
    await eventually(is_halted, timeout_s=30)
    resume = halt | {"action": "resume"}
    assert await refusal_of(user.client, "POST", "/risk/kill-switch", resume) == "mfa_required"
    await show_second_factor(user.client)
    assert (await user.client.request("POST", "/risk/kill-switch", resume))["state"] == "active"
