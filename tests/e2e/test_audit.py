"""Whatever an administrator does is in the audit log: what, by whom, from where, and in which request."""

import asyncio
import secrets
from typing import Any

import aiohttp
import pytest
from fleet_routes import PUBLIC_ROUTES, ROUTES
from fleet_sdk.client import FleetClient
from fleet_testkit.eventually import eventually
from whole_fleet import User, WholeFleet, until_priced, until_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

TRADES = "/api/v1/exchanges/paper/trades/{venue_trade_id}"
ACTS: dict[tuple[str, str], tuple[dict[str, Any], str]] = {
    ("PUT", "/api/v1/risk/limits"): (
        {"scope": "account", "target": "{account_id}", "limits": {"max_order_notional": "1"}},
        "limits.set",
    ),
    ("POST", "/api/v1/risk/kill-switch"): (
        {"scope": "account", "target": "{account_id}", "action": "halt", "reason": "A test."},
        "trading_state.changed",
    ),
    ("POST", f"{TRADES}/correct"): ({"quantity": "1", "reason": "A test."}, "trade.corrected"),
    ("POST", f"{TRADES}/bust"): ({"reason": "A test."}, "trade.busted"),
    ("POST", "/api/v1/exchanges/paper/feed"): ({"action": "resume"}, "feed.moved"),
    ("PATCH", "/api/v1/users/{user_id}"): ({"status": "disabled"}, "user.changed"),
}
"""What is sent, and what is kept. The first two take others too; on what is not theirs only an administrator acts."""
SHOWN_ELSEWHERE = {
    ("POST", "/api/v1/accounts/{account_id}/release"): "trading test_account_restriction.py",
    ("POST", "/api/v1/executions/reconciliations/{reconciliation_id}/accept"): "execution test_accepting.py",
}
"""What an act needs first that does not come by itself here: an account that a surprise has restricted, a venue that has
forgotten an order."""


def test_every_route_that_takes_administrators_only_and_changes_something_is_tried() -> None:
    theirs = {(route.method, route.path) for _, route in PUBLIC_ROUTES if route.permission == "admin"}
    assert {(method, path) for method, path in theirs if method != "GET"} <= {*ACTS, *SHOWN_ELSEWHERE}


def test_every_route_that_takes_operators_and_changes_something_is_known() -> None:
    """None of these is public; beside each, the test that shows its act."""
    shown_by = {
        "/internal/parked/replay": "libs/bus test_delivery.py",
        "/internal/parked/skip": "libs/bus test_delivery.py",
        "/internal/accounts/{account_id}/entries": "trading test_money_accounts.py",
        "/internal/reconciliations/{reconciliation_id}/accept": "execution test_accepting.py",
        "/internal/mass-cancel": "matching-engine test_rules.py",
        "/internal/state": "core-engine test_kill_switch.py, which adopts what `fleet halt` has told",
    }
    takes = {route.path: route.permission or "" for _, route in ROUTES if route.method != "GET"}
    operators = {path for path, permission in takes.items() if "cli" in permission or permission == "services: any"}
    assert operators == set(shown_by)


async def ids_of(user: User) -> dict[str, str]:
    """Of a user who has bought something."""
    client = user.client
    await until_priced(client, "AAPL/USD")
    placed = await client.place_order({"symbol": "AAPL/USD", "side": "buy", "type": "market", "quantity": "2"})
    await until_status(client, placed["order_id"], "filled")
    (fill,) = (await client.request("GET", f"/executions/{placed['order_id']}"))["venue_orders"][0]["fills"]
    return {
        "account_id": placed["account_id"],
        "user_id": (await client.me())["user_id"],
        "venue_trade_id": fill["venue_trade_id"],
    }


async def test_each_act_is_kept_with_who_did_it_from_where_and_in_which_request(fleet: WholeFleet, user: User) -> None:
    ids, requests = await ids_of(user), {}
    async with fleet.admin() as admin, aiohttp.ClientSession(fleet.url) as session:
        headers, admin_id = await admin._authorization(), (await admin.me())["user_id"]
        for (method, path), (body, action) in ACTS.items():
            sent = {name: value.format(**ids) if isinstance(value, str) else value for name, value in body.items()}
            named = headers | {"X-Request-ID": secrets.token_hex(8)}
            async with session.request(method, path.format(**ids), json=sent, headers=named) as answer:
                assert answer.status == 200, (path, await answer.text())
            requests[named["X-Request-ID"]] = action
        kept = await eventually(lambda: kept_of(admin, admin_id, len(ACTS)), timeout_s=15)
        assert {one["request_id"]: one["action"] for one in kept} == requests
        assert {one["address"] for one in kept} == {"127.0.0.1"}
    verified = await asyncio.to_thread(fleet.command, "audit", "verify")
    assert (verified.returncode, verified.stdout.splitlines()[-1]) == (0, "the log holds"), verified.stderr


async def kept_of(admin: FleetClient, actor: str, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await admin.request("GET", f"/audit?actor={actor}"))["data"]
    return found if len(found) >= count else []
