"""Rate limits: what Redis and the process itself say, and what happens when Redis is away."""

import asyncio
import secrets
import socket
import threading
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest_asyncio
from fleet_gateway.rates import BUSY_S, Check, Limit, LocalLimits, RateLimits
from fleet_launcher.stack import Endpoints
from fleet_testkit.eventually import eventually
from hypothesis import given, settings
from hypothesis import strategies as st

HOURLY = Limit.rate("test-hourly", 1 / 3600, 5)
"""So slow that nothing comes back while a test runs."""
SLOW = replace(Limit.rate("test-slow", 100, 300), interval_us=3_600_000_000.0)
"""Leased as the limits of users are."""
WINDOW = Limit.window("test-window", 3, 60)


class Now:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@pytest_asyncio.fixture(loop_scope="session", scope="module")
async def rates(stack: Endpoints) -> AsyncIterator[RateLimits]:
    limits = RateLimits(stack.redis_url)
    yield limits
    await limits.close()


async def test_a_burst_then_nothing(rates: RateLimits) -> None:
    who = secrets.token_hex(8)
    verdicts = [(await rates.check(Check(HOURLY, who)))[0] for _ in range(7)]
    assert [verdict.allowed for verdict in verdicts] == [True] * 5 + [False] * 2
    assert [verdict.remaining for verdict in verdicts] == [4, 3, 2, 1, 0, 0, 0]
    assert verdicts[0].limit == 5
    assert 3_590 < verdicts[-1].retry_after_s <= 3_600
    assert 17_900 < verdicts[-1].reset_s <= 18_000


async def test_what_is_used_comes_back(rates: RateLimits) -> None:
    quick, who = Limit.rate("test-quick", 20, 1), secrets.token_hex(8)

    async def is_allowed() -> bool:
        return (await rates.check(Check(quick, who)))[0].allowed

    assert await is_allowed()
    assert not await is_allowed()
    await eventually(is_allowed)


async def test_a_weight_counts_and_never_exceeds_the_burst(rates: RateLimits) -> None:
    who = secrets.token_hex(8)
    assert (await rates.check(Check(HOURLY, who, 3.5)))[0].remaining == 1
    assert not (await rates.check(Check(HOURLY, who, 2)))[0].allowed
    assert (await rates.check(Check(HOURLY, secrets.token_hex(8), 1_000)))[0].allowed


async def test_a_window_counts_and_gives_back(rates: RateLimits) -> None:
    who = secrets.token_hex(8)
    for _ in range(5):
        assert (await rates.check(Check(WINDOW, who)))[0].allowed
        await rates.check(Check(WINDOW, who, -1))
    verdicts = [(await rates.check(Check(WINDOW, who)))[0] for _ in range(4)]
    assert [verdict.allowed for verdict in verdicts] == [True, True, True, False]
    assert 0 < verdicts[-1].retry_after_s <= 60


async def test_of_whoever_sends_many_ten_are_counted_at_once_and_never_too_few(stack: Endpoints) -> None:
    """By two gateways, one after the other: 300 pass, however they are counted, and both know how many are left."""
    one, other, who = RateLimits(stack.redis_url, 5, Now()), RateLimits(stack.redis_url, 5, Now()), secrets.token_hex(8)
    assert SLOW.lease == 10
    for limits, before in ((one, 0), (other, 100)):
        for n in range(100):
            (verdict,) = await limits.check(Check(SLOW, who))
            assert verdict.allowed
            assert 299 - before - n - 9 <= verdict.remaining <= 299 - before - n
    verdicts = [(await one.check(Check(SLOW, who)))[0] for _ in range(120)]
    passed = sum(verdict.allowed for verdict in verdicts)
    # What the other has counted for later is not there for this one.
    assert 91 <= passed <= 100
    assert [verdict.allowed for verdict in verdicts] == [True] * passed + [False] * (120 - passed)
    assert 3_500 < verdicts[-1].retry_after_s <= 3_600
    for limits in (one, other):
        await limits.close()


async def test_a_burst_of_one_who_is_busy_is_counted_exactly(stack: Endpoints) -> None:
    limits, who = RateLimits(stack.redis_url, 5, Now()), secrets.token_hex(8)
    for burst in (1, 50, 100, 200):
        answers = await asyncio.gather(*(limits.check(Check(SLOW, who)) for _ in range(burst)))
        passed = sum(verdict.allowed for (verdict,) in answers)
        assert passed == (burst if burst < 200 else 149)
    await limits.close()


async def test_who_sends_few_is_counted_one_by_one(stack: Endpoints) -> None:
    now = Now()
    limits, who = RateLimits(stack.redis_url, 5, now), secrets.token_hex(8)
    for left in range(299, 290, -1):
        (verdict,) = await limits.check(Check(SLOW, who))
        assert (verdict.allowed, verdict.remaining) == (True, left)
        now.at += 2 * BUSY_S
    await limits.close()


async def test_many_at_once_are_counted_once_each(rates: RateLimits) -> None:
    """Also by two gateways."""
    who = secrets.token_hex(8)
    checks = [Check(HOURLY, who) for _ in range(700)]
    answers = await asyncio.gather(*(rates.check(check) for check in checks))
    assert sum(verdict.allowed for (verdict,) in answers) == 5


@settings(max_examples=20)
@given(
    st.lists(
        st.tuples(st.sampled_from([HOURLY, WINDOW]), st.integers(0, 2), st.sampled_from([1, 2, 7, -1])), max_size=15
    )
)
def test_the_process_and_redis_agree(stack: Endpoints, asked: list[tuple[Limit, int, int]]) -> None:
    """The script against the same rules in Python, in one round trip as in many."""
    run = secrets.token_hex(8)
    checks = [Check(limit, f"{run}-{who}", cost) for limit, who, cost in asked if not (limit is HOURLY and cost < 0)]

    async def of_redis() -> list[tuple[bool, int]]:
        limits = RateLimits(stack.redis_url)
        try:
            return [(verdict.allowed, verdict.remaining) for verdict in await limits.check(*checks)]
        finally:
            await limits.close()

    local = LocalLimits()
    assert [(v.allowed, v.remaining) for v in local(checks)] == asyncio.run(of_redis())


async def test_without_redis_the_process_limits_alone_and_says_so(stack: Endpoints) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        limits = RateLimits(f"redis://127.0.0.1:{nobody.getsockname()[1]}/0")
        answers = await asyncio.gather(*(limits.check(Check(HOURLY, "ada")) for _ in range(20)))
        assert sum(verdict.allowed for (verdict,) in answers) == 5
        reason = await limits.readiness()
        assert reason is not None
        assert reason.startswith("degraded")
        await limits.close()


async def test_an_answer_that_came_while_this_process_was_held_up_is_taken() -> None:
    """a question is on its way → nothing runs here until its time is over → the answer has come meanwhile: what Redis has
    counted is not counted again"""
    may_answer, has_answered = threading.Event(), threading.Event()

    def answer(server: socket.socket) -> None:
        wire, _ = server.accept()
        with wire:
            for said in (b"*1\r\n:60\r\n", b"*4\r\n:1\r\n:4\r\n:0\r\n:0\r\n", b"*4\r\n:1\r\n:3\r\n:0\r\n:0\r\n"):
                wire.recv(65_536)
                may_answer.wait()
                wire.sendall(said)
            has_answered.set()
            wire.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        limits = RateLimits(f"redis://127.0.0.1:{server.getsockname()[1]}/0", answer_timeout_s=1)
        answering = asyncio.create_task(asyncio.to_thread(answer, server))
        may_answer.set()
        await limits.check(Check(HOURLY, "ada"))
        may_answer.clear()
        asking = asyncio.create_task(limits.check(Check(HOURLY, "ada")))
        for _ in range(5):
            await asyncio.sleep(0)
        may_answer.set()
        held_up_until = asyncio.get_running_loop().time() + 1
        assert has_answered.wait(10)
        while asyncio.get_running_loop().time() < held_up_until:
            pass
        (verdict,) = await asking
        assert (verdict.is_shared, verdict.remaining, limits.failure) == (True, 3, None)
        await limits.close()
        await answering


async def test_a_silent_redis_does_not_hold_requests_up() -> None:
    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    limits = RateLimits(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
    started = asyncio.get_running_loop().time()
    for _ in range(50):
        await limits.check(Check(HOURLY, "ada"))
    assert asyncio.get_running_loop().time() - started < 2
    await limits.close()
    server.close()


def test_local_limits_are_bounded() -> None:
    local = LocalLimits(most=10)
    for number in range(100):
        local([Check(HOURLY, str(number)), Check(WINDOW, str(number))])
    assert local.size <= 20
