"""A deployment: first what trading grants it, then what strategy makes of it."""

import json
from typing import Any
from uuid import UUID, uuid5


async def test_a_deployment_is_a_grant_and_a_deployment(fleet: Any) -> None:
    user, trading, strategy = await fleet.new_user(), fleet.services["trading"], fleet.services["strategy"]
    deployment_id = str(uuid5(UUID(user.user_id), "once"))
    account_id = "0192f3a4-0000-7000-8000-000000000001"
    trading.answers[("PUT", f"/internal/grants/{deployment_id}")] = (200, {"account_id": account_id, "version": 1})
    strategy.answers[("POST", "/api/v1/deployments")] = (201, {"deployment_id": deployment_id})
    body = {"strategy_id": "s", "symbols": ["AAPL/USD"], "max_order_notional": "100.10", "parameters": {"fast": 10}}
    for _ in range(2):
        reply = await fleet.call(
            "POST", "/api/v1/deployments", token=user.token, json=body, headers={"Idempotency-Key": "once"}
        )
        assert (reply.status, reply.body) == (201, {"deployment_id": deployment_id})
        granted, deployed = trading.seen[-1], strategy.seen[-1]
        assert (granted.method, granted.target) == ("PUT", f"/internal/grants/{deployment_id}")
        assert json.loads(granted.body) == {"symbols": ["AAPL/USD"], "max_order_notional": "100.10"}
        assert granted.claims["sub"] == user.user_id
        assert json.loads(deployed.body) == body
        assert deployed.headers["idempotency-key"] == "once"
        assert (deployed.claims["deployment_id"], deployed.claims["account_id"]) == (deployment_id, account_id)

    stop = f"/api/v1/deployments/{deployment_id}/stop"
    for status in (204, 404):
        trading.answers[("DELETE", f"/internal/grants/{deployment_id}")] = (status, {})
        before = len(strategy.seen)
        assert (await fleet.call("POST", stop, token=user.token)).status == 200
        assert trading.seen[-1].method == "DELETE"
        assert [seen.target for seen in strategy.seen[before:]] == [stop]
    short = f"/api/v1/deployments/{deployment_id.replace('-', '')}/stop"
    assert (await fleet.call("POST", short, token=user.token)).status == 200
    assert trading.seen[-1].target == f"/internal/grants/{deployment_id}"
    before = len(trading.seen)
    assert (await fleet.call("POST", "/api/v1/deployments/nonsense/stop", token=user.token)).status == 200
    assert len(trading.seen) == before


async def test_what_trading_refuses_is_not_deployed(fleet: Any) -> None:
    user, trading, strategy = await fleet.new_user(), fleet.services["trading"], fleet.services["strategy"]
    deployment_id = str(uuid5(UUID(user.user_id), "refused"))
    refusal = {"code": "account_not_found", "status": 404, "instance": "/internal/grants/1", "detail": "x"}
    trading.answers[("PUT", f"/internal/grants/{deployment_id}")] = (404, refusal)
    before = len(strategy.seen)
    reply = await fleet.call(
        "POST", "/api/v1/deployments", token=user.token, json={}, headers={"Idempotency-Key": "refused"}
    )
    assert (reply.status, reply.body) == (404, refusal | {"instance": "/api/v1/deployments"})
    for body, status in ((b"{", 400), (b"[]", 422)):
        assert (await fleet.call("POST", "/api/v1/deployments", token=user.token, data=body)).status == status
    assert len(strategy.seen) == before
