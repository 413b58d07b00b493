"""What goes with every answer: headers for browsers, other origins, compression, TLS."""

import asyncio
import secrets
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from fleet_gateway.app import create_app, uvicorn_options
from fleet_gateway.connections import COLLECTED_BYTES
from fleet_gateway.encodings import chosen
from fleet_gateway.http_protocol import WRITE_WHOLE, HttpProtocol
from fleet_testkit.http import served

TRUSTED_ORIGIN = "https://app.example"


@pytest.mark.parametrize("path", ["/", "/docs", "/health/live", "/nowhere", "/api/v1/orders", "/api/v1/auth/login"])
async def test_every_answer_guards_the_browser(fleet: Any, path: str) -> None:
    headers = (await fleet.call("GET", path)).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Cache-Control"] in ("no-store", "no-cache")
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "Strict-Transport-Security" not in headers
    assert "Server" not in headers


GUARDING = {
    b"x-content-type-options: nosniff",
    b"referrer-policy: no-referrer",
    b"cross-origin-resource-policy: same-origin",
    b"cache-control: no-store",
    b"content-security-policy: default-src 'none'; frame-ancestors 'none'",
}


@pytest.mark.parametrize(
    "raw",
    [
        b"nothing at all\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: " + b"y" * 33_000 + b"\r\n\r\n",
        b"GET / HTTP/3.1\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_answered_as_guarded(fleet: Any, raw: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(fleet.url.rsplit(":", 1)[1]))
    writer.write(raw)
    head = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")[0]
    writer.close()
    assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
    assert set(head.split(b"\r\n")) >= GUARDING


async def test_pages_of_trusted_origins_may_call(fleet: Any) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    before = len(fleet.services["trading"].seen)
    allowed = await fleet.call("OPTIONS", "/api/v1/orders", headers=asked | {"Origin": TRUSTED_ORIGIN})
    assert (allowed.status, allowed.body) == (204, b"")
    assert allowed.headers["Access-Control-Allow-Origin"] == TRUSTED_ORIGIN
    assert "POST" in allowed.headers["Access-Control-Allow-Methods"]
    assert "Authorization" in allowed.headers["Access-Control-Allow-Headers"]
    assert "Access-Control-Allow-Credentials" not in allowed.headers
    assert "origin" in allowed.headers["Vary"]
    assert len(fleet.services["trading"].seen) == before
    user = await fleet.new_user()
    reply = await fleet.call("GET", "/api/v1/orders", token=user.token, headers={"Origin": TRUSTED_ORIGIN})
    assert reply.headers["Access-Control-Allow-Origin"] == TRUSTED_ORIGIN
    assert "X-Request-ID" in reply.headers["Access-Control-Expose-Headers"]


async def answers_to(url: str, *requests: str) -> list[bytes]:
    """On one connection, all asked before anything is answered; the last one closes it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
    for request in requests:
        line, _, more = request.partition("|")
        writer.write(f"{line} HTTP/1.1\r\nHost: x\r\n{more}\r\n".encode())
    come = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return [b"HTTP/1.1 " + answer for answer in come.split(b"HTTP/1.1 ")[1:]]


async def test_answers_have_the_order_of_their_requests(fleet: Any) -> None:
    asked = ("GET /health/live|", "HEAD /docs|", "GET /nowhere|", "GET /health/live|Connection: close\r\n")
    answers = await answers_to(fleet.url, *asked)
    assert [answer[9:12] for answer in answers] == [b"200", b"200", b"404", b"200"]
    assert [b"\r\nconnection: close\r\n" in answer for answer in answers] == [False, False, False, True]
    assert answers[1].endswith(b"\r\n\r\n")
    assert b"\r\ncontent-length: 0\r\n" not in answers[1]
    assert all(answer.count(b"\r\ndate: ") == 1 for answer in answers)


async def test_no_header_makes_another() -> None:
    async def careless(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            scope[WRITE_WHOLE](200, [(b"x-told", b"a\r\nset-cookie: b"), (b"content-length", b"0")], b"")

    async with served(careless, http=HttpProtocol) as url:
        (answer,) = await answers_to(url, "GET /|Connection: close\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"set-cookie" not in answer


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "https://app.example.evil.example", "http://app.example", "https://APP.example"],
)
async def test_pages_of_others_may_not(fleet: Any, origin: str) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Origin": origin}
    refused = await fleet.call("OPTIONS", "/api/v1/orders", headers=asked)
    assert refused.status == 405
    told = [name for name in refused.headers if name.lower().startswith("access-control")]
    assert not told


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        (b"gzip, deflate, br", "br"),
        (b"gzip", "gzip"),
        (b"br;q=0, gzip;q=0.5", "gzip"),
        (b"*", "br"),
        (b"*;q=0", None),
        (b"identity", None),
        (b"gzip;q=0", None),
        (b"gzip;q=x", None),
        (b"", None),
        (b"deflate, zstd", None),
    ],
)
def test_the_coding_a_client_takes(accepted: bytes, coding: str | None) -> None:
    assert chosen(accepted) == coding


@pytest.mark.parametrize("coding", ["br", "gzip"])
async def test_long_answers_are_compressed(fleet: Any, coding: str) -> None:
    user = await fleet.new_user()
    long = {"data": [{"symbol": "AAPL/USD", "n": n} for n in range(200)]}
    fleet.services["trading"].answers[("GET", "/api/v1/trades")] = (200, long)
    taken = {"Accept-Encoding": coding}
    reply = await fleet.call("GET", "/api/v1/trades", token=user.token, headers=taken)
    assert reply.body == long
    assert reply.headers["Content-Encoding"] == coding
    assert int(reply.headers["Content-Length"]) < 2_000
    assert "accept-encoding" in reply.headers["Vary"]
    for path in ("/docs", "/assets/swagger-ui.css", "/api/v1/openapi.json"):
        page = await fleet.call("GET", path, headers=taken)
        again = await fleet.call("GET", path, headers=taken | {"If-None-Match": page.headers["ETag"]})
        assert again.status == 304
    assert page.headers["Content-Encoding"] == coding
    plain = await fleet.call("GET", "/api/v1/trades", token=user.token, headers={"Accept-Encoding": "identity"})
    assert plain.body == long
    assert "Content-Encoding" not in plain.headers


@pytest.mark.parametrize("coding", ["br", "gzip", "identity"])
@pytest.mark.parametrize("version", [aiohttp.HttpVersion10, aiohttp.HttpVersion11], ids=["1.0", "1.1"])
async def test_answers_of_any_length_are_whole(fleet: Any, coding: str, version: aiohttp.HttpVersion) -> None:
    """Passed on as they come; to HTTP/1.0, which could not tell that one is cut off, with their length."""
    user = await fleet.new_user()
    long = {"data": secrets.token_hex(4 * COLLECTED_BYTES), "next_cursor": None}
    fleet.services["trading"].answers[("GET", "/api/v1/trades")] = (200, long)
    async with aiohttp.ClientSession(version=version) as http:
        headers = {"Accept-Encoding": coding, "Authorization": f"Bearer {user.token}"}
        for _ in range(2):
            async with http.get(fleet.url + "/api/v1/trades", headers=headers) as reply:
                assert await reply.json() == long
                assert reply.headers.get("Content-Encoding", "identity") == coding
                assert ("Content-Length" in reply.headers) is (version == aiohttp.HttpVersion10)
    del fleet.services["trading"].answers[("GET", "/api/v1/trades")]


async def test_short_answers_and_secrets_are_not_compressed(fleet: Any) -> None:
    user = await fleet.new_user()
    for path, method in (("/api/v1/orders", "GET"), ("/api/v1/auth/me", "GET")):
        reply = await fleet.call(method, path, token=user.token, headers={"Accept-Encoding": "br, gzip"})
        assert (reply.status, "Content-Encoding" in reply.headers) == (200, False)
    login = await fleet.call(
        "POST",
        "/api/v1/auth/login",
        json=user.credentials | {"password": "p" * 1_000},
        headers={"Accept-Encoding": "br"},
    )
    assert "Content-Encoding" not in login.headers


async def test_tls_is_1_3_and_says_so_for_two_years(fleet: Any, tmp_path: Path) -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    certificate, key = tmp_path / "gateway.crt", tmp_path / "gateway.key"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    settings = fleet.settings.model_copy(
        update={"gateway_tls_certificate": certificate, "gateway_tls_key": key, "ordinal": 1}
    )
    app = create_app(settings)
    connector = aiohttp.TCPConnector(force_close=True)  # each request shows its hands anew
    async with served(app, **uvicorn_options(app)) as url, aiohttp.ClientSession(connector=connector) as http:
        secure = url.replace("http://127.0.0.1", "https://localhost")
        trusting = ssl.create_default_context()
        authority.configure_trust(trusting)
        async with http.get(secure + "/health/live", ssl=trusting) as reply:
            assert reply.status == 200
            assert reply.headers["Strict-Transport-Security"] == "max-age=63072000; includeSubDomains"
        async with http.get(secure + "/nowhere", ssl=trusting) as reply:
            assert "Strict-Transport-Security" in reply.headers
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(secure + "/ws", ssl=trusting)
        assert refused.value.headers is not None
        assert "Strict-Transport-Security" in refused.value.headers
        port = int(url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("localhost", port, ssl=trusting)
        writer.write(b"nothing at all\r\n\r\n")
        assert b"\r\nstrict-transport-security: max-age=63072000" in await asyncio.wait_for(reader.read(), 10)
        writer.close()
        trusting.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(secure + "/health/live", ssl=trusting)
