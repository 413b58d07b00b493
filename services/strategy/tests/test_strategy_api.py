"""Strategies and deployments as their owners see them, and as nobody else does."""

import asyncio
import time
from typing import Any
from uuid import UUID, uuid4

import pytest
from fleet_contracts import TOPICS
from fleet_contracts.strategy import Deployment
from fleet_testkit.eventually import eventually

SMA = {"name": "my cross", "kind": "builtin", "builtin": "sma_cross"}


async def test_a_strategy_is_made_shown_renamed_and_deleted(strategy_service: Any, a_user: Any) -> None:
    made = await strategy_service.call(a_user, "POST", "/strategies", SMA)
    assert made.status == 201
    strategy_id = made.body["strategy_id"]
    assert made.headers["Location"] == f"/api/v1/strategies/{strategy_id}"
    assert (made.body["version"], made.body["builtin"]) == (1, "sma_cross")
    assert "slow" in str(made.body["parameters_schema"])

    renamed = await strategy_service.call(a_user, "PATCH", f"/strategies/{strategy_id}", {"name": "other"})
    shown = await strategy_service.call(a_user, "GET", f"/strategies/{strategy_id}")
    assert (renamed.status, shown.body["name"]) == (200, "other")
    assert (await strategy_service.call(a_user, "DELETE", f"/strategies/{strategy_id}")).status == 204
    assert (await strategy_service.call(a_user, "GET", f"/strategies/{strategy_id}")).status == 404
    assert (await strategy_service.call(a_user, "DELETE", f"/strategies/{strategy_id}")).status == 404


async def test_the_same_key_makes_one_strategy(strategy_service: Any, a_user: Any) -> None:
    first = await strategy_service.call(a_user, "POST", "/strategies", SMA, key="k1")
    again = await strategy_service.call(a_user, "POST", "/strategies", SMA, key="k1")
    other = await strategy_service.call(a_user, "POST", "/strategies", SMA | {"name": "b"}, key="k1")
    assert (again.status, again.body) == (201, first.body)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    assert (other.status, other.body["code"]) == (409, "idempotency_conflict")


async def test_strategies_come_in_pages_newest_first(strategy_service: Any, a_user: Any) -> None:
    made = [await strategy_service.strategy(a_user) for _ in range(3)]
    first = (await strategy_service.call(a_user, "GET", "/strategies?limit=2")).body
    rest = (await strategy_service.call(a_user, "GET", f"/strategies?limit=2&cursor={first['next_cursor']}")).body
    assert [s["strategy_id"] for s in first["data"] + rest["data"]] == made[::-1]
    assert (first["has_more"], rest["has_more"], rest["next_cursor"]) == (True, False, None)


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"kind": "python", "source": "x"}, "unsupported", "kind"),
        ({"source": "x"}, "unsupported", "source"),
        ({"builtin": None}, "invalid_request", "builtin"),
        ({"builtin": "magic"}, "invalid_request", "builtin"),
        ({"name": ""}, "invalid_request", "name"),
        ({"colour": "red"}, "invalid_request", "colour"),
    ],
)
async def test_a_wrong_strategy_is_refused_by_field(
    strategy_service: Any, a_user: Any, change: dict[str, Any], code: str, field: str
) -> None:
    reply = await strategy_service.call(a_user, "POST", "/strategies", SMA | change)
    assert (reply.status, reply.body["code"], reply.body["errors"][0]["field"]) == (422, code, field)


async def test_a_deployment_needs_trading_s_grant(strategy_service: Any, a_user: Any) -> None:
    strategy_id = await strategy_service.strategy(a_user)
    body = {"strategy_id": strategy_id, "symbols": ["AAPL/USD"], "timeframe": "1d", "mode": "paper"}
    without = await strategy_service.call(a_user, "POST", "/deployments", body)
    assert (without.status, without.body["code"]) == (403, "grant_required")
    deployment_id = str(uuid4())

    async def deploy(**changed: object) -> Any:
        return await strategy_service.deploy(a_user, deployment_id, strategy_id=strategy_id, **changed)

    assert (await deploy(account_id=str(uuid4()))).status == 403
    made = await deploy()
    again = await deploy()
    changed = await deploy(symbols=["IBM/USD"])
    granted = (deployment_id, str(a_user.account_id))
    assert (made.status, made.body["deployment_id"], made.body["account_id"]) == (201, *granted)
    assert made.body["parameters"] == {"fast": 10, "slow": 30, "quantity": "20"}
    assert (again.status, again.body, again.headers["Idempotent-Replayed"]) == (201, made.body, "true")
    assert (changed.status, changed.body["code"]) == (409, "idempotency_conflict")
    (said,) = await eventually(lambda: strategy_service.peers.heard_of(Deployment, deployment_id))
    assert (str(said.account_id), said.symbols, said.state.value) == (granted[1], ("AAPL/USD",), "active")


async def test_the_repeat_of_a_deployment_is_answered_when_its_strategy_is_gone(
    strategy_service: Any, a_user: Any
) -> None:
    strategy_id, deployment_id = await strategy_service.strategy(a_user), str(uuid4())
    made = await strategy_service.deploy(a_user, deployment_id, strategy_id=strategy_id)
    stopped = await strategy_service.call(a_user, "POST", f"/deployments/{deployment_id}/stop")
    assert (made.status, stopped.status) == (201, 200)
    gone = await strategy_service.call(a_user, "DELETE", f"/strategies/{strategy_id}")
    assert gone.status == 204, gone.body
    again = await strategy_service.deploy(a_user, deployment_id, strategy_id=strategy_id)
    assert (again.status, again.body, again.headers["Idempotent-Replayed"]) == (201, stopped.body, "true")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"parameters": {"fast": 0}}, "parameters.fast"),
        ({"parameters": {"fast": 30, "slow": 10}}, "parameters.slow"),
        ({"parameters": {"speed": 1}}, "parameters.speed"),
        ({"parameters": {"quantity": "-1"}}, "parameters.quantity"),
        ({"parameters": {"quantity": "1E+140000"}}, "parameters.quantity"),
        ({"symbols": ["AAPL/USD", "NONE/USD"]}, "symbols.1"),
        ({"symbols": []}, "symbols"),
        ({"symbols": ["AAPL/USD", "AAPL-USD"]}, "symbols"),
        ({"timeframe": "2d"}, "timeframe"),
        ({"version": 2}, "version"),
        ({"version": "1"}, "version"),
        ({"max_order_notional": "0"}, "max_order_notional"),
    ],
)
async def test_a_wrong_deployment_is_refused_by_field(
    strategy_service: Any, a_user: Any, change: dict[str, Any], field: str
) -> None:
    reply = await strategy_service.deploy(a_user, **change)
    assert (reply.status, reply.body["errors"][0]["field"]) == (422, field), reply.body
    assert (await strategy_service.call(a_user, "GET", "/deployments")).body["data"] == []


@pytest.mark.parametrize(
    ("factor_age_s", "refused"),
    [(None, (403, "mfa_required")), (301, (403, "mfa_required")), (0, (422, "unsupported"))],
)
async def test_a_live_deployment_takes_a_fresh_second_factor(
    strategy_service: Any, a_user: Any, factor_age_s: int | None, refused: tuple[int, str]
) -> None:
    """Before it is told that there are none yet."""
    shown = {} if factor_age_s is None else {"mfa_at": int(time.time()) - factor_age_s}
    body = {"symbols": ["AAPL/USD"], "timeframe": "1d", "mode": "live", "strategy_id": str(uuid4())}
    claims = strategy_service.grant(a_user, str(uuid4())) | shown
    reply = await strategy_service.call(a_user, "POST", "/deployments", body, claims=claims)
    assert (reply.status, reply.body["code"]) == refused


@pytest.mark.parametrize(("asked", "shown"), [(None, "500"), ("900", "500"), ("90.5", "90.5")])
async def test_a_deployment_shows_the_cap_of_the_key_that_made_it(
    strategy_service: Any, a_user: Any, asked: str | None, shown: str
) -> None:
    """The tighter of both, as trading grants it; also when it is asked for again."""
    body = {"symbols": ["AAPL/USD"], "timeframe": "1d", "mode": "paper", "max_order_notional": asked}
    body["strategy_id"] = await strategy_service.strategy(a_user)
    claims = strategy_service.grant(a_user, str(uuid4())) | {"api_key_id": str(uuid4()), "max_order_notional": "500"}
    made = [await strategy_service.call(a_user, "POST", "/deployments", body, claims=claims) for _ in range(2)]
    found = await strategy_service.deployment(a_user, claims["deployment_id"])
    (listed,) = (await strategy_service.call(a_user, "GET", "/deployments")).body["data"]
    answers = [*(reply.body for reply in made), found, listed]
    assert [answer["max_order_notional"] for answer in answers] == [shown] * 4


async def test_a_deployment_is_paused_resumed_and_stopped_for_good(strategy_service: Any, a_user: Any) -> None:
    deployment_id = await strategy_service.deployed(a_user)

    async def act(action: str) -> tuple[int, Any]:
        reply = await strategy_service.call(a_user, "POST", f"/deployments/{deployment_id}/{action}")
        return reply.status, reply.body.get("state", reply.body.get("code"))

    assert await act("resume") == (200, "active")
    assert await act("pause") == (200, "paused")
    assert await act("pause") == (200, "paused")
    in_use = await strategy_service.call(
        a_user, "DELETE", f"/strategies/{(await strategy_service.deployment(a_user, deployment_id))['strategy_id']}"
    )
    assert (in_use.status, in_use.body["code"]) == (409, "strategy_in_use")
    assert await act("resume") == (200, "active")
    assert await act("stop") == (200, "stopped")
    assert await act("stop") == (200, "stopped")
    assert await act("resume") == (409, "deployment_stopped")
    assert (await act("explode"))[0] == 422
    said = await eventually(lambda: (found := strategy_service.peers.heard_of(Deployment, deployment_id))[3:] and found)
    assert [(d.state.value, d.version) for d in said] == [("active", 1), ("paused", 2), ("active", 3), ("stopped", 4)]
    stopped = await strategy_service.call(a_user, "GET", "/deployments?state=stopped")
    active = await strategy_service.call(a_user, "GET", "/deployments?state=active")
    assert ([d["deployment_id"] for d in stopped.body["data"]], active.body["data"]) == ([deployment_id], [])


@pytest.mark.parametrize(
    ("bounds", "refused"),
    [
        ({"symbols": ["AAPL/USD"], "max_order_notional": "900"}, "restricted_symbol"),
        ({"symbols": []}, "restricted_symbol"),
        ({"max_order_notional": "499.99"}, "max_order_notional"),
        ({"symbols": ["AAPL/USD", "IBM/USD", "GOOG/USD"], "max_order_notional": "500"}, None),
        ({}, None),
    ],
)
async def test_a_key_resumes_what_lies_within_its_bounds_and_pauses_and_stops_all(
    strategy_service: Any, a_user: Any, bounds: dict[str, Any], refused: str | None
) -> None:
    """What its user deployed trades again when it is resumed."""
    made = await strategy_service.deploy(a_user, symbols=["AAPL/USD", "IBM/USD"], max_order_notional="500")
    path, key = f"/deployments/{made.body['deployment_id']}", {"api_key_id": str(uuid4())} | bounds

    async def act(action: str, claims: dict[str, Any] | None = None) -> tuple[int, Any]:
        reply = await strategy_service.call(a_user, "POST", f"{path}/{action}", claims=claims)
        return reply.status, reply.body.get("state", reply.body.get("code"))

    assert await act("pause", key) == (200, "paused")
    assert await act("resume", key) == ((403, refused) if refused else (200, "active"))
    assert (await strategy_service.deployment(a_user, path[-36:]))["state"] == ("paused" if refused else "active")
    assert await act("resume") == (200, "active")
    assert await act("stop", key) == (200, "stopped")


async def test_a_deployment_without_a_cap_is_resumed_by_no_key_with_one(strategy_service: Any, a_user: Any) -> None:
    path = f"/deployments/{await strategy_service.deployed(a_user)}"
    key = {"api_key_id": str(uuid4()), "max_order_notional": "500"}
    assert (await strategy_service.call(a_user, "POST", f"{path}/pause")).status == 200
    refused = await strategy_service.call(a_user, "POST", f"{path}/resume", claims=key)
    assert (refused.status, refused.body["code"]) == (403, "max_order_notional")


async def test_a_live_deployment_is_resumed_with_a_fresh_second_factor(strategy_service: Any, a_user: Any) -> None:
    """None is made yet, so that it is played; a key has no factor, a session its own."""
    deployment_id = await strategy_service.deployed(a_user)
    await strategy_service.execute("UPDATE deployments SET mode = 'live' WHERE deployment_id = $1", UUID(deployment_id))

    async def act(action: str, **claims: object) -> tuple[int, Any]:
        reply = await strategy_service.call(a_user, "POST", f"/deployments/{deployment_id}/{action}", claims=claims)
        return reply.status, reply.body.get("state", reply.body.get("code"))

    assert await act("pause") == (200, "paused")
    assert await act("resume", api_key_id=str(uuid4())) == (403, "mfa_required")
    assert await act("resume", mfa_at=int(time.time()) - 301) == (403, "mfa_required")
    assert await act("resume", mfa_at=int(time.time())) == (200, "active")


async def test_another_s_deployment_is_not_there_for_a_key_beyond_whose_bounds_it_is(
    strategy_service: Any, a_user: Any
) -> None:
    path = f"/deployments/{await strategy_service.deployed(a_user)}/resume"
    key = {"api_key_id": str(uuid4()), "symbols": ["IBM/USD"]}
    reply = await strategy_service.call(type(a_user)(), "POST", path, claims=key)
    assert (reply.status, reply.body["code"]) == (404, "not_found")


async def test_nobody_fills_the_steps_of_all_with_deployments_of_his_own(strategy_service: Any, a_user: Any) -> None:
    first, *_ = [await strategy_service.deployed(a_user) for _ in range(3)]
    refused = await strategy_service.deploy(a_user)
    assert (refused.status, refused.body["code"]) == (409, "too_many_deployments")
    assert (await strategy_service.call(a_user, "POST", f"/deployments/{first}/stop")).status == 200
    made = await strategy_service.deploy(a_user)
    assert made.status == 201, made.body


async def test_at_once_nobody_makes_more_either(strategy_service: Any, a_user: Any) -> None:
    """Each of a strategy of its own: nothing else of them is locked together."""
    strategies = [await strategy_service.strategy(a_user) for _ in range(8)]
    replies = await asyncio.gather(*(strategy_service.deploy(a_user, strategy_id=one) for one in strategies))
    assert sorted(reply.status for reply in replies) == [201] * 3 + [409] * 5


async def test_the_last_deployment_asked_for_twice_at_once_is_made_once(strategy_service: Any, a_user: Any) -> None:
    for _ in range(2):
        await strategy_service.deployed(a_user)
    strategy_id, deployment_id = await strategy_service.strategy(a_user), str(uuid4())
    replies = await asyncio.gather(
        *(strategy_service.deploy(a_user, deployment_id, strategy_id=strategy_id) for _ in range(4))
    )
    assert [reply.status for reply in replies] == [201] * 4
    assert sum("Idempotent-Replayed" not in reply.headers for reply in replies) == 1


async def test_another_s_strategies_and_deployments_do_not_exist(strategy_service: Any, a_user: Any) -> None:
    deployment_id = await strategy_service.deployed(a_user)
    strategy_id = (await strategy_service.deployment(a_user, deployment_id))["strategy_id"]
    stranger = type(a_user)()
    for method, path, body in [
        ("GET", f"/strategies/{strategy_id}", None),
        ("PATCH", f"/strategies/{strategy_id}", {"name": "mine"}),
        ("DELETE", f"/strategies/{strategy_id}", None),
        ("GET", f"/deployments/{deployment_id}", None),
        ("POST", f"/deployments/{deployment_id}/stop", None),
    ]:
        reply = await strategy_service.call(stranger, method, path, body)
        assert (reply.status, reply.body["code"]) == (404, "not_found"), path
    assert (await strategy_service.deploy(stranger, strategy_id=strategy_id)).status == 404
    assert (await strategy_service.deployment(a_user, deployment_id))["state"] == "active"


async def test_a_viewer_may_read_and_not_change(strategy_service: Any, a_user: Any) -> None:
    assert (await strategy_service.call(a_user, "POST", "/strategies", SMA, scopes=("read",))).status == 403
    assert (await strategy_service.call(a_user, "GET", "/strategies", scopes=("read",))).status == 200
    assert (await strategy_service.call(a_user, "GET", "/strategies", scopes=())).status == 403


async def test_it_reads_every_topic_it_is_named_a_reader_of(strategy_service: Any) -> None:
    declared = {t.name for t in TOPICS if any(reader.service == "strategy" for reader in t.readers)}

    async def is_whole() -> bool:
        headers = strategy_service.keys.of_service("cli", "strategy")
        async with strategy_service.http.get(f"{strategy_service.url}/internal/rest", headers=headers) as response:
            positions = (await response.json())["positions"]
        return {topic for places in positions.values() for topic in places} == declared

    await eventually(is_whole)
