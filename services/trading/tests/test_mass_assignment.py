"""No request sets what is not the caller's to set: each body that would be taken, with one member more, is refused by it."""

import json
from typing import Any

NOT_THE_CALLERS: dict[str, Any] = {
    "user_id": "00000000-0000-4000-8000-000000000000",
    "roles": ["admin"],
    "status": "filled",
    "filled_quantity": "1",
}
LIMIT = {"symbol": "AAPL/USD", "side": "buy", "type": "limit", "quantity": "1", "limit_price": "50"}
SHOWN = ("accounts", "orders", "trades", "positions", "risk/limits")


async def owned(fleet: Any, user: Any, account_id: str) -> list[str]:
    """All that is the user's, as he sees it."""
    paths = [*SHOWN, f"accounts/{account_id}/balances", f"accounts/{account_id}/ledger"]
    answers = [await fleet.call("GET", f"/api/v1/{path}", user=user) for path in paths]
    assert [answer.status for answer in answers] == [200] * len(paths)
    return [json.dumps(answer.body) for answer in answers]


async def test_nobody_sets_what_is_not_his_to_set(fleet: Any) -> None:
    """422 that names the member, wherever in the body it is; nothing is made, changed or moved"""
    user = fleet.a_user()
    order = await fleet.accepted(user, client_order_id="resting", **{k: LIMIT[k] for k in ("type", "limit_price")})
    account_id, path = order["account_id"], f"/api/v1/orders/{order['order_id']}"
    second = await fleet.call("POST", "/api/v1/accounts", {"name": "second", "kind": "paper"}, user=user)
    assert second.status == 201
    move = {"currency": "USD", "amount": "1", "from_account_id": account_id, "to_account_id": second.body["account_id"]}
    limits = {"scope": "account", "target": account_id, "limits": {"max_order_notional": "1"}}
    bracket = LIMIT | {
        "order_class": "bracket",
        "take_profit": {"limit_price": "60"},
        "stop_loss": {"stop_price": "40"},
    }
    good: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/api/v1/orders", LIMIT),
        ("POST", "/api/v1/orders", bracket),
        ("POST", "/api/v1/orders/preview", LIMIT),
        ("POST", "/api/v1/orders/batch", {"orders": [LIMIT]}),
        ("POST", "/api/v1/orders/cancel-after", {"timeout_s": 60}),
        ("PATCH", path, {"quantity": "2"}),
        ("POST", "/api/v1/accounts", {"name": "third", "kind": "paper"}),
        ("POST", "/api/v1/transfers", move),
        ("PUT", "/api/v1/risk/limits", limits),
    ]
    before, wrong, tried = await owned(fleet, user, account_id), [], 0
    for method, target, body in good:
        for name, value in NOT_THE_CALLERS.items():
            for sent in bodies_with(body, {name: value}):
                answer = await fleet.call(method, target, sent, user=user, scopes=["read", "trade", "transfer"])
                tried += 1
                problem = answer.body[0]["problem"] if answer.status == 207 else answer.body
                fields = [error["field"].split(".") for error in problem.get("errors", ())]
                if problem.get("status") != 422 or not fields or not all(name in field for field in fields):
                    wrong.append((method, target, sent, answer))
    assert not wrong, "\n".join(map(str, wrong))
    assert tried == 4 * (len(good) + 4)
    assert await owned(fleet, user, account_id) == before
    for method, target, body in good:
        answer = await fleet.call(method, target, body, user=user, scopes=["read", "trade", "transfer"])
        assert answer.status < 300, (target, answer)


def bodies_with(body: dict[str, Any], more: dict[str, Any]) -> list[dict[str, Any]]:
    """The body with these members, and with them in each of its parts."""
    found = [body | more]
    for member, part in body.items():
        if isinstance(part, dict):
            found.append(body | {member: part | more})
        elif isinstance(part, list):
            found.append(body | {member: [part[0] | more]})
    return found
