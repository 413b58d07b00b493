"""Rate limits: what Redis and the process itself say, and what happens when Redis is away."""

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator

import pytest_asyncio
from fleet_gateway.rates import Check, Limit, LocalLimits, RateLimits
from fleet_launcher.stack import Endpoints
from fleet_testkit.eventually import eventually
from hypothesis import given, settings
from hypothesis import strategies as st

HOURLY = Limit.rate("test-hourly", 1 / 3600, 5)
"""So slow that nothing comes back while a test runs."""
WINDOW = Limit.window("test-window", 3, 60)


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
    await eventually(is_allowed, 2)


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


async def test_many_at_once_are_counted_once_each(rates: RateLimits) -> None:
    """Also by two gateways."""
    who = secrets.token_hex(8)
    checks = [Check(HOURLY, who) for _ in range(700)]
    answers = await asyncio.gather(*(rates.check(check) for check in checks))
    assert sum(verdict.allowed for (verdict,) in answers) == 5


@settings(max_examples=20, deadline=None)
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
