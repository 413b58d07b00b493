"""Orders signed with an API key: its symbols and its cap hold before the trade, for what it deploys too."""

from typing import Any
from uuid import UUID, uuid4

import pytest

ORDERS = "/api/v1/orders"
LIMITS = "/api/v1/risk/limits"
MSFT: dict[str, Any] = {"symbol": "MSFT/USD"}


class Key:
    """What the gateway asserts of a key of this user."""

    def __init__(self, fleet: Any, user: UUID, **bounds: Any) -> None:
        self.fleet, self.user, self.api_key_id = fleet, user, str(uuid4())
        self.claims = {"api_key_id": self.api_key_id, "sid": self.api_key_id} | bounds

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        return await self.fleet.call(method, path, body, user=self.user, claims=self.claims)

    async def order(self, path: str = ORDERS, **changed: Any) -> Any:
        body = {"symbol": "AAPL/USD", "side": "buy", "type": "limit", "limit_price": "50", "quantity": "10"} | changed
        return await self.call("POST", path, {"orders": [body]} if path.endswith("batch") else body)


async def test_a_key_without_bounds_trades_as_its_user(fleet: Any) -> None:
    key = Key(fleet, fleet.a_user())
    assert (await key.order()).status == 201
    assert (await key.order(**MSFT)).status == 201


@pytest.mark.parametrize("side", ["buy", "sell"])
async def test_a_key_trades_its_symbols_only(fleet: Any, side: str) -> None:
    user = fleet.a_user()
    key = Key(fleet, user, symbols=["AAPL/USD"])
    assert (await key.order()).status == 201
    denied = await key.order(side=side, **MSFT)
    assert (denied.status, denied.code) == (422, "restricted_symbol")
    (item,) = (await key.order(f"{ORDERS}/batch", side=side, **MSFT)).body
    assert (item["status"], item["problem"]["code"]) == (422, "restricted_symbol")
    assert "restricted_symbol" in [
        one["code"] for one in (await key.order(f"{ORDERS}/preview", **MSFT)).body["reasons"]
    ]
    await fleet.accepted(user, **MSFT)


async def test_a_key_changes_no_order_of_another_symbol_and_cancels_any(fleet: Any) -> None:
    user = fleet.a_user()
    key = Key(fleet, user, symbols=["AAPL/USD"])
    order = await fleet.accepted(user, type="limit", limit_price="50", **MSFT)
    path = f"{ORDERS}/{order['order_id']}"
    refused = await key.call("PATCH", path, {"limit_price": "40"})
    assert (refused.status, refused.code) == (422, "restricted_symbol")
    assert (await key.call("DELETE", path)).status == 202


async def test_a_keys_cap_holds_beside_the_accounts_and_the_tighter_of_both(fleet: Any) -> None:
    user = fleet.a_user()
    key, wide = (Key(fleet, user, max_order_notional=cap) for cap in ("500", "100000"))
    assert (await key.order()).status == 201, "10 x 50 is the cap itself"
    denied = await key.order(quantity="11")
    assert (denied.status, denied.code) == (422, "max_order_notional")
    assert (await wide.order(quantity="11")).status == 201
    order = (await key.order()).body
    grown = await key.call("PATCH", f"{ORDERS}/{order['order_id']}", {"quantity": "11"})
    assert (grown.status, grown.code) == (422, "max_order_notional")
    limits = {"scope": "account", "limits": {"max_order_notional": "400"}}
    assert (await fleet.call("PUT", LIMITS, limits, user=user)).status == 200
    assert (await wide.order()).code == "max_order_notional"


async def test_a_keys_cap_holds_for_a_sell_limited_far_below_the_market(fleet: Any) -> None:
    """held: 10 at 100 → a cap of 500 sells 5 of them, however low the limit, and by no change more"""
    user = fleet.a_user()
    bought = await fleet.accepted(user, quantity="10")
    await fleet.report(user, fleet.filled(bought, 10, "100"))
    await fleet.becomes(bought, user, "filled")
    key = Key(fleet, user, max_order_notional="500")
    low = {"side": "sell", "limit_price": "1"}
    for path in (ORDERS, f"{ORDERS}/batch", f"{ORDERS}/preview"):
        assert "max_order_notional" in str((await key.order(path, **low, quantity="6")).body)
    sold = (await key.order(**low, quantity="5")).body
    grown = await key.call("PATCH", f"{ORDERS}/{sold['order_id']}", {"quantity": "6"})
    assert (grown.status, grown.code) == (422, "max_order_notional")


async def test_an_admin_limits_a_key_of_anybody(fleet: Any) -> None:
    user = fleet.a_user()
    key, other = Key(fleet, user), Key(fleet, user)
    body = {"scope": "api_key", "target": key.api_key_id, "limits": {"max_order_quantity": "5"}}
    assert (await fleet.call("PUT", LIMITS, body, user=fleet.a_user(), roles=("admin",))).status == 200
    assert (await key.order(quantity="6")).code == "max_order_quantity"
    assert (await other.order(quantity="6")).status == 201
    await fleet.accepted(user, quantity="6")


async def test_what_a_key_deploys_is_bound_as_the_key_is(fleet: Any) -> None:
    key = Key(fleet, fleet.a_user(), symbols=["AAPL/USD"], max_order_notional="500")

    async def grant(**asked: Any) -> Any:
        return await key.call("PUT", f"/internal/grants/{uuid4()}", {"symbols": ["AAPL/USD"]} | asked)

    refused = await grant(symbols=["AAPL/USD", "MSFT/USD"])
    assert (refused.status, refused.code) == (403, "restricted_symbol")
    assert (await grant()).body["max_order_notional"] == "500"
    assert (await grant(max_order_notional="900")).body["max_order_notional"] == "500"
    assert (await grant(max_order_notional="90")).body["max_order_notional"] == "90"


async def test_a_key_tightens_its_owners_limits_and_loosens_none(fleet: Any) -> None:
    """login: 100 → key: not 101, not none, of several none at all → key: 100, 90, and another that was not set → key: not
    100 again → login: both taken away"""
    user = fleet.a_user()
    key = Key(fleet, user)

    async def put(by: Any = None, **limits: Any) -> tuple[int, str | None]:
        body = {"scope": "account", "limits": limits}
        reply = await (by.call("PUT", LIMITS, body) if by else fleet.call("PUT", LIMITS, body, user=user))
        return reply.status, reply.code

    async def held() -> dict[str, str]:
        rows = (await key.call("GET", LIMITS)).body["data"]
        return {row["name"]: row["limit"] for row in rows if row["scope"] == "account"}

    assert await put(max_order_notional="100") == (200, None)
    for wanted in ("101", None):
        assert await put(key, max_order_notional=wanted, open_orders="5") == (403, "session_required")
    assert await held() == {"max_order_notional": "100"}
    assert await put(key, max_order_notional="100", open_orders="5", order_rate=None) == (200, None)
    assert await put(key, max_order_notional="90") == (200, None)
    assert await put(key, max_order_notional="100") == (403, "session_required")
    assert await held() == {"max_order_notional": "90", "open_orders": "5"}
    assert await put(max_order_notional=None, open_orders=None) == (200, None)
    assert await held() == {}


async def test_a_key_of_some_symbols_resets_no_account(fleet: Any) -> None:
    """It would cancel, and take out, what is of other symbols; a key without symbols may."""
    user = fleet.a_user()
    await fleet.accepted(user, type="limit", limit_price="40", **MSFT)
    path = f"/api/v1/accounts/{fleet.account_of(user)}/reset"
    refused = await Key(fleet, user, symbols=["AAPL/USD"]).call("POST", path)
    assert (refused.status, refused.code) == (403, "restricted_symbol")
    await fleet.accepted(user, **MSFT)
    stranger = await Key(fleet, fleet.a_user(), symbols=["AAPL/USD"]).call("POST", path)
    assert (stranger.status, stranger.code) == (404, "account_not_found")
    assert (await Key(fleet, user, max_order_notional="500").call("POST", path)).status == 202
    assert (await fleet.order(user, **MSFT)).code == "account_resetting"


@pytest.mark.parametrize(
    ("by", "scope", "name"),
    [
        (("trader",), "account", "daily_loss"),
        (("trader",), "account", "drawdown"),
        (("admin",), "account", "drawdown"),
        (("admin",), "role", "daily_loss"),
    ],
)
async def test_a_key_resets_no_account_that_has_a_limit_on_losses(
    fleet: Any, by: tuple[str, ...], scope: str, name: str
) -> None:
    """What was lost would count no more. key: refused, and trades on → login: resets → key: asked again while it is under way"""
    user = fleet.a_user()
    account = (await fleet.call("GET", "/api/v1/accounts", user=user, roles=("trader", "viewer"))).body["data"][0]
    target = account["account_id"] if scope == "account" else "viewer"
    body = {"scope": scope, "target": target, "limits": {name: "0.5"}}
    setter = fleet.a_user() if "admin" in by else user
    assert (await fleet.call("PUT", LIMITS, body, user=setter, roles=by)).status == 200
    path, key = f"/api/v1/accounts/{account['account_id']}/reset", Key(fleet, user)
    refused = await key.call("POST", path)
    assert (refused.status, refused.code) == (403, "session_required")
    assert (await key.order()).status == 201
    assert (await fleet.call("POST", path, user=user)).status == 202
    assert (await key.call("POST", path)).status == 202


async def test_a_key_resets_no_account_that_may_only_reduce(fleet: Any) -> None:
    """overfill → key: refused, still restricted → login: resets → key: asked again while it is under way"""
    user = fleet.a_user()
    order = await fleet.accepted(user)
    await fleet.report(user, fleet.filled(order, 11, "100"))
    await fleet.becomes(order, user, "filled")
    path, key = f"/api/v1/accounts/{fleet.account_of(user)}/reset", Key(fleet, user)

    async def status() -> str:
        (account,) = (await key.call("GET", "/api/v1/accounts")).body["data"]
        return str(account["status"])

    refused = await key.call("POST", path)
    assert (refused.status, refused.code) == (403, "session_required")
    assert await status() == "reduce_only"
    assert (await fleet.call("POST", path, user=user)).status == 202
    assert (await key.call("POST", path)).status == 202


async def test_a_key_resets_an_account_with_other_limits(fleet: Any) -> None:
    user = fleet.a_user()
    key = Key(fleet, user)
    await fleet.accepted(user)
    assert (await key.call("PUT", LIMITS, {"scope": "account", "limits": {"open_orders": "5"}})).status == 200
    assert (await key.call("POST", f"/api/v1/accounts/{fleet.account_of(user)}/reset")).status == 202
