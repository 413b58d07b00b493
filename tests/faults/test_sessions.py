"""Tokens that end: by time, by logout, by the reuse of a refresh token."""

import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from fleet_sdk.problems import SocketClosed
from fleet_sdk.socket import Socket
from fleet_testkit.eventually import eventually
from whole_fleet import WholeFleet, whole_fleet

pytestmark = [pytest.mark.long, pytest.mark.timeout(200)]
TOKEN_S = 4


@pytest.fixture(scope="module")
def fleet() -> Any:
    with whole_fleet("simulated", port_offset=690, environment={"FLEET_AUTH_ACCESS_TOKEN_S": str(TOKEN_S)}) as running:
        yield running


@pytest.fixture
async def session(fleet: WholeFleet) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(fleet.url) as opened:
        yield opened


async def log_in(fleet: WholeFleet, session: aiohttp.ClientSession) -> dict[str, Any]:
    async with fleet.user() as user:
        credentials = {"email": user.email, "password": user.password}
    async with session.post("/api/v1/auth/login", json=credentials) as response:
        tokens: dict[str, Any] = await response.json()
    return tokens


async def status_with(session: aiohttp.ClientSession, token: str) -> int:
    async with session.get("/api/v1/orders", headers={"Authorization": f"Bearer {token}"}) as response:
        if response.status >= 400:
            assert response.content_type == "application/problem+json"
        return response.status


async def test_an_expired_token_is_refused_and_its_socket_closed(
    fleet: WholeFleet, session: aiohttp.ClientSession
) -> None:
    tokens = await log_in(fleet, session)
    logged_in_at = time.monotonic()
    token = tokens["access_token"]
    assert await status_with(session, token) == 200
    async with session.ws_connect("/ws", headers={"Authorization": f"Bearer {token}"}) as connection:
        socket = Socket(connection, silence_s=10)
        await socket.subscribe("order_updates")
        with pytest.raises(SocketClosed) as closed:
            async for _ in socket:
                pass
    assert closed.value.code == 4401
    assert TOKEN_S - 1 <= time.monotonic() - logged_in_at <= TOKEN_S + 5

    async def is_refused() -> bool:
        return await status_with(session, token) == 401

    await eventually(is_refused, timeout_s=5)


async def test_a_refresh_token_used_twice_ends_the_session(fleet: WholeFleet, session: aiohttp.ClientSession) -> None:
    tokens = await log_in(fleet, session)
    old = {"refresh_token": tokens["refresh_token"]}
    async with session.post("/api/v1/auth/refresh", json=old) as response:
        assert response.status == 200
        renewed = await response.json()
    assert await status_with(session, renewed["access_token"]) == 200
    async with session.post("/api/v1/auth/refresh", json=old) as response:
        assert response.status == 401

    async def is_refused() -> bool:
        return await status_with(session, renewed["access_token"]) == 401

    await eventually(is_refused, timeout_s=TOKEN_S - 1)
    async with session.post("/api/v1/auth/refresh", json={"refresh_token": renewed["refresh_token"]}) as response:
        assert response.status == 401
