"""The client against a server that speaks API.md: shapes, errors, tokens, no second POST, sockets."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from aiohttp import WSCloseCode, web
from aiohttp.test_utils import TestServer
from fleet_sdk.client import FleetClient
from fleet_sdk.problems import ApiError, OutcomeUnknown, SocketClosed, Unreachable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """Keeps what was asked; tokens are numbered and one refresh token is good for one refresh."""

    def __init__(self, expires_in: int = 300) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.expires_in = expires_in
        self.tokens = 0
        self.routes: dict[tuple[str, str], Handler] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        path = request.rel_url.raw_path.removeprefix("/api/v1")
        body: Any = await request.json() if request.can_read_body else None
        self.asked.append((request.method, str(request.rel_url).removeprefix("/api/v1"), body))
        if path in ("/auth/login", "/auth/refresh"):
            if path == "/auth/refresh" and body["refresh_token"] != f"r{self.tokens}":
                return problem(401, "session_revoked", "this refresh token was used before")
            self.tokens += 1
            return web.json_response(
                {"access_token": f"a{self.tokens}", "refresh_token": f"r{self.tokens}", "expires_in": self.expires_in}
            )
        if request.headers.get("Authorization") != f"Bearer a{self.tokens}":
            return problem(401, "unauthenticated", "an access token is needed")
        return await self.routes[request.method, path](request)

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[FleetClient]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        async with TestServer(app) as server, FleetClient(str(server.make_url("/")), **options) as client:
            yield client


def problem(status: int, code: str, detail: str, **more: Any) -> web.Response:
    body = {"type": "about:blank", "status": status, "code": code, "detail": detail, "request_id": "req-1", **more}
    return web.Response(status=status, text=json.dumps(body), content_type="application/problem+json")


async def test_decimals_go_out_as_strings_and_answers_come_back() -> None:
    api = Api()

    async def created(request: web.Request) -> web.Response:
        return web.json_response({"order_id": "1", "status": "pending_new"}, status=201)

    api.routes["POST", "/orders"] = created
    async with api.client() as client:
        await client.login("a@example.com", "secret")
        order = {
            "symbol": "AAPL/USD",
            "side": "buy",
            "type": "limit",
            "quantity": Decimal(3),
            "limit_price": Decimal("0.00000012"),
        }
        assert (await client.place_order(order))["status"] == "pending_new"
    assert api.asked[-1] == ("POST", "/orders", {**order, "quantity": "3", "limit_price": "0.00000012"})


async def test_a_problem_is_an_api_error() -> None:
    api = Api()

    async def denied(request: web.Request) -> web.Response:
        errors = [{"field": "quantity", "message": "must be above 0", "code": "invalid"}]
        return problem(422, "insufficient_funds", "needs 5 USD, was 3 USD", errors=errors)

    async def limited(request: web.Request) -> web.Response:
        answer = problem(429, "rate_limited", "too many")
        answer.headers["Retry-After"] = "2"
        return answer

    async def broken(request: web.Request) -> web.Response:
        return web.Response(status=502, text="<html>bad gateway</html>")

    api.routes |= {("POST", "/orders"): denied, ("GET", "/portfolio"): limited, ("GET", "/auth/me"): broken}
    async with api.client() as client:
        with pytest.raises(ApiError) as error:
            await client.me()
        assert (error.value.status, error.value.code, error.value.request_id) == (401, "unauthenticated", "req-1")
        await client.login("a@example.com", "secret")
        with pytest.raises(ApiError, match="422 insufficient_funds: needs 5 USD") as error:
            await client.place_order({})
        assert error.value.errors[0]["field"] == "quantity"
        with pytest.raises(ApiError) as error:
            await client.portfolio()
        assert error.value.retry_after_s == 2
        with pytest.raises(OutcomeUnknown, match="502 <html>bad gateway"):
            await client.me()  # somebody between us and the API, who knows nothing of what was done


async def test_a_post_without_an_answer_is_unknown_and_sent_once() -> None:
    api = Api()

    async def silent(request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async def dropped(request: web.Request) -> web.Response:
        assert request.transport
        request.transport.close()
        return web.Response()

    api.routes |= {("POST", "/orders"): silent, ("POST", "/strategies"): dropped}
    async with api.client(timeout_s=0.2) as client:
        await client.login("a@example.com", "secret")
        with pytest.raises(OutcomeUnknown, match=r"no answer within 0\.2 s"):
            await client.place_order({})
        with pytest.raises(OutcomeUnknown):
            await client.create_strategy({})
    assert [path for method, path, _ in api.asked] == ["/auth/login", "/orders", "/strategies"]


async def test_nobody_there_is_unreachable() -> None:
    async with FleetClient("http://127.0.0.1:1") as client:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:1"):
            await client.login("a@example.com", "secret")
        with pytest.raises(Unreachable):
            async with client.socket():
                raise AssertionError


async def test_tokens_are_renewed_before_they_expire_and_only_once() -> None:
    api = Api(expires_in=20)

    async def me(request: web.Request) -> web.Response:
        return web.json_response({"email": "a@example.com"})

    api.routes["GET", "/auth/me"] = me
    async with api.client() as client:
        await client.login("a@example.com", "secret")
        api.expires_in = 300
        await asyncio.gather(*(client.me() for _ in range(5)))
    assert [path for _, path, _ in api.asked].count("/auth/refresh") == 1
    assert api.tokens == 2


async def test_a_kept_session_is_resumed_once() -> None:
    api = Api()
    async with api.client() as client:
        await client.login("a@example.com", "secret")
        kept = client.refresh_token
        assert kept is not None
        await client.resume(kept)
        assert client.refresh_token not in (None, kept)
        with pytest.raises(ApiError, match="session_revoked"):
            await client.resume(kept)


async def test_lists_are_read_over_all_pages() -> None:
    api = Api()

    async def trades(request: web.Request) -> web.Response:
        first = int(request.query.get("cursor", "0"))
        more = first < 4
        rows = [{"trade_id": str(first)}, {"trade_id": str(first + 1)}]
        return web.json_response({"data": rows, "has_more": more, "next_cursor": str(first + 2) if more else None})

    async def ticker(request: web.Request) -> web.Response:
        return web.json_response({"bid": "1.5"})

    api.routes |= {("GET", "/trades"): trades, ("GET", "/markets/AAPL-USD/ticker"): ticker}
    async with api.client() as client:
        await client.login("a@example.com", "secret")
        assert [t["trade_id"] async for t in client.trades(account_id="x")] == ["0", "1", "2", "3", "4", "5"]
        assert api.asked[-1][1] == "/trades?account_id=x&limit=500&cursor=4"
        assert await client.ticker("AAPL/USD") == {"bid": "1.5"}


async def test_a_socket_confirms_yields_and_says_why_it_closed() -> None:
    api = Api()

    async def socket(request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse()
        await connection.prepare(request)
        asked = await connection.receive_json()
        await connection.send_json({"channel": "heartbeat"})
        await connection.send_json({"channel": "trades", "type": "snapshot", "sequence": 1, "data": []})
        for symbol in asked["params"]["symbols"]:
            answer = {"method": "subscribe", "success": True, "result": {"symbol": symbol}, "req_id": asked["req_id"]}
            await connection.send_json(answer)
        refused = await connection.receive_json()
        wrong = {"status": 422, "code": "unknown_channel", "detail": "was nothing"}
        await connection.send_json(
            {"method": "subscribe", "success": False, "problem": wrong, "req_id": refused["req_id"]}
        )
        await connection.send_json({"channel": "heartbeat"})
        await connection.send_json({"channel": "trades", "type": "update", "sequence": 2, "data": [{}]})
        await connection.close(code=4401, message=b"token expired")
        return connection

    api.routes["GET", "/ws"] = socket
    async with api.client() as client:
        await client.login("a@example.com", "secret")
        async with client.socket() as stream:
            await stream.subscribe("trades", ["AAPL/USD", "IBM/USD"])
            with pytest.raises(ApiError, match="unknown_channel"):
                await stream.subscribe("nothing")
            seen = []
            with pytest.raises(SocketClosed) as closed:
                async for message in stream:
                    seen.append(message["sequence"])
            assert seen == [1, 2]
            assert closed.value.code == 4401


async def test_a_silent_socket_counts_as_lost() -> None:
    api = Api()

    async def socket(request: web.Request) -> web.WebSocketResponse:
        connection = web.WebSocketResponse()
        await connection.prepare(request)
        await connection.receive()
        assert connection.close_code in (None, WSCloseCode.OK, 1006)
        return connection

    api.routes["GET", "/ws"] = socket
    async with api.client() as client:
        await client.login("a@example.com", "secret")
        async with client.socket(silence_s=0.1) as stream:
            with pytest.raises(SocketClosed, match=r"nothing received for 0\.1 s"):
                async for _ in stream:
                    raise AssertionError
