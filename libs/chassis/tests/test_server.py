"""A service as a real process: started, asked to stop, broken."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from fleet_launcher.places import StateDir
from fleet_launcher.ports import kept_ports
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served
from starlette.requests import Request
from starlette.responses import Response

SERVICE = Path(__file__).with_name("served_service.py")


@dataclass
class Running:
    process: asyncio.subprocess.Process
    url: str

    async def is_up(self) -> bool:
        try:
            async with aiohttp.ClientSession() as session, session.get(self.url + "/health/ready") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            if self.process.returncode is not None:
                raise AssertionError((await self.output())[-2000:]) from None
            return False

    async def get(self, path: str, method: str = "GET", **headers: str) -> Any:
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.request(method, self.url + path) as answer,
        ):
            assert "Server" not in answer.headers
            return await answer.json()

    async def output(self) -> str:
        output, _ = await asyncio.wait_for(self.process.communicate(), 15)
        return output.decode()


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start_service(keyring: Any, tmp_path: Path) -> AsyncIterator[Start]:
    started: list[asyncio.subprocess.Process] = []

    async def start(**environment: str) -> Running:
        (port,) = kept_ports(StateDir(tmp_path), [f"service-{len(started)}"]).values()
        settings = {
            "FLEET_SERVICE": "trading",
            "FLEET_PORT": str(port),
            "FLEET_KAFKA_URL": "127.0.0.1:1",
            "FLEET_INSTANCES": str(keyring.folder / "instances.json"),
            "FLEET_PRIVATE_KEY_FILE": str(keyring.folder / "trading.pem"),
            "FLEET_PUBLIC_KEYS_FILE": str(keyring.public_keys_file),
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SERVICE),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, **settings, **environment},
        )
        started.append(process)
        return Running(process, f"http://127.0.0.1:{port}")

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_sigterm_drains_and_exits_with_0(start_service: Start, tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    service = await start_service(BEGUN=str(begun))
    await eventually(service.is_up, timeout_s=20)
    assert not [name for name in await service.get("/modules") if name.startswith(("opentelemetry.sdk", "sqlalchemy"))]
    slow = asyncio.create_task(service.get("/slow"))
    await eventually(begun.exists)
    service.process.send_signal(signal.SIGTERM)
    assert await slow == {"done": True}
    output = await service.output()
    assert service.process.returncode == 0, output
    assert [json.loads(line) for line in output.splitlines()][-1] == {"event": "drained"}


async def test_a_dead_background_task_ends_the_process(start_service: Start) -> None:
    service = await start_service()
    await eventually(service.is_up, timeout_s=20)
    await service.get("/die", "POST")
    output = await service.output()
    assert service.process.returncode == 70, output
    assert "the relay is broken" in output


@pytest.mark.parametrize(("environment", "code"), [({"WAY": "fails"}, 3), ({"FLEET_PORT": "x"}, 1)])
async def test_what_cannot_start_exits(start_service: Start, environment: dict[str, str], code: int) -> None:
    service = await start_service(**environment)
    output = await service.output()
    assert service.process.returncode == code, output
    if code == 1:
        (line,) = output.splitlines()
        assert line.startswith("error: FLEET_PORT: "), "one line that names the setting"


async def test_traces_are_exported_when_an_endpoint_is_set_and_go_on_from_the_caller(start_service: Start) -> None:
    received: list[bytes] = []

    async def collector(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            for kind in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{kind}.complete"})
            return
        received.append(await Request(scope, receive).body())
        await Response()(scope, receive, send)

    async with served(collector) as url:
        service = await start_service(OTEL_EXPORTER_OTLP_ENDPOINT=url, OTEL_BSP_SCHEDULE_DELAY="50")
        await eventually(service.is_up, timeout_s=20)
        trace_id, parent_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
        await service.get("/slow", traceparent=f"00-{trace_id}-{parent_id}-01")
        await eventually(lambda: received)
        assert b"GET /slow" in received[0]
        assert b"trading-0" in received[0]
        assert bytes.fromhex(trace_id) in received[0]
        assert bytes.fromhex(parent_id) in received[0]
        assert b"/health" not in b"".join(received)
        service.process.send_signal(signal.SIGTERM)
        await service.output()
        assert service.process.returncode == 0
