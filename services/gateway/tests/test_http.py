"""The gateway's HTTP: who may do what, what is forwarded, and every error in one shape."""

import asyncio
import functools
import json
import secrets
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Any
from uuid import UUID, uuid4

import pytest
from fleet_gateway.limits import Limits
from fleet_gateway.rates import Check, RateLimits
from fleet_testkit.eventually import eventually


async def test_a_request_is_forwarded_with_an_assertion_and_little_else(fleet: Any) -> None:
    user = await fleet.new_user()
    reply = await fleet.call(
        "GET",
        "/api/v1/markets/AAPL%2FUSD/candles?timeframe=1d&start=a%20b",
        token=user.token,
        headers={
            "X-Request-ID": "mine-1",
            "X-User-Id": "somebody",
            "X-Client-Address": "1.2.3.4",
            "X-API-Key": "key",
            "Cookie": "a=b",
            "Forwarded": "for=1.2.3.4",
            "Connection": "keep-alive, X-Hop",
            "X-Hop": "1",
        },
    )
    assert reply.status == 200
    assert reply.body == {"service": "data"}
    assert reply.headers["X-Request-ID"] == "mine-1"
    assert reply.headers["X-Told"] == "yes"
    assert reply.headers["RateLimit-Limit"] == "300"
    assert 0 < int(reply.headers["RateLimit-Remaining"]) < 300
    assert int(reply.headers["RateLimit-Reset"]) >= 0
    assert len(reply.headers.getall("Date")) == 1

    seen = fleet.services["data"].seen[-1]
    assert seen.target.endswith("?timeframe=1d&start=a%20b")
    assert {name: seen.claims[name] for name in ("iss", "aud", "sub", "sid", "roles")} == {
        "iss": "gateway",
        "aud": "data",
        "sub": user.user_id,
        "sid": user.session_id,
        "roles": ["trader"],
    }
    assert seen.headers["x-request-id"] == "mine-1"
    assert not {"x-user-id", "x-api-key", "cookie", "forwarded", "x-forwarded-for", "x-hop"} & set(seen.headers)
    assert user.token not in str(seen.headers)

    assert "x-client-address" not in seen.headers, "nobody asks for it where data is read"
    reply = await fleet.call(
        "POST", "/api/v1/orders", token=user.token, json={}, address="10.9.8.7", headers={"X-Client-Address": "1.2.3.4"}
    )
    assert reply.status == 200
    assert fleet.services["trading"].seen[-1].headers["x-client-address"] == "10.9.8.7"


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/api/v1/orders", "trading"),
        ("/api/v1/accounts/1/ledger", "trading"),
        ("/api/v1/portfolio", "trading"),
        ("/api/v1/risk", "trading"),
        ("/api/v1/risk/limits", "trading"),
        ("/api/v1/strategies", "strategy"),
        ("/api/v1/deployments/1", "strategy"),
        ("/api/v1/system/status", "core-engine"),
        ("/api/v1/risk/kill-switch", "core-engine"),
        ("/api/v1/executions/1", "execution"),
        ("/api/v1/exchanges", "exchange-connector"),
        ("/api/v1/books/AAPL-USD", "matching-engine"),
        ("/api/v1/markets", "data"),
    ],
)
async def test_each_path_has_its_service(fleet: Any, path: str, service: str) -> None:
    user = await fleet.new_user()
    assert (await fleet.call("GET", path, token=user.token)).body == {"service": service}


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/metrics",
        "/internal/rest",
        "/api/v1/internal/rest",
        "/api/v1/orders/../internal/rest",
        "/api/v1/orders/%2e%2e/internal/rest",
        "/api/v1/orders/..%2finternal",
        "/api/v1//orders",
        "/api/v1%2Forders",
        "/api/v2/orders",
        "/api/v1/ordersandmore",
        "/health",
        "/health/nothing",
        "/assets/../app.py",
    ],
)
async def test_what_is_not_there_is_a_404_and_goes_nowhere(fleet: Any, path: str) -> None:
    user = await fleet.new_user()
    before = sum(len(service.seen) for service in fleet.services.values())
    (await fleet.call("GET", path, token=user.token)).assert_problem(404, "not_found")
    assert sum(len(service.seen) for service in fleet.services.values()) == before


async def test_methods(fleet: Any) -> None:
    user = await fleet.new_user()
    (await fleet.call("POST", "/docs")).assert_problem(405, "method_not_allowed")
    for method, path, taken in (
        ("OPTIONS", "/api/v1/auth/sessions", "DELETE, GET"),
        ("TRACE", f"/api/v1/auth/sessions/{uuid4()}", "DELETE"),
        ("TRACE", "/api/v1/auth/nothing/like/this", ""),
        ("TRACE", "/health/live", "GET, HEAD"),
    ):
        answer = await fleet.call(method, path, token=user.token)
        answer.assert_problem(405, "method_not_allowed")
        assert answer.headers["Allow"] == taken
    (await fleet.call("PUT", "/api/v1/auth/me", token=user.token)).assert_problem(405, "method_not_allowed")


async def test_whatever_is_sent_is_forwarded_or_refused(fleet: Any) -> None:
    """Bytes that no well-meaning client sends."""
    user = await fleet.new_user()
    port = int(fleet.url.rsplit(":", 1)[1])
    for target, status in (
        (b"/api/v1/orders?symbol=\xc3\xa9", b"400"),
        (b"/api/v1/orders?symbol=%C3%A9%20{x}", b"200"),
        (b'/api/v1/orders?a=%zz&b="<>^`|\\', b"200"),
        (b"/api/v1/orders/%ff%00", b"404"),
        (b"http://elsewhere/api/v1/orders", b"200"),
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        head = b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %b\r\n\r\n"
        writer.write(head % (target, user.token.encode()))
        answer = await reader.read()
        writer.close()
        assert answer.split(b" ", 2)[1] == status, (target, answer)
    assert {seen.target for seen in fleet.services["trading"].seen[-3:]} == {
        "/api/v1/orders?symbol=%C3%A9%20{x}",
        '/api/v1/orders?a=%zz&b="<>^`|\\',
        "/api/v1/orders",
    }
    (await fleet.call("GET", "/ws", token=user.token)).assert_problem(426, "upgrade_required")


async def test_tokens_are_judged(fleet: Any) -> None:
    user = await fleet.new_user()
    head, claims, signature = user.token.split(".")
    forged = [
        (None, "unauthenticated"),
        ("x", "invalid_token"),
        (f"{head}.{claims}.{signature[:-4]}AAAA", "invalid_token"),
        (fleet.signer.sign("tradefleet"), "invalid_token"),
    ]
    for token, code in forged:
        (await fleet.call("GET", "/api/v1/orders", token=token)).assert_problem(401, code)
    reply = await fleet.call("GET", "/api/v1/orders", headers={"Authorization": "Basic abc"})
    reply.assert_problem(401, "unauthenticated")
    assert reply.headers["WWW-Authenticate"] == "Bearer"
    assert int(reply.headers["RateLimit-Remaining"]) < 300

    fleet.clock.shift += timedelta(minutes=6)
    try:
        (await fleet.call("GET", "/api/v1/orders", token=user.token)).assert_problem(401, "token_expired")
    finally:
        fleet.clock.shift -= timedelta(minutes=6)


async def test_logout_ends_the_token(fleet: Any) -> None:
    user = await fleet.new_user()
    assert (await fleet.call("GET", "/api/v1/auth/me", token=user.token)).body["user_id"] == user.user_id
    reply = await fleet.call("POST", "/api/v1/auth/logout", token=user.token)
    assert (reply.status, reply.body) == (204, b"")

    async def is_revoked() -> bool:
        reply = await fleet.call("GET", "/api/v1/auth/me", token=user.token)
        return bool(reply.status == 401 and reply.body["code"] == "session_revoked")

    await eventually(is_revoked)


async def test_a_gateway_that_has_just_started_knows_what_was_revoked(fleet: Any, second_gateway: Any) -> None:
    user = await fleet.new_user()
    assert (await fleet.call("POST", "/api/v1/auth/logout", token=user.token)).status == 204

    async def is_told() -> bool:
        return bool((await fleet.call("GET", "/api/v1/auth/me", token=user.token)).status == 401)

    await eventually(is_told)
    async with second_gateway() as started:
        (await started.call("GET", "/api/v1/auth/me", token=user.token)).assert_problem(401, "session_revoked")


async def test_scopes(fleet: Any) -> None:
    user = await fleet.new_user()
    reply = await fleet.call("POST", "/api/v1/markets", token=user.token, json={})
    reply.assert_problem(403, "insufficient_scope")
    assert "admin" in reply.body["detail"]


async def test_every_order_gets_a_name(fleet: Any) -> None:
    user, trading = await fleet.new_user(), fleet.services["trading"]
    body = b'{"symbol":"AAPL/USD", "quantity":1.000, "note":"\\u00e9"}'
    reply = await fleet.call("POST", "/api/v1/orders", token=user.token, data=body)
    minted = reply.headers["X-Client-Order-ID"]
    sent = trading.seen[-1].body
    assert UUID(minted)
    assert json.loads(sent) == {"symbol": "AAPL/USD", "quantity": 1.0, "note": "é", "client_order_id": minted}
    assert b"1.000" in sent

    for given in (b'{"client_order_id": null, "a": 1}', b'{"a":1}'):
        reply = await fleet.call("POST", "/api/v1/orders", token=user.token, data=given)
        assert json.loads(trading.seen[-1].body)["client_order_id"] == reply.headers["X-Client-Order-ID"]

    own = b'{ "client_order_id": "mine" }'
    reply = await fleet.call("POST", "/api/v1/orders", token=user.token, data=own)
    assert "X-Client-Order-ID" not in reply.headers
    assert trading.seen[-1].body == own

    for malformed in (b"{", b"[]", b'{"client_order_id": 5}'):
        await fleet.call("POST", "/api/v1/orders", token=user.token, data=malformed)
        assert trading.seen[-1].body == malformed


@pytest.mark.parametrize("path", ["orders", "orders/batch", "deployments"])
@pytest.mark.parametrize("order", [b'{"\xff": 1}', b'{"client_order_id": "\xff"}'])
async def test_json_that_is_not_utf_8_is_told_so(fleet: Any, path: str, order: bytes) -> None:
    user = await fleet.new_user()
    body = b'{"orders": [%b]}' % order if path == "orders/batch" else order
    if path == "deployments":
        body = body.replace(b"client_order_id", b"\xff")
    reply = await fleet.call("POST", f"/api/v1/{path}", token=user.token, data=body)
    reply.assert_problem(400, "malformed_json")


@pytest.mark.parametrize(("path", "body"), [("orders", {"n": 1}), ("orders/batch", {"orders": [{"n": 1}, {"n": 2}]})])
async def test_an_idempotency_key_names_orders_too(fleet: Any, path: str, body: Any) -> None:
    """Whoever sends an order again under the same key has it once: trading knows it by the name."""
    user, other, trading = await fleet.new_user(), await fleet.new_user(), fleet.services["trading"]

    async def sent(token: str, key: str) -> bytes:
        headers = {"Idempotency-Key": key}
        await fleet.call("POST", f"/api/v1/{path}", token=token, json=body, headers=headers)
        told: bytes = trading.seen[-1].body
        assert b"client_order_id" in told
        return told

    first = await sent(user.token, "key-1")
    assert await sent(user.token, "key-1") == first
    assert first not in (await sent(user.token, "key-2"), await sent(other.token, "key-1"))


async def test_names_of_signals_are_refused(fleet: Any) -> None:
    user = await fleet.new_user()
    before = len(fleet.services["trading"].seen)
    one = await fleet.call("POST", "/api/v1/orders", token=user.token, json={"client_order_id": "sig-1"})
    one.assert_problem(422, "invalid_request")
    assert one.body["errors"] == [
        {"field": "client_order_id", "message": "must not begin with sig-", "code": "reserved_prefix"}
    ]
    batch = {"orders": [{}, {"client_order_id": "sig-2"}]}
    many = await fleet.call("POST", "/api/v1/orders/batch", token=user.token, json=batch)
    assert [error["field"] for error in many.body["errors"]] == ["orders.1.client_order_id"]
    assert len(fleet.services["trading"].seen) == before


async def test_orders_of_a_batch_get_names_and_weigh_a_tenth(fleet: Any) -> None:
    user, trading = await fleet.new_user(), fleet.services["trading"]
    batch = {"orders": [{"n": n} | ({"client_order_id": "mine"} if n == 2 else {}) for n in range(200)], "more": 1}
    reply = await fleet.call("POST", "/api/v1/orders/batch", token=user.token, json=batch)
    prefix = reply.headers["X-Client-Order-ID"].removesuffix("-*")
    sent = json.loads(trading.seen[-1].body)
    names = [order.pop("client_order_id") for order in sent["orders"]]
    assert names == [f"{prefix}-{n}" if n != 2 else "mine" for n in range(200)]
    assert sent == {"orders": [{"n": n} for n in range(200)], "more": 1}
    assert 275 <= int(reply.headers["RateLimit-Remaining"]) <= 300 - 20 + 3


async def test_limits_of_a_user(fleet: Any) -> None:
    user = await fleet.new_user()
    batch: dict[str, Any] = {"orders": [{}] * 1000}
    replies = [await fleet.call("POST", "/api/v1/orders/batch", token=user.token, json=batch) for _ in range(10)]
    assert [reply.status for reply in replies[:3]] == [200] * 3
    refused = next(reply for reply in replies if reply.status != 200)
    refused.assert_problem(429, "rate_limited")
    assert int(refused.headers["Retry-After"]) >= 1
    assert len(refused.body["client_order_ids"]) == 1000
    assert (await fleet.call("GET", "/api/v1/orders", token=(await fleet.new_user()).token)).status == 200


@pytest.mark.parametrize(
    ("path", "weight"), [("/api/v1/orders", 1), ("/api/v1/risk", 5), ("/api/v1/portfolio/history", 5)]
)
async def test_what_costs_more_weighs_more(fleet: Any, path: str, weight: int) -> None:
    user = await fleet.new_user()
    reply = await fleet.call("GET", path, token=user.token)
    assert (reply.status, int(reply.headers["RateLimit-Remaining"])) == (200, 300 - weight)


@pytest.mark.parametrize(
    ("path", "weight"), [("login", 5), ("email/verify", 5), ("password/reset", 50), ("password", 50), ("mfa/totp", 10)]
)
async def test_what_costs_auth_most_weighs_more(fleet: Any, path: str, weight: int) -> None:
    """Two passwords are hashed at a time, for everybody: whoever has others hashed or judged again and again, or pictures
    drawn, keeps people out."""
    token = (await fleet.new_user()).token if path in ("password", "mfa/totp") else None
    address = str(IPv4Address(b"\x0a" + secrets.token_bytes(3)))
    reply = await fleet.call("POST", f"/api/v1/auth/{path}", token=token, json={}, address=address)
    assert (reply.status in (201, 422), int(reply.headers["RateLimit-Remaining"])) == (True, 300 - weight)


async def test_limits_of_an_address(fleet: Any) -> None:
    address = f"2001:db8:{secrets.token_hex(2)}:1::5"
    wrong = {"email": "nobody@example.com", "password": "wrong horse"}
    neighbour = address.replace("::5", "::6")
    statuses = []
    for n in range(32):
        wrong["email"] = f"nobody{n}@example.com"
        at = address if n % 2 else neighbour
        statuses.append((await fleet.call("POST", "/api/v1/auth/login", json=wrong, address=at)).status)
    assert statuses == [401] * 30 + [429] * 2
    user = await fleet.new_user()
    for _ in range(35):
        reply = await fleet.call("POST", "/api/v1/auth/login", json=user.credentials, address="10.9.8.7")
        assert reply.status == 200

    address = f"2001:db8:{secrets.token_hex(2)}:2::1"
    replies = await asyncio.gather(
        *(fleet.call("POST", "/api/v1/auth/register", json={}, address=address) for _ in range(64))
    )
    assert sorted(reply.status for reply in replies) == [422] * 60 + [429] * 4


async def test_a_login_refused_for_its_address_counts_as_no_failed_one(fleet: Any) -> None:
    address = str(IPv4Address(b"\x0a" + secrets.token_bytes(3)))

    rates, limits = RateLimits(fleet.settings.redis_url.get_secret_value()), Limits.of(fleet.settings)
    await rates.check(Check(limits.requests, address, limits.requests.most))
    login = functools.partial(fleet.call, "POST", "/api/v1/auth/login", json={}, address=address)
    replies = await asyncio.gather(*(login() for _ in range(40)))
    assert 429 in [reply.status for reply in replies]
    (verdict,) = await rates.check(Check(limits.failed_logins, address))
    assert verdict.remaining == limits.failed_logins.most - 1
    await rates.close()


async def test_what_is_no_http_is_told_so_like_everything_else(fleet: Any) -> None:
    for raw in ("GET /caf\u00e9 HTTP/1.1\r\nHost: x\r\n\r\n".encode(), b"nothing at all\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(fleet.url.rsplit(":", 1)[1]))
        writer.write(raw)
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        status, *headers = head.decode().lower().split("\r\n")
        told = json.loads(body)
        assert status.startswith("http/1.1 400 ")
        assert {"content-type: application/problem+json", f"content-length: {len(body)}"} <= set(headers)
        assert f"x-request-id: {told['request_id']}" in headers
        assert (told["status"], told["code"], told["title"]) == (400, "bad_request", "Bad Request")
