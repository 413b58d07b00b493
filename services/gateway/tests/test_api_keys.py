"""Signed requests through the gateway: what is taken, what is refused, and that each is taken once."""

import asyncio
import dataclasses
import json
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fleet_gateway.app import create_app
from fleet_launcher import processes
from fleet_launcher.places import StateDir
from fleet_launcher.ports import kept_ports
from fleet_launcher.valkey import Valkey
from fleet_sdk.signing import ApiKey
from fleet_testkit.eventually import eventually
from fleet_testkit.http import served
from key_signers import PORTFOLIO, Signer, new_signer, refused
from pydantic import SecretStr

ORDERS = "/api/v1/orders"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def signer(fleet: Any) -> Signer:
    return await new_signer(fleet)


async def test_a_signed_request_reaches_the_service_with_what_the_key_may(signer: Signer) -> None:
    key, key_id = await signer.key(symbols=["AAPL/USD"], max_order_notional="1000")
    body = json.dumps({"symbol": "AAPL/USD", "client_order_id": "mine-1"}).encode()
    reply = await signer.send(key, "POST", ORDERS, body)
    assert reply.status == 200, reply.body
    seen = signer.fleet.services["trading"].seen[-1]
    told = {name: seen.claims.get(name) for name in ("sub", "sid", "api_key_id", "scopes", "symbols", "mfa_at")}
    assert told == {
        "sub": signer.user_id,
        "sid": key_id,
        "api_key_id": key_id,
        "scopes": ["read", "trade"],
        "symbols": ["AAPL/USD"],
        "mfa_at": None,
    }
    assert seen.claims["max_order_notional"] == "1000"
    assert seen.body == body
    assert not {"x-api-key", "x-signature", "x-timestamp"} & set(seen.headers)
    assert key.secret not in str(seen)
    assert refused(await signer.send(key, "POST", "/api/v1/strategies")) == (403, "insufficient_scope")
    assert refused(await signer.send(key, "POST", "/api/v1/auth/logout")) == (403, "session_required")


async def test_who_signs_is_told_what_his_key_may(signer: Signer) -> None:
    key, _ = await signer.key(scopes=["read"])
    me = (await signer.send(key, path="/api/v1/auth/me")).body
    assert (me["user_id"], me["scopes"]) == (signer.user_id, ["read"])
    his = (await signer.fleet.call("GET", "/api/v1/auth/me", token=signer.token)).body
    assert set(his["scopes"]) > {"read", "trade"}


async def test_the_example_of_the_documentation_is_taken(signer: Signer) -> None:
    page = (Path(__file__).parents[3] / "docs" / "api-keys.md").read_text()
    example: dict[str, Any] = {}
    exec(page.partition("```python")[2].partition("```")[0], example)
    key, _ = await signer.key()
    for method, path, body in (("GET", PORTFOLIO + "?a=b", b""), ("POST", ORDERS, b'{"a": 1}')):
        signed = example["sign"](key.key, key.secret, method, path, body)
        assert (await signer.repeat(signed, method, path, body)).status == 200


async def test_the_path_and_query_are_signed_as_they_are_sent(signer: Signer) -> None:
    key, _ = await signer.key()
    path = "/api/v1/markets/AAPL%2FUSD/candles?timeframe=1d&start=a%20b&%6c=1"
    assert (await signer.send(key, path=path)).status == 200
    assert signer.fleet.services["data"].seen[-1].target.endswith("?timeframe=1d&start=a%20b&%6c=1")
    other = path.replace("%6c", "l")
    assert refused(await signer.repeat(key.headers("GET", path), "GET", other)) == (401, "invalid_signature")


async def test_nothing_of_a_long_body_goes_on_before_it_is_judged(signer: Signer) -> None:
    key, _ = await signer.key(scopes=["strategy"])
    body, seen = secrets.token_bytes(200_000), signer.fleet.services["strategy"].seen
    before, path = len(seen), "/api/v1/strategies"
    for at_the_end, status in ((b"a", 200), (b"b", 401)):
        signed = key.headers("POST", path, body + b"a")
        assert (await signer.repeat(signed, "POST", path, body + at_the_end)).status == status
    assert len(seen) == before + 1


@pytest.mark.parametrize("at", ["method", "path", "query", "body", "secret", "timestamp", "case"])
async def test_whatever_is_changed_the_signature_is_not_that_of_the_request(signer: Signer, at: str) -> None:
    key, _ = await signer.key()
    method, path, body = "POST", ORDERS + "?a=1", b'{"quantity": "1"}'
    signed = key.headers(method, path, body)
    match at:
        case "method":
            method = "PUT"
        case "path":
            path = "/api/v1/orders/batch?a=1"
        case "query":
            path = ORDERS + "?a=2"
        case "body":
            body = b'{"quantity": "9"}'
        case "secret":
            signed = ApiKey(key.key, key.secret + "x").headers(method, path, body)
        case "timestamp":
            signed["X-Timestamp"] = str(int(signed["X-Timestamp"]) + 1)
        case "case":
            signed["X-Signature"] = signed["X-Signature"].upper()
    reply = await signer.repeat(signed, method, path, body)
    assert refused(reply) == (401, "invalid_signature")
    assert "quantity" not in str(reply.body)


async def test_a_signature_is_taken_once_however_many_come_at_once(signer: Signer, second_gateway: Any) -> None:
    key, _ = await signer.key()
    signed = key.headers("POST", ORDERS, b"{}")
    async with second_gateway() as second:
        at_both = (signer, Signer(second, signer.token, signer.user_id)) * 3
        replies = await asyncio.gather(*(one.repeat(signed, "POST", ORDERS, b"{}") for one in at_both))
    assert sorted(reply.status for reply in replies) == [200, 401, 401, 401, 401, 401]
    assert {reply.body.get("code") for reply in replies} == {None, "signature_reused"}
    assert (await signer.send(key, "POST", ORDERS, b"{}")).status == 200, "signed anew, the same is another request"


@pytest.mark.parametrize("shift_s", [-6, 6])
async def test_a_request_is_of_now(signer: Signer, shift_s: float) -> None:
    key, _ = await signer.key()
    signer.fleet.clock.shift = timedelta(seconds=shift_s)
    try:
        assert refused(await signer.send(key)) == (401, "timestamp_out_of_range")
    finally:
        signer.fleet.clock.shift = timedelta()
    assert (await signer.send(key)).status == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"X_Timestamp": "soon"}, "timestamp_out_of_range"),
        ({"X_Timestamp": "9" * 400}, "timestamp_out_of_range"),
        ({"X_Timestamp": ""}, "invalid_signature"),
        ({"X_Signature": ""}, "invalid_signature"),
        ({"X_Signature": "\xff" * 64}, "invalid_signature"),
        ({"X_API_Key": "fk_nobody"}, "api_key_unknown"),
        ({"X_API_Key": "x" * 250}, "api_key_unknown"),
    ],
)
async def test_what_is_no_signature_is_401(signer: Signer, changes: dict[str, Any], code: str) -> None:
    key, _ = await signer.key()
    assert refused(await signer.send(key, **changes)) == (401, code)


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("10.1.2.3", 200),
        ("::ffff:10.1.2.3", 200),
        ("10.2.0.1", 403),
        ("2001:db8:0:1::5", 200),
        ("2001:db8:0:1::6", 403),
        # What a client says of itself stands before what a proxy has seen of it; proxies that are trusted come last.
        ("10.1.2.3, 203.0.113.9", 403),
        ("203.0.113.9, 10.1.2.3", 200),
        ("203.0.113.9, 10.1.2.3, 127.0.0.5", 200),
        ("10.1.2.3, 203.0.113.9, 127.0.0.5", 403),
        ("10.1.2.3, nobody", 403),
    ],
)
async def test_a_key_is_used_from_its_networks_only(signer: Signer, address: str, status: int) -> None:
    key, _ = await signer.key(ip_allowlist=["10.1.0.0/16", "2001:db8:0:1::5/128"])
    headers = key.headers("GET", PORTFOLIO)
    reply = await signer.fleet.call("GET", PORTFOLIO, headers=headers, address=address)
    assert reply.status == status, reply.body
    assert status == 200 or reply.body["code"] == "address_not_allowed"


@pytest.mark.parametrize(("lines", "status"), [(("10.1.2.3", "10.2.0.1"), 403), (("10.2.0.1", "10.1.2.3"), 200)])
async def test_a_proxy_may_tell_of_an_address_in_a_line_of_its_own(
    signer: Signer, lines: tuple[str, str], status: int
) -> None:
    key, _ = await signer.key(ip_allowlist=["10.1.0.0/16"])
    headers = [*key.headers("GET", PORTFOLIO).items(), *(("X-Forwarded-For", line) for line in lines)]
    async with signer.fleet.http.get(signer.fleet.url + PORTFOLIO, headers=headers) as reply:
        assert reply.status == status


async def test_a_revoked_key_is_refused_within_seconds(signer: Signer) -> None:
    key, key_id = await signer.key()
    assert (await signer.send(key)).status == 200
    path = f"/api/v1/auth/api-keys/{key_id}"
    assert (await signer.fleet.call("DELETE", path, token=signer.token)).status == 204

    async def is_refused() -> bool:
        return bool((await signer.send(key)).body.get("code") == "api_key_unknown")

    await eventually(is_refused)


async def test_a_key_ends_though_a_gateway_still_knows_it(signer: Signer) -> None:
    key, _ = await signer.key(expires_at=(datetime.now(UTC) + timedelta(minutes=2)).isoformat())
    assert (await signer.send(key)).status == 200
    signer.fleet.clock.shift = timedelta(minutes=2)
    key._last_ms += 120_000
    try:
        assert refused(await signer.send(key)) == (401, "api_key_unknown")
    finally:
        signer.fleet.clock.shift = timedelta()


async def test_a_key_was_last_used_when_it_signed_what_was_taken(signer: Signer) -> None:
    """a wrong signature, an address that is refused, nobody's request: unused → a right one: used, and where from"""
    fleet = signer.fleet
    key, key_id = await signer.key(ip_allowlist=["10.1.0.0/16"])
    other, other_id = await signer.key()

    async def listed() -> dict[str, tuple[str | None, str | None]]:
        told = await fleet.call("GET", "/api/v1/auth/api-keys", token=signer.token)
        return {one["api_key_id"]: (one["last_used_at"], one["last_used_address"]) for one in told.body["data"]}

    async def send(sent: ApiKey, address: str) -> int:
        headers = sent.headers("GET", PORTFOLIO)
        return int((await fleet.call("GET", PORTFOLIO, headers=headers, address=address)).status)

    assert await send(ApiKey(key.key, "guessed"), "10.1.2.3") == 401
    assert await send(key, "10.2.0.1") == 403
    # Told in the order in which they were used, so that once the second is there nothing waits of the first.
    assert await send(other, "10.7.7.7") == 200

    async def is_used(wanted: str) -> bool:
        return (await listed())[wanted][0] is not None

    await eventually(lambda: is_used(other_id), 10)
    assert (await listed())[key_id] == (None, None)
    assert await send(key, "10.1.2.3") == 200
    await eventually(lambda: is_used(key_id), 10)
    assert (await listed())[key_id][1] == "10.1.2.3"


async def test_a_key_has_a_limit_of_its_own_within_its_users(fleet: Any, second_gateway: Any) -> None:
    """One key is used up → 429 → another of the same user goes on, and what was refused took nothing of the user's"""
    signer = await new_signer(fleet)
    (one, _), (other, _) = await signer.key(), await signer.key()
    # So slow that nothing comes back while this runs.
    async with second_gateway(gateway_rate_requests=0.001, gateway_rate_key_share=0.1) as slow:
        user = Signer(slow, signer.token, signer.user_id)
        replies = [await user.send(one) for _ in range(34)]
        assert [reply.status for reply in replies] == [200] * 30 + [429] * 4
        refused_reply = replies[-1]
        assert refused(refused_reply) == (429, "rate_limited")
        assert (refused_reply.headers["RateLimit-Limit"], refused_reply.headers["RateLimit-Remaining"]) == ("30", "0")
        assert int(refused_reply.headers["Retry-After"]) > 1
        batch = json.dumps({"orders": [{}] * 200}).encode()
        statuses = [(await user.send(other, "POST", "/api/v1/orders/batch", batch)).status for _ in range(2)]
        assert statuses == [200, 429], "a batch weighs a tenth of its orders"
        left = await slow.call("GET", PORTFOLIO, token=signer.token)
        assert left.status == 200
        assert 240 <= int(left.headers["RateLimit-Remaining"]) <= 300 - 30 - 20 - 1


async def test_without_redis_signed_requests_read_and_change_nothing(signer: Signer) -> None:
    key, _ = await signer.key()
    settings = signer.fleet.settings.model_copy(update={"redis_url": SecretStr("redis://127.0.0.1:9/0")})
    before = len(signer.fleet.services["trading"].seen)
    async with served(create_app(settings)) as url:
        alone = Signer(dataclasses.replace(signer.fleet, url=url), signer.token, signer.user_id)

        async def reads() -> bool:
            return bool((await alone.send(key)).status == 200)

        await eventually(reads, 20)
        assert refused(await alone.send(key, "POST", ORDERS, b"{}"))[0] == 503
    methods = {seen.method for seen in signer.fleet.services["trading"].seen[before:]}
    assert methods == {"GET"}


async def test_a_signature_is_taken_once_though_redis_forgets_it(
    signer: Signer, second_gateway: Any, tmp_path: Path
) -> None:
    """sent -> Redis is killed and comes back empty -> sent again: what it was asked before is not known -> what is signed
    later than anything it has forgotten is taken, once"""
    key, _ = await signer.key()
    state = StateDir(tmp_path)
    state.prepare()
    port = kept_ports(state, ["valkey"])["valkey"]
    server = Valkey(state, port, "everything", {"gateway": "one"})
    server.start()
    try:
        async with second_gateway(redis_url=SecretStr(f"redis://gateway:one@127.0.0.1:{port}/0")) as gateway:
            alone = Signer(gateway, signer.token, signer.user_id)

            async def sent(*, again: dict[str, str] | None = None) -> tuple[int, dict[str, str]]:
                signed = again or key.headers("POST", ORDERS, b"{}")
                return (await alone.repeat(signed, "POST", ORDERS, b"{}")).status, signed

            async def taken() -> dict[str, str] | None:
                status, signed = await sent()
                assert status in (200, 503)
                return signed if status == 200 else None

            signed = await eventually(taken, 20)
            processes.stop(state, server.name, timeout_s=0)
            server.start()
            statuses = set()

            async def is_old() -> bool:
                statuses.add((await sent(again=signed))[0])
                return 401 in statuses

            await eventually(is_old, 20)
            assert statuses == {503, 401}, "unknown as long as its time is right"
            signed = await eventually(taken, 20)
            assert (await sent(again=signed))[0] == 401
    finally:
        server.stop()
