"""Bytes that two HTTP parsers could understand in two ways are refused, so that nothing rides behind a request."""

import asyncio
import json
from typing import Any

import pytest

HIDDEN = b"GET /api/v1/orders/hidden HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n\r\n"


async def answer_to(fleet: Any, *sent: bytes, timeout_s: float = 5) -> bytes:
    """All that comes back on a connection of its own until it is closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(fleet.url.rsplit(":", 1)[1]))
    try:
        for part in sent:
            writer.write(part)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), timeout_s)
    finally:
        writer.close()


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


def request(token: str, *headers: bytes, line: bytes = b"POST /api/v1/orders HTTP/1.1", body: bytes = b"") -> bytes:
    lines = [line, b"Host: x", b"Connection: close", b"Authorization: Bearer " + token.encode(), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked"
AMBIGUOUS: dict[str, tuple[tuple[bytes, ...], bytes]] = {
    "CL.TE": ((b"Content-Length: 6", CHUNKED), b"0\r\n\r\nG"),
    "TE.CL": ((CHUNKED, b"Content-Length: 4"), b"5c\r\n"),
    "TE.TE, one obscured": ((CHUNKED, b"Transfer-Encoding: x"), b"0\r\n\r\n"),
    "TE not chunked": ((b"Transfer-Encoding: identity",), b"abc"),
    "TE chunked, then another": ((b"Transfer-Encoding: chunked, identity",), b"0\r\n\r\n"),
    "TE with a space before the colon": ((b"Transfer-Encoding : chunked",), b"0\r\n\r\n"),
    "TE with a tab and more": ((b"Transfer-Encoding: \x0bchunked",), b"0\r\n\r\n"),
    "TE twice": ((CHUNKED, CHUNKED), b"0\r\n\r\n"),
    "CL twice, different": ((b"Content-Length: 0", b"Content-Length: 40"), b""),
    "CL twice, the same": ((b"Content-Length: 2", b"Content-Length: 2"), b"{}"),
    "CL as a list": ((b"Content-Length: 2, 2",), b"{}"),
    "CL with a plus": ((b"Content-Length: +2",), b"{}"),
    "CL with a minus": ((b"Content-Length: -2",), b"{}"),
    "CL in hexadecimal": ((b"Content-Length: 0x2",), b"{}"),
    "CL with a space inside": ((b"Content-Length: 2 0",), b"{}"),
    "CL empty": ((b"Content-Length: ",), b"{}"),
    "CL beyond 64 bits": ((b"Content-Length: 18446744073709551618",), b"{}"),
    "CL with a space before the colon": ((b"Content-Length : 2",), b"{}"),
    "a folded header": ((b"X-Folded: a\r\n Content-Length: 2",), b"{}"),
    "a header that begins with a space": ((b" Content-Length: 2",), b"{}"),
    "a header without a name": ((b": x",), b""),
    "a header without a colon": ((b"nothing",), b""),
    "a null in a header": ((b"X-Null: a\x00b",), b""),
    "a carriage return in a header": ((b"X-Cr: a\rb",), b""),
    "Host twice": ((b"Host: y",), b""),
    "Authorization twice": ((b"Authorization: Bearer x",), b""),
    "a chunk's length with a sign": ((CHUNKED,), b"+2\r\n{}\r\n0\r\n\r\n"),
    "a chunk's length in 0x": ((CHUNKED,), b"0x2\r\n{}\r\n0\r\n\r\n"),
    "a chunk's length beyond 64 bits": ((CHUNKED,), b"10000000000000002\r\n{}\r\n0\r\n\r\n"),
    "a chunk that is longer than said": ((CHUNKED,), b"1\r\n{}\r\n0\r\n\r\n"),
    "a chunk ended by bare LF": ((CHUNKED,), b"2\n{}\n0\n\n"),
    "a body behind an offer to upgrade": ((b"Connection: upgrade", b"Upgrade: h2c", b"Content-Length: 2"), b"{}"),
    "chunks behind an offer to upgrade": ((b"Connection: upgrade", b"Upgrade: h2c", CHUNKED), b"2\r\n{}\r\n0\r\n\r\n"),
    "a body behind a handshake": ((b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 2"), b"{}"),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
async def test_ambiguous_framing_is_refused(fleet: Any, case: str) -> None:
    user = await fleet.new_user()
    before = len(fleet.services["trading"].seen)
    headers, body = AMBIGUOUS[case]
    answer = await answer_to(fleet, request(user.token, *headers, body=body) + HIDDEN % user.token.encode())
    assert statuses(answer) == [400], answer
    told = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert told["code"] == "bad_request"
    assert len(fleet.services["trading"].seen) == before


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /api/v1/orders HTTP/1.1\nHost: x\n\n",
        b"GET /api/v1/orders HTTP/1.1\r\nHost: x\nX-Bare: 1\r\n\r\n",
        b"GET /api/v1/orders\r\n\r\n",
        b"GET /api/v1/orders HTTP/1.1 \r\nHost: x\r\n\r\n",
        b"GET /api/v1/orders HTTP/1.1\r\nX-Host: x\r\n\r\n",
        b"POST /api/v1/orders HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /api/v1/orders HTTP/9.9\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
    ],
)
async def test_what_is_no_strict_http_is_refused(fleet: Any, sent: bytes) -> None:
    assert statuses(await answer_to(fleet, sent)) == [400]


async def test_a_body_carries_no_second_request(fleet: Any) -> None:
    user = await fleet.new_user()
    hidden = HIDDEN % user.token.encode()
    before = len(fleet.services["trading"].seen)
    length = b"Content-Length: %d" % len(hidden)
    answer = await answer_to(fleet, request(user.token, length, line=b"POST /api/v1/orders HTTP/1.1", body=hidden))
    assert statuses(answer) == [200]
    (seen,) = fleet.services["trading"].seen[before:]
    assert (seen.method, seen.body) == ("POST", hidden)


async def test_trailers_are_no_headers(fleet: Any) -> None:
    user = await fleet.new_user()
    before = len(fleet.services["trading"].seen)
    trailers = b"Idempotency-Key: hidden\r\nContent-Type: text/evil\r\nX-Forwarded-For: 1.2.3.4\r\n"
    sent = request(
        user.token, CHUNKED, b"Content-Type: application/json", body=b"2\r\n{}\r\n0\r\n" + trailers + b"\r\n"
    )
    assert statuses(await answer_to(fleet, sent)) == [200]
    (seen,) = fleet.services["trading"].seen[before:]
    assert "idempotency-key" not in seen.headers
    assert seen.headers["content-type"] == "application/json"


async def test_a_body_goes_on_with_one_length(fleet: Any) -> None:
    """However it came: to the services there is one framing only."""
    user = await fleet.new_user()
    before = len(fleet.services["trading"].seen)
    own = b'{"client_order_id":"mine"}'
    sent = request(user.token, CHUNKED, body=b"%x\r\n" % len(own) + own + b"\r\n0\r\n\r\n")
    assert statuses(await answer_to(fleet, sent)) == [200]
    (seen,) = fleet.services["trading"].seen[before:]
    assert (seen.body, seen.headers["content-length"]) == (own, str(len(own)))
    assert "transfer-encoding" not in seen.headers


@pytest.mark.parametrize("more", [b"X-Many: 1\r\n" * 200, b"X-Long: " + b"a" * 10_000 + b"\r\n"])
async def test_a_handshake_that_is_too_long_ends(fleet: Any, more: bytes) -> None:
    """Else who is not even logged in keeps as many connections as he likes, for as long as he likes."""
    sent = b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n" + more + b"\r\n"
    assert statuses(await answer_to(fleet, sent)) == [431]


async def test_an_offer_of_http2_is_not_taken(fleet: Any) -> None:
    user = await fleet.new_user()
    upgrade = (b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
    sent = request(user.token, *upgrade, line=b"GET /api/v1/orders HTTP/1.1").replace(b": close", b": Upgrade, close")
    assert 101 not in statuses(await answer_to(fleet, sent))
