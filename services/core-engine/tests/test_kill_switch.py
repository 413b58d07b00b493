"""The kill switch with Kafka stopped: committed, told to every instance that must obey, answered within a second."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web
from fleet_chassis.database import Database
from fleet_core_engine.app import create_app
from fleet_core_engine.settings import Settings
from fleet_testkit.fixtures import MakeDatabase
from fleet_testkit.http import served
from fleet_testkit.peers import Keys

SILENT_KAFKA = "127.0.0.1:9"
ADMIN, OTHER_ADMIN = UUID(int=7), UUID(int=8)


@dataclass
class Instance:
    """An instance that must obey: it keeps what it is told, and answers as it is."""

    answer: Callable[[dict[str, Any]], Awaitable[web.Response]]
    told: list[dict[str, Any]] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        async def state(request: web.Request) -> web.Response:
            self.told.append(await request.json())
            return await self.answer(self.told[-1])

        app = web.Application()

        async def rest(_: web.Request) -> web.Response:
            return web.json_response({"outbox": "of another version"})

        app.router.add_post("/internal/state", state)
        app.router.add_get("/internal/rest", rest)
        runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def obeys(told: dict[str, Any]) -> web.Response:
    return web.json_response(told)


def obeying_already(halt: dict[str, Any]) -> Callable[[dict[str, Any]], Awaitable[web.Response]]:
    """Was told this one without core-engine, by `fleet halt`."""

    async def answers(told: dict[str, Any]) -> web.Response:
        is_newer = (told["epoch"], told["version"]) > (halt["epoch"], halt["version"])
        return web.json_response(told if is_newer else halt)

    return answers


async def mumbles(_: dict[str, Any]) -> web.Response:
    return web.json_response({"obeyed": True})


async def hangs(_: dict[str, Any]) -> web.Response:
    await asyncio.Event().wait()
    raise AssertionError


async def fails(_: dict[str, Any]) -> web.Response:
    return web.Response(status=503)


@dataclass
class Fleet:
    url: str
    database: Database
    keys: Keys
    instances: dict[str, Instance]

    async def kill_switch(
        self,
        *,
        by: UUID = ADMIN,
        scopes: tuple[str, ...] = ("trade", "admin"),
        factor_age_s: int | None = 0,
        **body: Any,
    ) -> tuple[int, dict[str, Any]]:
        """`factor_age_s`: how long ago the caller has shown a second factor; None: never."""
        shown = {} if factor_age_s is None else {"mfa_at": int(time.time()) - factor_age_s}
        headers = self.keys.of_user("core-engine", by, *scopes, more=shown)
        async with aiohttp.ClientSession() as client:
            request = {"reason": "a test", **body}
            response = await client.post(f"{self.url}/api/v1/risk/kill-switch", json=request, headers=headers)
            return response.status, await response.json()

    async def fetch(self, statement: str) -> Any:
        async with self.database.connection() as connection:
            return await connection.fetch(statement)


@pytest.fixture(scope="module")
async def halted_fleet(make_database: MakeDatabase, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    keys = Keys.make(tmp_path_factory.mktemp("core-engine"), "core-engine", "gateway")
    database_url = await make_database("core-engine")
    instances = {
        "trading-0": Instance(obeys),
        "trading-1": Instance(hangs),
        "execution-0": Instance(obeys),
        "exchange-connector-0": Instance(fails),
        "matching-engine-0": Instance(mumbles),
    }
    settings = Settings.model_validate(keys.settings("core-engine", database_url, SILENT_KAFKA))
    async with contextlib.AsyncExitStack() as stack:
        listed = []
        for name, instance in instances.items():
            service, _, ordinal = name.rpartition("-")
            url = await stack.enter_async_context(instance.running())
            listed.append({"name": service, "ordinal": int(ordinal), "url": url})
        settings.instances.write_text(json.dumps({"instances": listed}))
        url = await stack.enter_async_context(served(create_app(settings)))
        database = await stack.enter_async_context(Database(database_url, application_name="test"))
        yield Fleet(url, database, keys, instances)


async def test_a_halt_is_told_to_every_instance_within_a_second_without_kafka(halted_fleet: Fleet) -> None:
    started = time.perf_counter()
    status, answer = await halted_fleet.kill_switch(scope="system", action="halt")
    assert time.perf_counter() - started < 1
    assert (status, answer["state"], answer["by"]) == (200, "halted", str(ADMIN))
    results = {one["instance"]: one["result"] for one in answer["instances"]}
    assert results == {
        "trading-0": "ok",
        "trading-1": "unreachable",
        "execution-0": "ok",
        "exchange-connector-0": "error",
        "matching-engine-0": "error",
    }
    assert all(
        (told["state"], told["version"]) == ("halted", answer["version"])
        for instance in halted_fleet.instances.values()
        for told in instance.told
    )
    waiting = await halted_fleet.fetch("SELECT key FROM outbox WHERE topic = 'core-engine.state'")
    assert [row["key"] for row in waiting if row["key"] != "heartbeat"] == ["system"]


async def test_each_change_has_a_higher_version_and_is_kept(halted_fleet: Fleet) -> None:
    answers = await asyncio.gather(
        halted_fleet.kill_switch(scope="symbol", target="AAPL-USD", action="halt"),
        halted_fleet.kill_switch(by=OTHER_ADMIN, scope="symbol", target="AAPL/USD", action="resume"),
        halted_fleet.kill_switch(scope="system", action="halt"),
    )
    versions = [answer["version"] for _, answer in answers]
    assert len(set(versions)) == 3
    changes = await halted_fleet.fetch("SELECT version, scope, target FROM trading_state_changes ORDER BY version")
    assert {row["version"] for row in changes} >= set(versions)
    [held] = await halted_fleet.fetch("SELECT version, state FROM trading_state WHERE target = 'AAPL/USD'")
    newest = max((answer for _, answer in answers if answer["target"] == "AAPL/USD"), key=lambda one: one["version"])
    assert (held["version"], held["state"]) == (newest["version"], newest["state"])


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"scope": "account", "target": "x", "action": "halt"}, "invalid_request"),
        ({"scope": "venue", "action": "halt"}, "invalid_request"),
        ({"scope": "system", "action": "halt", "target": "AAPL/USD"}, "invalid_request"),
        ({"scope": "symbol", "action": "halt"}, "invalid_request"),
        ({"scope": "symbol", "action": "halt", "target": "not a symbol"}, "invalid_request"),
        ({"scope": "system", "action": "halt", "reason": ""}, "invalid_request"),
        ({"scope": "system", "action": "stop"}, "invalid_request"),
        ({"scope": "system", "action": "halt", "hard": True}, "invalid_request"),
    ],
)
async def test_what_cannot_be_done_changes_nothing(halted_fleet: Fleet, body: dict[str, Any], code: str) -> None:
    before = await halted_fleet.fetch("SELECT version FROM trading_state_version")
    status, problem = await halted_fleet.kill_switch(**body)
    assert (status, problem["code"]) == (422, code)
    assert await halted_fleet.fetch("SELECT version FROM trading_state_version") == before


@pytest.mark.parametrize(("scope", "target"), [("system", None), ("venue", "paper"), ("symbol", "IBM/USD")], ids=str)
async def test_another_person_releases(halted_fleet: Fleet, scope: str, target: str | None) -> None:
    body: dict[str, Any] = {"scope": scope} if target is None else {"scope": scope, "target": target}
    await halted_fleet.kill_switch(action="halt", **body)
    for action in ("reduce", "resume"):
        status, problem = await halted_fleet.kill_switch(action=action, **body)
        assert (status, problem["code"]) == (403, "second_person_required")
    status, answer = await halted_fleet.kill_switch(by=OTHER_ADMIN, action="reduce", **body)
    assert (status, answer["state"], answer["target"]) == (200, "reducing", target)
    # Now the other one has restricted it.
    status, _ = await halted_fleet.kill_switch(by=OTHER_ADMIN, action="resume", **body)
    assert status == 403
    status, answer = await halted_fleet.kill_switch(action="resume", **body)
    assert (status, answer["state"]) == (200, "active")
    status, answer = await halted_fleet.kill_switch(action="resume", **body)
    assert status == 200, "what is active already is released by anybody"


@pytest.mark.parametrize(("scope", "target"), [("symbol", "GOOG/USD"), ("account", str(UUID(int=71)))])
async def test_a_release_takes_a_fresh_second_factor_and_a_halt_none(
    halted_fleet: Fleet, scope: str, target: str
) -> None:
    body: dict[str, Any] = {"scope": scope, "target": target}
    status, _ = await halted_fleet.kill_switch(action="halt", factor_age_s=None, **body)
    assert status == 200
    for age_s in (None, 310):
        for action in ("resume", "reduce"):
            status, told = await halted_fleet.kill_switch(by=OTHER_ADMIN, action=action, factor_age_s=age_s, **body)
            assert (status, told["code"]) == (403, "mfa_required")
    status, answer = await halted_fleet.kill_switch(by=OTHER_ADMIN, action="resume", factor_age_s=290, **body)
    assert (status, answer["state"]) == (200, "active")


async def test_any_admin_releases_an_account(halted_fleet: Fleet) -> None:
    body: dict[str, Any] = {"scope": "account", "target": str(UUID(int=70))}
    for action, state in (("halt", "halted"), ("reduce", "reducing"), ("resume", "active")):
        status, answer = await halted_fleet.kill_switch(action=action, **body)
        assert (status, answer["state"]) == (200, state)


async def test_a_state_told_without_core_engine_is_known_and_overruled_by_a_higher_version(halted_fleet: Fleet) -> None:
    _, answer = await halted_fleet.kill_switch(scope="symbol", target="MSFT/USD", action="reduce")
    instance = halted_fleet.instances["execution-0"]
    fields = ("scope", "target", "state", "epoch", "version", "by", "reason", "changed_at")
    before = {name: answer[name] for name in fields}
    instance.answer = obeying_already(before | {"state": "halted", "version": answer["version"] + 5, "by": "cli:op"})
    try:
        # Judged anew by what is held there: the same admin releases what somebody else has halted.
        status, released = await halted_fleet.kill_switch(scope="symbol", target="MSFT/USD", action="halt")
        assert (status, released["version"] > answer["version"] + 5) == (200, True)
        results = {one["instance"]: one["result"] for one in released["instances"]}
        assert results["execution-0"] == "ok"
    finally:
        instance.answer = obeys
    states = await halted_fleet.fetch("SELECT changed_by FROM trading_state_changes WHERE target = 'MSFT/USD'")
    assert "cli:op" in {row["changed_by"] for row in states}
    unsent = await halted_fleet.fetch("SELECT payload FROM outbox WHERE topic = 'core-engine.audit' ORDER BY id")
    acts = [json.loads(row["payload"]) for row in unsent]
    assert [(act["action"], act["target"]) for act in acts if act["actor"] == "cli:op"] == [
        ("trading_state.adopted", "symbol:MSFT/USD")
    ]


async def test_only_an_admin_may_halt(halted_fleet: Fleet) -> None:
    status, problem = await halted_fleet.kill_switch(scopes=("read", "trade"), scope="system", action="halt")
    assert (status, problem["code"]) == (403, "insufficient_scope")


async def test_the_status_is_told_without_kafka(halted_fleet: Fleet) -> None:
    await halted_fleet.kill_switch(scope="system", action="halt")
    headers = halted_fleet.keys.of_user("core-engine", ADMIN, "read")
    started = time.perf_counter()
    async with aiohttp.ClientSession() as client:
        response = await client.get(f"{halted_fleet.url}/api/v1/system/status", headers=headers)
        told = await response.json()
    assert time.perf_counter() - started < 1
    assert (response.status, told["trading_state"], told["is_ready"]) == (200, "halted", False)
    assert {one["outbox"] for one in told["services"]} == {None}, "what is not understood is not told"
