"""What is away or hangs costs its own callers something, and nobody else."""

import asyncio
import contextlib
import json
import secrets
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from fleet_chassis.instances import Instances
from fleet_chassis.problems import Problem
from fleet_contracts.partitioning import SLOTS, slot
from fleet_gateway.circuits import BREAK_AFTER, OPEN_S, Circuit
from fleet_gateway.upstream import Upstream
from fleet_testkit.eventually import eventually
from pydantic import SecretStr

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(answering: Answering) -> AsyncIterator[str]:
    server = await asyncio.start_server(answering, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


class Now:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def ask(circuit: Circuit, *, answered: bool | None) -> None:
    circuit.enter()
    circuit.leave(answered=answered)


def refuses(circuit: Circuit) -> bool:
    try:
        circuit.enter()
    except Problem as problem:
        assert (problem.status, problem.code) == (503, "unavailable")
        return True
    circuit.leave(answered=None)
    return False


def test_a_breaker_opens_after_failures_in_a_row_and_lets_one_look() -> None:
    now = Now()
    circuit = Circuit("data", 10, now)
    for _ in range(BREAK_AFTER - 1):
        ask(circuit, answered=False)
    ask(circuit, answered=True)
    for _ in range(BREAK_AFTER):
        assert not refuses(circuit)
        ask(circuit, answered=False)
    assert refuses(circuit)
    now.at += OPEN_S
    circuit.enter()
    assert refuses(circuit)
    circuit.leave(answered=False)
    assert refuses(circuit)
    now.at += OPEN_S
    ask(circuit, answered=True)
    assert not refuses(circuit)


def test_only_so_many_wait_for_one_replica() -> None:
    circuit = Circuit("data", 2, Now())
    circuit.enter()
    circuit.enter()
    assert refuses(circuit)
    circuit.leave(answered=None)
    assert not refuses(circuit)


async def test_a_service_that_hangs_leaves_the_others_usable(fleet: Any, second_gateway: Any) -> None:
    user = await fleet.new_user()
    asked, gives_up = 0, asyncio.Event()

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.read(1)
        asked += 1
        await gives_up.wait()
        writer.close()

    async with (
        listening(hang) as url,
        second_gateway(services={"strategy": url}, gateway_upstream_connections=10) as gateway,
    ):
        hanging = [asyncio.create_task(gateway.call("GET", "/api/v1/strategies", token=user.token)) for _ in range(30)]
        await eventually(lambda: asked >= 10)
        assert (await gateway.call("POST", "/api/v1/orders", token=user.token, json={})).status == 200
        assert (asked, any(request.done() for request in hanging)) == (10, False)
        gives_up.set()
        replies = await asyncio.gather(*hanging)
        assert {reply.status for reply in replies} == {503}
        assert all(int(reply.headers["Retry-After"]) >= 1 for reply in replies)
        before, began = asked, time.monotonic()
        for _ in range(20):
            assert (await gateway.call("GET", "/api/v1/strategies", token=user.token)).status == 503
        # One may have looked whether it is back.
        assert asked - before <= 1 + (time.monotonic() - began) / OPEN_S


async def test_what_has_waited_its_whole_time_is_not_sent_again(fleet: Any, tmp_path: Path) -> None:
    heard = []

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readline())
        await reader.read()
        writer.close()

    async with listening(hang) as url:
        write_listing(tmp_path / "instances.json", url, url)
        settings = fleet.settings.model_copy(update={"gateway_upstream_timeout_s": 0.05})
        upstream = Upstream(settings, Instances(tmp_path / "instances.json"), fleet.signer)
        for method, code in (("GET", "unavailable"), ("POST", "outcome_unknown")):
            heard.clear()
            with pytest.raises(Problem) as late:
                await upstream.send("trading", method, "/", claims=None, request_id="r", timeout_s=60)
            assert (late.value.code, len(heard)) == (code, 1)


def write_listing(file: Path, *urls: str) -> None:
    listed = [{"name": "trading", "ordinal": ordinal, "url": url} for ordinal, url in enumerate(urls)]
    file.write_text(json.dumps({"instances": listed}))


async def test_a_dead_service_is_503_and_a_post_is_never_sent_twice(fleet: Any) -> None:
    user = await fleet.new_user()
    listed = json.loads(fleet.settings.instances.read_text())
    heard = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readline())
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    rude = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    others = [one for one in listed["instances"] if one["name"] not in ("execution", "data", "strategy")]
    changed = [
        *others,
        {"name": "data", "ordinal": 0, "url": "http://127.0.0.1:9"},
        {"name": "strategy", "ordinal": 0, "url": rude},
    ]
    try:
        fleet.settings.instances.write_text(json.dumps({"instances": changed}))

        async def is_seen() -> bool:
            return bool((await fleet.call("GET", "/api/v1/executions/1", token=user.token)).status == 503)

        await eventually(is_seen)
        for path in ("/api/v1/executions/1", "/api/v1/markets/NEVER-ASKED"):
            reply = await fleet.call("GET", path, token=user.token)
            reply.assert_problem(503, "unavailable")
            assert int(reply.headers["Retry-After"]) >= 1
        reply = await fleet.call("POST", "/api/v1/strategies", token=user.token, json={})
        reply.assert_problem(504, "outcome_unknown")
        assert [line.split()[0] for line in heard] == [b"POST"]
        (await fleet.call("GET", "/api/v1/strategies", token=user.token)).assert_problem(503, "unavailable")
    finally:
        fleet.settings.instances.write_text(json.dumps(listed))
        server.close()

    async def is_back() -> bool:
        return bool((await fleet.call("GET", "/api/v1/executions/1", token=user.token)).status == 200)

    await eventually(is_back)


async def test_of_two_replicas_one_may_be_down(fleet: Any, tmp_path: Path) -> None:
    """What finds nobody there goes to the other one, orders too; what has reached somebody is not sent twice."""
    trading = fleet.services["trading"]
    (there,) = Instances(fleet.settings.instances).of("trading")
    user_of_the_first = next(user for user in map(str, iter(uuid4, None)) if slot(user) < SLOTS // 2)
    claims = {"sub": user_of_the_first, "sid": "s", "roles": [], "scopes": ["trade"]}
    heard = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readline())
        writer.close()

    async with listening(hang_up) as rude:

        def before_two(first: str) -> Upstream:
            listing = tmp_path / "instances.json"
            write_listing(listing, first, there.url)
            upstream = Upstream(fleet.settings, Instances(listing), fleet.signer)
            assert upstream.replicas("trading", claims) == (first, there.url)
            return upstream

        async def order(upstream: Upstream) -> int:
            return (await upstream.send("trading", "POST", "/orders", claims=claims, request_id="r", body=b"{}")).status

        seen_before = len(trading.seen)
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            upstream = before_two(f"http://127.0.0.1:{nobody.getsockname()[1]}")
            # With and without the breaker's help.
            for sent in range(1, 2 * BREAK_AFTER):
                assert await order(upstream) == 200
                assert len(trading.seen) - seen_before == sent
        with pytest.raises(Problem) as unknown:
            await order(before_two(rude))
        assert unknown.value.code == "outcome_unknown"
        assert (len(heard), len(trading.seen) - seen_before) == (1, sent)


async def test_market_data_of_before_is_shown_as_stale(fleet: Any, second_gateway: Any) -> None:
    user = await fleet.new_user()
    ticker, path = {"symbol": "AAPL/USD", "bid": "1.00", "stale": False}, "/api/v1/markets/AAPL-USD/ticker"
    fleet.services["data"].answers[("GET", path)] = (200, ticker)

    async def nobody(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with listening(nobody) as dead, second_gateway() as gateway:
        fresh = await gateway.call("GET", path, token=user.token)
        assert (fresh.body, "X-Stale" in fresh.headers) == (ticker, False)
        fleet.services["data"].answers[("GET", path)] = (503, {"code": "unavailable"})
        shown = await gateway.call("GET", path, token=user.token)
        assert (shown.status, shown.body, "X-Stale" in shown.headers) == (200, ticker | {"stale": True}, True)
        fleet.services["data"].answers[("GET", path)] = (503, {"code": "book_not_ready"})
        assert (await gateway.call("GET", path, token=user.token)).status == 503, "what was shown is known to be wrong"
        never_shown = f"{path}?never=shown"
        assert (await gateway.call("GET", never_shown, token=user.token)).status == 503

        listed = gateway.settings.instances.read_text()
        (of_data,) = [one["url"] for one in json.loads(listed)["instances"] if one["name"] == "data"]
        gateway.settings.instances.write_text(listed.replace(of_data, dead))

        async def is_away() -> bool:
            never_asked = f"/api/v1/markets/{secrets.token_hex(4)}-USD"
            return bool((await gateway.call("GET", never_asked, token=user.token)).status == 503)

        await eventually(is_away)
        shown = await gateway.call("GET", path, token=user.token)
        assert (shown.status, shown.body) == (200, ticker | {"stale": True})
        assert shown.headers["X-Stale"] == "true"
        assert int(shown.headers["Age"]) < 60
        assert (await gateway.call("GET", path)).status == 401


async def test_reading_is_tried_once_more_and_writing_is_not(fleet: Any, second_gateway: Any) -> None:
    """On kept connections that break just when they are used, too."""
    user = await fleet.new_user()
    asked: list[str] = []

    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for turn in range(2):
            head = await reader.readuntil(b"\r\n\r\n")
            asked.append(head.split(b" ", 1)[0].decode())
            if turn == 0:
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async with listening(answer_once) as url, second_gateway(services={"strategy": url}) as gateway:
        for method, status, sent in (("GET", 200, 2), ("DELETE", 504, 1), ("PUT", 504, 1)):
            assert (await gateway.call("GET", "/api/v1/strategies", token=user.token)).status == 200
            asked.clear()
            reply = await gateway.call(method, "/api/v1/strategies/1", token=user.token)
            assert (method, reply.status, asked) == (method, status, [method] * sent)
            # Whatever is left open is used up.
            await gateway.call("GET", "/api/v1/strategies", token=user.token)


async def test_without_redis_nobody_guesses_and_everybody_reads(fleet: Any, second_gateway: Any) -> None:
    user = await fleet.new_user()
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        nowhere = SecretStr(f"redis://127.0.0.1:{nobody.getsockname()[1]}/0")
    async with second_gateway(redis_url=nowhere, gateway_rate_answer_timeout_s=0.05) as gateway:
        for path in ("login", "register"):
            refused = await gateway.call("POST", f"/api/v1/auth/{path}", json=user.credentials)
            assert (refused.status, refused.body["code"]) == (503, "unavailable")
            assert int(refused.headers["Retry-After"]) >= 1
        assert (await gateway.call("GET", "/api/v1/orders", token=user.token)).status == 200
        assert (await gateway.call("POST", "/api/v1/orders", token=user.token, json={})).status == 200
        ready = await gateway.call("GET", "/health/ready")
        assert ready.status == 200
        assert ready.body["checks"]["rate_limits"].startswith("degraded")


async def test_whoever_is_believed_by_nobody_has_one_bucket(fleet: Any, second_gateway: Any) -> None:
    """200 guesses at 200 accounts, each said to come from elsewhere and to be another method, in three spellings."""
    spellings = ("/api/v1/auth/login", "/api/v1/auth/%6Cogin", "/api/v1/auth/login?x=1")
    async with second_gateway(gateway_trusted_proxies=()) as gateway:

        async def guess(n: int) -> int:
            spoofed = f"203.0.113.{n}"
            headers = {
                "X-Forwarded-For": spoofed,
                "Forwarded": f"for={spoofed}",
                "X-Real-IP": spoofed,
                "True-Client-IP": spoofed,
                "X-HTTP-Method-Override": "GET",
            }
            body = {"email": f"nobody-{n}@example.com", "password": "wrong horse battery"}
            return int((await gateway.call("POST", spellings[n % 3], json=body, headers=headers)).status)

        statuses = await asyncio.gather(*(guess(n) for n in range(200)))
    assert set(statuses) <= {401, 429}
    assert statuses.count(401) <= fleet.settings.gateway_rate_failed_logins


async def test_guesses_at_one_account_are_throttled_wherever_they_come_from(fleet: Any) -> None:
    """200 guesses from 200 addresses → throttled; the owner, where he has logged in before → in."""
    user, home = await fleet.new_user(), "192.0.2.77"
    login = {"json": user.credentials, "address": home}
    assert (await fleet.call("POST", "/api/v1/auth/login", **login)).status == 200

    async def guess(n: int) -> int:
        wrong = user.credentials | {"password": f"wrong horse {n}"}
        return int((await fleet.call("POST", "/api/v1/auth/login", json=wrong)).status)

    statuses: list[int] = []
    for tens in range(0, 200, 10):
        statuses += await asyncio.gather(*(guess(tens + n) for n in range(10)))
    assert set(statuses) <= {401, 429}
    assert statuses.count(401) <= 10
    assert (await fleet.call("POST", "/api/v1/auth/login", **login)).status == 200
