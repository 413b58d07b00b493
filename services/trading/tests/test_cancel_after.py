"""`POST /orders/cancel-after`: set here, told to those who keep it."""

import contextlib
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from fastapi import FastAPI, Request
from fleet_contracts.trading import CancelAfterSet
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served

PATH = "/api/v1/orders/cancel-after"


@contextlib.asynccontextmanager
async def a_gate(told: list[Any], status: int) -> AsyncIterator[str]:
    app = FastAPI()

    @app.post("/internal/cancel-after", status_code=status)
    async def tell(request: Request) -> None:
        assert request.headers["authorization"].startswith("Bearer ")
        told.append(await request.json())

    async with served(app) as url:
        yield url


def list_them(instances: Path, urls: dict[str, str]) -> None:
    listed = [{"name": name, "ordinal": 0, "url": url} for name, url in urls.items()]
    instances.write_text(json.dumps({"instances": listed}))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def gated(run_trading: Any, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Any, list[Any]]]:
    """trading between a connector that keeps deadlines, an execution that cannot, and a matching-engine that is away."""
    told: list[Any] = []
    instances: Path = tmp_path_factory.mktemp("gates") / "instances.json"
    async with a_gate(told, 204) as good, a_gate([], 503) as bad:
        urls = {"exchange-connector": good, "execution": bad, "matching-engine": "http://127.0.0.1:9"}
        list_them(instances, urls)
        async with run_trading(instances=instances) as trading:
            yield trading, told


async def test_it_is_published_told_directly_and_pushed_back_until_it_is_disabled(gated: Any) -> None:
    fleet, told = gated
    user = fleet.a_user()

    async def ask(timeout_s: int) -> Any:
        reply = await fleet.call("POST", PATH, {"timeout_s": timeout_s}, user=user)
        assert reply.status == 200, reply.body
        return reply.body

    first = await ask(60)
    times = [datetime.fromisoformat(first[name]) for name in ("current_time", "trigger_time")]
    assert (times[0], times[1] - times[0]) == (fleet.clock.now(), timedelta(seconds=60))
    results = {one["instance"]: one["result"] for one in first["instances"]}
    assert results == {"exchange-connector-0": "ok", "execution-0": "error", "matching-engine-0": "unreachable"}
    fleet.clock.advance(seconds=20)
    again = await ask(60)
    assert datetime.fromisoformat(again["trigger_time"]) == times[1] + timedelta(seconds=20)
    fleet.clock.advance(seconds=61)
    late = await ask(0)
    assert late["trigger_time"] is None
    mine = [one for one in told if one["account_id"] == first["account_id"]]
    assert [one["cancel_at"] for one in mine] == [first["trigger_time"], again["trigger_time"], None]
    assert mine[2]["passed_at"] == again["trigger_time"], "the one that came before is not undone"
    await eventually(lambda: len(fleet.of(CancelAfterSet, user)) == 3)
    heard = fleet.of(CancelAfterSet, user)[2]
    assert (str(heard.account_id), heard.cancel_at) == (first["account_id"], None)


async def test_orders_are_taken_before_and_after(gated: Any) -> None:
    fleet, _ = gated
    user = fleet.a_user()
    await fleet.call("POST", PATH, {"timeout_s": 5}, user=user)
    await fleet.accepted(user, type="limit", limit_price="90")
    fleet.clock.advance(seconds=6)
    await fleet.accepted(user, type="limit", limit_price="90")


@pytest.mark.parametrize("timeout", [4, -1, 86_401, 1.5, "60", None])
async def test_how_long_it_can_be(gated: Any, timeout: Any) -> None:
    fleet, told = gated
    before = len(told)
    reply = await fleet.call("POST", PATH, {"timeout_s": timeout}, user=fleet.a_user())
    assert (reply.status, reply.code, reply.body["errors"][0]["field"]) == (422, "invalid_request", "timeout_s")
    assert len(told) == before


async def test_whose_it_may_be(gated: Any) -> None:
    fleet, _ = gated
    user = fleet.a_user()
    assert (await fleet.call("POST", PATH, {"timeout_s": 60}, user=user, scopes=["read"])).status == 403
    for account_id in (str(uuid4()), str(fleet.account_of(user))):
        body = {"timeout_s": 60, "account_id": account_id}
        assert (await fleet.call("POST", PATH, body, user=fleet.a_user())).code == "account_not_found"
    own = await fleet.call("POST", PATH, {"timeout_s": 60, "account_id": str(fleet.account_of(user))}, user=user)
    assert own.status == 200


async def test_on_a_replay_no_time_runs_out(run_trading: Any) -> None:
    async with run_trading(feed="replay") as fleet:
        reply = await fleet.call("POST", PATH, {"timeout_s": 60}, user=fleet.a_user())
        assert (reply.status, reply.code) == (422, "unsupported")
