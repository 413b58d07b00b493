"""Services call each other: signed, with a deadline, wherever the instance is now."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import pytest
from fastapi import APIRouter, Depends, FastAPI
from fleet_chassis.app import new_app
from fleet_chassis.assertions import AssertionSigner, Caller
from fleet_chassis.calls import Answer, CallFailed, ServiceClient
from fleet_chassis.database import is_down
from fleet_chassis.health import Health
from fleet_chassis.instances import Instances
from fleet_chassis.internal import NothingParked, internal_router
from fleet_chassis.permissions import service_caller
from fleet_chassis.requests import take_request_id
from fleet_chassis.settings import ServiceSettings
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served

USER = UUID("01890a5d-ac96-774b-bcce-b302099a8057")


class Parts:
    """What a bus would tell and do."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.released: list[tuple[str, ...]] = []

    async def rest(self, wait_ms: int, version: int) -> dict[str, int]:
        return {"outbox": 0, "wait_ms": wait_ms, "version": version}

    async def parked(self) -> list[dict[str, str]]:
        return [{"key": "k"}]

    async def parked_replay(self, subscription: str, topic: str, key: str, *, by: str) -> bool:
        if key != "k":
            raise NothingParked
        self.released.append((subscription, topic, key, by))
        return True

    async def parked_skip(self, subscription: str, topic: str, key: str, *, by: str, reason: str) -> bool:
        self.released.append((subscription, topic, key, by, reason))
        return False


@pytest.fixture
def parts() -> Parts:
    return Parts()


@pytest.fixture
def trading_app(trading_settings: ServiceSettings, parts: Parts) -> FastAPI:
    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield

    app = new_app(trading_settings, "Trading", lifespan, Health())
    router = APIRouter(prefix="/internal")

    @router.put("/grants/{deployment_id}")
    async def grant(
        deployment_id: str, body: dict[str, Any], caller: Annotated[Caller, Depends(service_caller("gateway"))]
    ) -> dict[str, Any]:
        return {"deployment_id": deployment_id, "user": str(caller.user_id), "body": body}

    @router.get("/slow")
    async def slow() -> None:
        await parts.may_answer.wait()

    app.include_router(router)
    app.include_router(internal_router(parts))
    return app


def write_instances(path: Path, *urls: str) -> None:
    path.write_text(
        json.dumps({"instances": [{"name": "trading", "ordinal": n, "url": url} for n, url in enumerate(urls)]})
    )


@asynccontextmanager
async def calling(keyring: Any, service: str, path: Path) -> AsyncIterator[ServiceClient]:
    signer = AssertionSigner(service, keyring.folder / f"{service}.pem")
    async with ServiceClient(signer, Instances(path)) as client:
        yield client


async def test_a_call_carries_the_user_the_body_and_the_request_id(
    keyring: Any, trading_settings: ServiceSettings, trading_app: FastAPI
) -> None:
    async with served(trading_app) as url, calling(keyring, "gateway", trading_settings.instances) as client:
        write_instances(trading_settings.instances, url)

        async def call() -> Answer:
            take_request_id({"headers": [(b"x-request-id", b"r1")]})
            return await client.request(
                "trading",
                0,
                "PUT",
                "/internal/grants/d1",
                json={"symbols": ["AAPL/USD"]},
                user_claims={"sub": str(USER), "roles": [], "scopes": [], "sid": "s"},
            )

        answer = await asyncio.create_task(call())
        assert answer.is_success
        assert answer.headers["X-Request-ID"] == "r1"
        assert answer.decode(dict[str, Any]) == {
            "deployment_id": "d1",
            "user": str(USER),
            "body": {"symbols": ["AAPL/USD"]},
        }


async def test_no_answer_is_a_failed_call(
    keyring: Any, trading_settings: ServiceSettings, trading_app: FastAPI, parts: Parts
) -> None:
    path = trading_settings.instances
    async with calling(keyring, "gateway", path) as client:
        with pytest.raises(CallFailed, match="not in the list"):
            await client.request("trading", 0, "GET", "/internal/rest")
        write_instances(path, "http://127.0.0.1:1")
        await eventually(lambda: client.instances.of("trading"))
        with pytest.raises(CallFailed) as raised:
            await client.request("trading", 0, "GET", "/internal/rest")
        assert is_down(raised.value)
        async with served(trading_app) as url:
            write_instances(path, url)
            await eventually(lambda: client.instances.of("trading")[0].url == url)
            with pytest.raises(CallFailed, match="within"):
                await client.request("trading", 0, "GET", "/internal/slow", timeout_s=0.1)
            parts.may_answer.set()
            assert (await client.request("trading", 0, "GET", "/internal/rest")).status == 200


async def test_rest_and_parked_keys_are_for_services_and_the_command_line(
    keyring: Any, trading_settings: ServiceSettings, trading_app: FastAPI, parts: Parts
) -> None:
    path = trading_settings.instances
    async with served(trading_app) as url, calling(keyring, "cli", path) as client:
        write_instances(path, url)
        rest = await client.request("trading", 0, "GET", "/internal/rest?wait_ms=5&version=7")
        assert rest.decode(dict[str, int]) == {"outbox": 0, "wait_ms": 5, "version": 7}
        assert (await client.request("trading", 0, "GET", "/internal/rest?wait_ms=999999")).status == 422
        assert (await client.request("trading", 0, "GET", "/internal/parked")).decode(dict[str, Any]) == {
            "data": [{"key": "k"}]
        }
        key = {"subscription": "trading.reports", "topic": "execution.reports", "key": "k"}
        nobody = await client.request("trading", 0, "POST", "/internal/parked/replay", json=key)
        assert nobody.status == 422
        key["by"] = "ann"
        replayed = await client.request("trading", 0, "POST", "/internal/parked/replay", json=key)
        assert replayed.decode(dict[str, bool]) == {"is_released": True}
        nothing = await client.request("trading", 0, "POST", "/internal/parked/replay", json=key | {"key": "other"})
        assert (nothing.status, nothing.decode(dict[str, Any])["code"]) == (404, "nothing_parked")
        without_reason = await client.request("trading", 0, "POST", "/internal/parked/skip", json=key)
        assert without_reason.status == 422
        skip = key | {"reason": "double"}
        assert (await client.request("trading", 0, "POST", "/internal/parked/skip", json=skip)).status == 200
        place = ("trading.reports", "execution.reports", "k", "cli:ann")
        assert parts.released == [place, (*place, "double")]

    async with served(trading_app) as url, calling(keyring, "core-engine", path) as client:
        write_instances(path, url)
        assert (await client.request("trading", 0, "GET", "/internal/parked")).status == 200
        for act, body in (("replay", key), ("skip", skip)):
            assert (await client.request("trading", 0, "POST", f"/internal/parked/{act}", json=body)).status == 403
        assert len(parts.released) == 2

    keyring.add("stranger", is_known=False)
    async with served(trading_app) as url, calling(keyring, "stranger", path) as client:
        write_instances(path, url)
        assert (await client.request("trading", 0, "GET", "/internal/rest")).status == 401
