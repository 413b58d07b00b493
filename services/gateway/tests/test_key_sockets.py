"""Sockets that an API key opens: with a ticket, and as long as the key may what it might when it asked for one."""

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import Any, cast
from uuid import uuid4

import aiohttp
import pytest
import pytest_asyncio
from fleet_bus import TableView
from fleet_contracts.auth import SessionRevoked
from fleet_gateway.identity import AccessTokens, KeySet, Principal
from fleet_sdk.client import FleetClient
from fleet_sdk.signing import ApiKey
from fleet_testkit.clock import ShiftedClock
from key_signers import Signer, new_signer, refused
from socket_clients import Client, Trader

TICKETS = "/api/v1/auth/ws-tickets"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def signer(fleet: Any) -> Signer:
    return await new_signer(fleet)


async def no_keys() -> dict[str, Any]:
    return {"keys": []}


async def ticket(signer: Signer, key: ApiKey) -> str:
    given = await signer.send(key, "POST", TICKETS)
    assert (given.status, given.body["expires_in"]) == (201, 30), given.body
    return str(given.body["ticket"])


@contextlib.asynccontextmanager
async def opened(signer: Signer, shown: str, address: str | None = None) -> AsyncIterator[Client]:
    """From an address of its own: what a slow gateway counts for one holds for a long time, and for all gateways."""
    address = address or str(IPv4Address(b"\x0a" + secrets.token_bytes(3)))
    url, headers = f"{signer.fleet.url}/ws?ticket={shown}", {"X-Forwarded-For": address}
    async with signer.fleet.http.ws_connect(url, headers=headers, max_msg_size=0) as connection:
        yield Client(connection)


async def test_a_ticket_of_a_key_opens_one_socket_with_what_the_key_may(signer: Signer) -> None:
    key, key_id = await signer.key(scopes=["read"], symbols=["AAPL/USD"], max_order_notional="1000")
    shown = await ticket(signer, key)
    trader = Trader(signer.fleet, signer)
    async with opened(signer, shown) as client:
        assert await client.subscribe("order_updates") == []
        asked = signer.fleet.services["trading"].seen[-1]
        told = {name: asked.claims.get(name) for name in ("sub", "sid", "api_key_id", "scopes", "symbols")}
        assert told == {
            "sub": signer.user_id,
            "sid": key_id,
            "api_key_id": key_id,
            "scopes": ["read"],
            "symbols": ["AAPL/USD"],
        }
        assert asked.claims["max_order_notional"] == "1000"
        await trader.changed(trader.order(1))
        assert len((await client.hear())["data"]) == 1
    with pytest.raises(aiohttp.WSServerHandshakeError) as again:
        async with opened(signer, shown):
            pass
    assert again.value.status == 401


async def test_the_sdk_opens_sockets_with_a_key(signer: Signer) -> None:
    key, _ = await signer.key(scopes=["read"])
    Trader(signer.fleet, signer)
    async with FleetClient(signer.fleet.url, api_key=key) as client, client.socket() as stream:
        await stream.subscribe("trades")
        shown = await anext(aiter(stream))
        assert (shown["channel"], shown["type"], shown["data"]) == ("trades", "snapshot", [])


async def test_a_revoked_key_closes_its_sockets_and_no_others(signer: Signer) -> None:
    """two keys, a socket each, a ticket of the first → the first is revoked → its socket: 4401 within 5 s, its ticket: 401"""
    (one, one_id), (other, _) = await signer.key(), await signer.key()
    waiting = await ticket(signer, one)
    async with opened(signer, await ticket(signer, one)) as ends, opened(signer, await ticket(signer, other)) as stays:
        begun = time.monotonic()
        path = f"/api/v1/auth/api-keys/{one_id}"
        assert (await signer.fleet.call("DELETE", path, token=signer.token)).status == 204
        assert await asyncio.wait_for(ends.hear(), 5) == 4401
        assert time.monotonic() - begun < 5
        with pytest.raises(aiohttp.WSServerHandshakeError) as late:
            async with opened(signer, waiting):
                pass
        assert late.value.status == 401
        await stays.say(method="ping", req_id=1)
        assert await stays.hear() == {"method": "pong", "req_id": 1}


async def test_a_socket_ends_with_its_key(signer: Signer) -> None:
    ends_at = datetime.now(UTC) + timedelta(minutes=2)
    key, _ = await signer.key(expires_at=ends_at.isoformat())
    async with opened(signer, await ticket(signer, key)) as client:
        signer.fleet.clock.shift += timedelta(minutes=2)
        try:
            assert await client.hear() == 4401
        finally:
            signer.fleet.clock.shift -= timedelta(minutes=2)


async def test_a_ticket_is_used_from_the_networks_of_its_key_only(signer: Signer) -> None:
    key, _ = await signer.key(ip_allowlist=["10.1.0.0/16"])
    shown = key.headers("POST", TICKETS)
    given = await signer.fleet.call("POST", TICKETS, headers=shown, address="10.1.9.9")
    with pytest.raises(aiohttp.WSServerHandshakeError) as elsewhere:
        async with opened(signer, given.body["ticket"], address="10.2.0.1"):
            pass
    assert elsewhere.value.status == 403
    given = await signer.fleet.call("POST", TICKETS, headers=key.headers("POST", TICKETS), address="10.1.9.9")
    async with opened(signer, given.body["ticket"], address="10.1.2.3") as client:
        assert await client.subscribe("trades") == []


async def test_a_key_that_may_not_read_opens_no_socket(signer: Signer) -> None:
    key, _ = await signer.key(scopes=["trade"])
    with pytest.raises(aiohttp.WSServerHandshakeError) as blind:
        async with opened(signer, await ticket(signer, key)):
            pass
    assert blind.value.status == 403


async def test_a_socket_of_a_key_counts_for_the_key_too(fleet: Any, second_gateway: Any) -> None:
    """A share of 6 requests: the ticket 1, the socket 1, a snapshot 4 → the next subscription is 429, the user goes on"""
    owner = await new_signer(fleet)
    key, _ = await owner.key()
    async with second_gateway(gateway_rate_requests=0.001, gateway_rate_burst=60, gateway_rate_key_share=0.1) as slow:
        signer = Signer(slow, owner.token, owner.user_id)
        async with opened(signer, await ticket(signer, key)) as client:
            await client.subscribe("trades")
            await client.say(method="subscribe", params={"channel": "portfolio"}, req_id=2)
            assert (await client.hear())["problem"]["code"] == "rate_limited"
        assert refused(await signer.send(key)) == (429, "rate_limited")
        assert (await slow.call("GET", "/api/v1/portfolio", token=owner.token)).status == 200


def test_what_auth_has_told_since_ends_a_socket_of_a_key_and_what_it_told_before_does_not() -> None:
    """auth tells of a key whenever its user has changed: the key may be as good as before, for who asks again."""
    clock, user, key_id = ShiftedClock(), uuid4(), str(uuid4())
    now = clock.now()
    table: dict[str, SessionRevoked] = {}
    tokens = AccessTokens(KeySet(no_keys), cast("TableView[SessionRevoked]", table), clock)
    principal = Principal(
        user, key_id, frozenset(), float("inf"), {}, str(user), api_key_id=key_id, told_at=now.timestamp()
    )
    assert tokens.end_of(principal) is None
    # Auth's replicas have clocks of their own, and what it tells has begun before it was told.
    for ago_s, is_over in ((60, False), (1, True), (-1, True)):
        at = now - timedelta(seconds=ago_s)
        table[key_id] = SessionRevoked(session_id=key_id, user_id=user, revoked_at=at, last_token_expires_at=at)
        assert (tokens.end_of(principal) is not None) is is_over
