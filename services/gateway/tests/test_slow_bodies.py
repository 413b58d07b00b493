"""Who takes his time to send a body is judged by what counts once it is there."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest
from fleet_testkit.eventually import eventually
from key_signers import new_signer

ORDERS = "/api/v1/orders"
BODY = b'{"client_order_id":"late"}'


class Begun:
    """A request of which the gateway has the head and waits for the body."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def at(cls, fleet: Any, path: str, headers: dict[str, str]) -> "Begun":
        reader, writer = await asyncio.open_connection("127.0.0.1", int(fleet.url.rsplit(":", 1)[1]))
        told = {"Host": "x", "Connection": "close", "Expect": "100-continue", "Content-Length": str(len(BODY))}
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (told | headers).items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        # It asks for the body once it has judged the head.
        assert await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
        return cls(reader, writer)

    async def end(self) -> tuple[int, Any]:
        self._writer.write(BODY)
        answer = await asyncio.wait_for(self._reader.read(), 10)
        self._writer.close()
        return int(answer[9:12]), json.loads(answer.partition(b"\r\n\r\n")[2]).get("code")


@pytest.mark.parametrize("path", [ORDERS, "/api/v1/auth/api-keys", "/api/v1/deployments"])
async def test_a_session_that_ends_while_a_body_comes_does_nothing_with_it(fleet: Any, path: str) -> None:
    user = await fleet.new_user()
    begun = await Begun.at(fleet, path, {"Authorization": f"Bearer {user.token}"})
    assert (await fleet.call("POST", "/api/v1/auth/logout", token=user.token)).status == 204

    async def is_revoked() -> bool:
        return bool((await fleet.call("GET", "/api/v1/auth/me", token=user.token)).status == 401)

    await eventually(is_revoked)
    assert await begun.end() == (401, "session_revoked")


async def test_a_signature_is_of_now_once_the_body_is_there(fleet: Any) -> None:
    """Else one that was seen is taken again by who holds the body back until it is forgotten."""
    signer = await new_signer(fleet)
    key, _ = await signer.key()
    begun = await Begun.at(fleet, ORDERS, key.headers("POST", ORDERS, BODY))
    fleet.clock.shift = timedelta(seconds=6)
    try:
        assert await begun.end() == (401, "timestamp_out_of_range")
    finally:
        fleet.clock.shift = timedelta()


async def test_a_key_that_is_revoked_while_a_body_comes_does_nothing_with_it(fleet: Any) -> None:
    signer = await new_signer(fleet)
    key, key_id = await signer.key()
    begun = await Begun.at(fleet, ORDERS, key.headers("POST", ORDERS, BODY))
    assert (await fleet.call("DELETE", f"/api/v1/auth/api-keys/{key_id}", token=signer.token)).status == 204

    async def is_revoked() -> bool:
        return bool((await signer.send(key)).status == 401)

    await eventually(is_revoked)
    assert await begun.end() == (401, "api_key_unknown")
