"""`/ws`: who may connect, and the reasons for which a socket is closed."""

import asyncio
import contextlib
import secrets
import socket
from datetime import timedelta
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from fleet_contracts import trading
from fleet_contracts.topics import TRADING_ACTIVITY
from fleet_gateway.sockets.protocol import head_of_text
from fleet_testkit.eventually import eventually
from prometheus_client import REGISTRY
from socket_clients import Client, Trader, connected
from websockets.frames import Frame, Opcode

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def test_a_handshake_needs_a_token(fleet: Any, trader: Trader) -> None:
    for token, path, status in (("x", "/ws", 401), (trader.user.token, "/elsewhere", 404)):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            headers = {"Authorization": f"Bearer {token}"}
            await fleet.http.ws_connect(fleet.url + path, headers=headers)
        assert refused.value.status == status


async def test_refused_handshakes_count_for_their_address(second_gateway: Any) -> None:
    async with second_gateway(gateway_rate_requests=0.001, gateway_rate_burst=1) as fleet:
        for path, headers, status in (
            ("/elsewhere", {}, 404),
            ("/ws", {"Origin": "https://evil.example"}, 403),
            ("/ws", {"Authorization": "Bearer x"}, 401),
        ):
            sent = headers | {"X-Forwarded-For": ".".join(["10", *map(str, secrets.token_bytes(3))])}
            told = []
            for _ in range(2):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await fleet.http.ws_connect(fleet.url + path, headers=sent)
                told.append(refused.value.status)
            assert told == [status, 429], path


async def test_who_has_used_up_his_address_has_no_ticket_looked_at(second_gateway: Any, trader: Trader) -> None:
    """an invented ticket → the address has nothing left → 429 for a good one, which opens a socket from elsewhere"""
    given = await trader.fleet.call("POST", "/api/v1/auth/ws-tickets", token=trader.user.token)
    here, elsewhere = ({"X-Forwarded-For": ".".join(["10", *map(str, secrets.token_bytes(3))])} for _ in range(2))
    async with second_gateway(gateway_rate_requests=0.001, gateway_rate_burst=3) as fleet:
        url = f"{fleet.url}/ws?ticket="
        told = []
        for ticket in ("one", "two", "three", given.body["ticket"]):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await fleet.http.ws_connect(url + ticket, headers=here)
            told.append(refused.value.status)
        assert told == [401, 401, 401, 429]
        async with fleet.http.ws_connect(url + given.body["ticket"], headers=elsewhere):
            pass


async def test_a_ticket_opens_one_socket(fleet: Any, trader: Trader) -> None:
    given = await fleet.call("POST", "/api/v1/auth/ws-tickets", token=trader.user.token)
    assert (given.status, given.body["expires_in"]) == (201, 30)
    url = f"{fleet.url}/ws?ticket={given.body['ticket']}"
    async with fleet.http.ws_connect(url) as connection:
        assert await Client(connection).subscribe("order_updates") == []
    for bad in (url, f"{fleet.url}/ws?ticket=invented", f"{fleet.url}/ws"):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await fleet.http.ws_connect(bad)
        assert refused.value.status == 401


async def test_silence_is_filled_with_heartbeats(fleet: Any, trader: Trader) -> None:
    async with connected(fleet, trader.user.token) as client:
        started = asyncio.get_running_loop().time()
        for _ in range(2):
            assert await client.hear(heartbeat=True) == {"channel": "heartbeat"}
        assert asyncio.get_running_loop().time() - started < 4


async def test_an_expired_token_closes_the_socket(fleet: Any, trader: Trader) -> None:
    async with connected(fleet, trader.user.token) as client:
        await client.subscribe("order_updates")
        fleet.clock.shift += timedelta(minutes=6)
        try:
            assert await asyncio.wait_for(client.hear(), 10) == 4401
        finally:
            fleet.clock.shift -= timedelta(minutes=6)


async def test_a_revoked_session_closes_its_sockets(fleet: Any, trader: Trader) -> None:
    async with connected(fleet, trader.user.token) as client:
        assert (await fleet.call("POST", "/api/v1/auth/logout", token=trader.user.token)).status == 204
        assert await asyncio.wait_for(client.hear(), 10) == 4401


async def test_a_flood_closes_the_socket(fleet: Any, trader: Trader) -> None:
    async with connected(fleet, trader.user.token) as client:
        for n in range(200):
            with contextlib.suppress(ConnectionError):
                await client.say(method="ping", req_id=n)
        answers = 0
        while not isinstance(message := await client.hear(), int):
            answers += 1
        assert message == 1008
        assert 90 <= answers <= 130


async def test_a_message_counts_by_the_symbols_it_names(fleet: Any, trader: Trader) -> None:
    """Each is answered by itself: 500 in each of twenty messages a second took a gateway's whole time from the others."""
    asked = {"channel": "market_data", "symbols": ["NONE/USD"] * 500}
    async with connected(fleet, trader.user.token) as client:

        async def ask() -> None:
            with contextlib.suppress(ConnectionError):
                for _ in range(20):
                    await client.say(method="subscribe", params=asked)

        asking = asyncio.create_task(ask())
        answers = 0
        while not isinstance(message := await client.hear(), int):
            answers += 1
        await asking
        assert message == 1008
        assert answers >= 1_000, "all that one socket may follow can be asked for at once"


async def test_a_message_too_long_closes_the_socket(fleet: Any, trader: Trader) -> None:
    async with connected(fleet, trader.user.token) as client:
        await client.connection.send_str("x" * (fleet.settings.gateway_socket_message_bytes + 1))
        assert await client.hear() == 1009


async def test_users_and_addresses_have_so_many_sockets(fleet: Any, second_gateway: Any, trader: Trader) -> None:
    other, third = await fleet.new_user(), await fleet.new_user()
    async with second_gateway(gateway_sockets_per_user=2, gateway_sockets_per_address=3) as gateway:

        async def refused(token: str, address: str = "127.0.0.1") -> str:
            reply = await gateway.call("GET", "/ws", token=token, address=address, headers=UPGRADE)
            assert (reply.status, reply.body["code"], reply.headers["Retry-After"]) == (429, "too_many_sockets", "5")
            return str(reply.body["detail"])

        async with connected(gateway, trader.user.token), connected(gateway, trader.user.token):
            assert await refused(trader.user.token, "10.1.2.3") == "A user has 2 sockets at most."
            async with connected(gateway, other.token):
                assert await refused(third.token) == "An address has 3 sockets at most."
                headers = {"X-Forwarded-For": "10.1.2.3", "Authorization": f"Bearer {third.token}"}
                async with gateway.http.ws_connect(gateway.url + "/ws", headers=headers):
                    pass

            async def is_free() -> bool:
                with contextlib.suppress(aiohttp.WSServerHandshakeError):
                    async with connected(gateway, third.token):
                        return True
                return False

            await eventually(is_free)


async def test_a_gateway_has_so_many_sockets(fleet: Any, second_gateway: Any, trader: Trader) -> None:
    other = await fleet.new_user()
    async with second_gateway(gateway_sockets=1) as gateway, connected(gateway, trader.user.token):
        reply = await gateway.call("GET", "/ws", token=other.token, headers=UPGRADE)
        assert (reply.status, reply.body["code"], reply.headers["Retry-After"]) == (503, "unavailable", "5")


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_frames_are_those_of_the_library(size: int) -> None:
    data = b"x" * size
    assert head_of_text(size) + data == Frame(Opcode.TEXT, data).serialize(mask=False)


async def test_a_slow_reader_misses_nothing(fleet: Any, trader: Trader) -> None:
    """What the network does not hold waits for him, and comes once he reads again."""
    headers = {"Authorization": f"Bearer {trader.user.token}"}
    connector = aiohttp.TCPConnector(socket_factory=small_buffers)
    async with (
        aiohttp.ClientSession(connector=connector, read_bufsize=1024) as http,
        connected(fleet, trader.user.token) as witness,
        http.ws_connect(fleet.url + "/ws", headers=headers, max_msg_size=0) as connection,
    ):
        slow = Client(connection)
        for client in (witness, slow):
            await client.subscribe("order_updates")
        sent = 0
        for _ in range(4):
            sent += await publish_many(trader, tuple(trader.order(1) for _ in range(60)))
        for client in (witness, slow):
            while client.sequences["order_updates"] < 1 + sent:
                await client.hear()
        await trader.changed(trader.order(1))
        assert (await slow.hear())["sequence"] == 2 + sent


async def test_a_reader_who_does_not_read_is_closed(fleet: Any, trader: Trader) -> None:
    """1,000 messages wait for him beyond what the network holds; then he is told, and cut off."""
    headers = {"Authorization": f"Bearer {trader.user.token}"}
    connector = aiohttp.TCPConnector(socket_factory=small_buffers)
    async with (
        aiohttp.ClientSession(connector=connector, read_bufsize=1024) as http,
        connected(fleet, trader.user.token) as reading,
    ):
        await reading.subscribe("order_updates")
        async with http.ws_connect(fleet.url + "/ws", headers=headers, max_msg_size=0) as slow:
            client = Client(slow)
            await client.subscribe("order_updates")
            many = tuple(trader.order(1) for _ in range(30))
            open_before = open_sockets()
            published, drained = 0, Drain(reading)
            while open_sockets() == open_before:
                assert published < 4_000
                published += await publish_many(trader, many)
            while not isinstance(message := await client.hear(), int):
                pass
            assert message == 1013
            await eventually(lambda: drained.messages == published)
            drained.task.cancel()


class Drain:
    """Reads all the time, as a client should."""

    def __init__(self, client: Client) -> None:
        self.messages = 0
        self.task = asyncio.create_task(self._read(client))

    async def _read(self, client: Client) -> None:
        while not isinstance(await client.hear(), int):
            self.messages += 1


async def publish_many(trader: Trader, orders: tuple[trading.Order, ...]) -> int:
    """Fifty transactions of trading, in one of the speaker's."""
    async with trader.fleet.bus.transaction() as tx:
        for _ in range(50):
            trader.version += 1
            message = trading.AccountChanged(
                account_id=trader.account_id,
                user_id=UUID(trader.user.user_id),
                version=trader.version,
                orders=orders,
                trades=(),
                balances=(),
                positions=(),
                portfolio=trader.portfolio(),
            )
            tx.publish(TRADING_ACTIVITY, str(trader.account_id), message)
    return 50


def open_sockets() -> float | None:
    return REGISTRY.get_sample_value("fleet_gateway_sockets")


def small_buffers(address: Any) -> socket.socket:
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    return made


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://evil.example", 403), ("null", 403), ("https://app.example", 101), ("http://{own}", 101), (None, 101)],
)
async def test_pages_of_others_open_no_sockets(fleet: Any, trader: Trader, origin: str | None, status: int) -> None:
    headers = {"Authorization": f"Bearer {trader.user.token}"}
    if origin is not None:
        headers["Origin"] = origin.format(own=fleet.url.removeprefix("http://"))
    try:
        async with fleet.http.ws_connect(fleet.url + "/ws", headers=headers):
            found = 101
    except aiohttp.WSServerHandshakeError as refused:
        found = refused.status
    assert found == status
