"""Rate limits, shared by all gateways in Redis: one script, one round trip for all that ask at the same time, and for the
next ten requests of whoever sends many.

When Redis does not answer, logins and registrations are refused, since guesses would go uncounted; all other requests
are let through under limits that this process keeps for itself (a fleet without Redis goes on trading, and a client can
have at most as many times his rate as there are gateways); readiness tells.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from fleet_chassis.logging import get_logger
from fleet_chassis.problems import unavailable

from .script import Script

BATCH = 256
"""Checks in one script: Redis does nothing else meanwhile, about 0.5 ms."""
ANSWER_TIMEOUT_S = 0.25
"""A request rather goes unlimited than waits longer."""
PAUSE_TIMEOUTS = 4
"""So many times as long Redis is left alone after it did not answer."""
MOST_LEASED = 10
"""Requests counted in advance; never more than a thirtieth of the burst."""
BUSY_S = 0.1
"""Who asks again within it is busy, and is leased some."""
LEASE_S = 1.0
"""Then what was not used is lost, and by then has come back."""
SHARED_TRIES = 3
"""Before a login is refused, because a short silence of Redis should not refuse any."""
MAX_LOCAL = 50_000
"""Keys kept in process while Redis is away."""

# Per key four arguments: kind, the two numbers of the limit, cost; per key four answers: allowed, remaining,
# µs until everything is free again, µs until the same would be allowed.
# "rate" is GCRA (the leaky bucket as a meter, ITU-T I.371): the key holds the theoretical arrival time of the next
# request. "window" counts from the first one on; a negative cost gives back what was counted.
_SCRIPT = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local out = {}
for i, key in ipairs(KEYS) do
  local o = (i - 1) * 4
  local a, b, cost = tonumber(ARGV[o + 2]), tonumber(ARGV[o + 3]), tonumber(ARGV[o + 4])
  if ARGV[o + 1] == 'rate' then
    local tat = math.max(tonumber(redis.call('GET', key) or 0), now)
    local after = tat + math.min(cost, b) * a
    local wait = after - b * a - now
    if wait > 0 then
      out[#out + 1] = 0
      after = tat
    else
      out[#out + 1] = 1
      wait = 0
      redis.call('SET', key, string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000) + 1)
    end
    out[#out + 1] = math.floor(b - (after - now) / a)
    out[#out + 1] = math.ceil(after - now)
    out[#out + 1] = math.ceil(wait)
  else
    local count = tonumber(redis.call('GET', key) or 0)
    if cost > 0 and count + cost > b then
      local left = redis.call('PTTL', key) * 1000
      out[#out + 1] = 0
      out[#out + 1] = math.max(b - count, 0)
      out[#out + 1] = left
      out[#out + 1] = left
    else
      if count + cost <= 0 then
        redis.call('DEL', key)
      elseif count == 0 then
        redis.call('SET', key, cost, 'PX', math.ceil(a / 1000))
      else
        redis.call('INCRBY', key, cost)
      end
      out[#out + 1] = 1
      out[#out + 1] = b - math.max(count + cost, 0)
      out[#out + 1] = math.max(redis.call('PTTL', key), 0) * 1000
      out[#out + 1] = 0
    end
  end
end
return out
"""

log = get_logger(__name__)


class Verdict(NamedTuple):
    """Times in seconds; `limit` is what is shown as RateLimit-Limit. One that `is_shared` is that of all gateways."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: float
    retry_after_s: float
    is_shared: bool = True


@dataclass(frozen=True, slots=True)
class Limit:
    """`kind` "rate": one unit every `interval_us`, `most` at once. "window": `most` within `interval_us` of the first."""

    name: str
    kind: str
    interval_us: float
    most: int
    lease: int = 1

    @classmethod
    def rate(cls, name: str, per_s: float, burst: int) -> "Limit":
        lease = max(1, min(MOST_LEASED, burst // 30, int(per_s * BUSY_S)))
        return cls(name, "rate", 1_000_000 / per_s, burst, lease)

    @classmethod
    def window(cls, name: str, most: int, window_s: float) -> "Limit":
        return cls(name, "window", window_s * 1_000_000, most)


class Check(NamedTuple):
    """What one request asks of one limit. `whose` is a user or an address."""

    limit: Limit
    whose: str
    cost: float = 1


@dataclass(slots=True)
class _Lease:
    """What was counted in advance for one key; `verdict` is of when it was."""

    asked_at: float
    until: float = 0.0
    verdict: Verdict | None = None
    left: int = 0
    asking: asyncio.Future[None] | None = None
    waiting: int = 0


class LocalLimits:
    """The same limits, kept by this process alone."""

    def __init__(self, most: int = MAX_LOCAL) -> None:
        self._most = most
        self._rates: dict[tuple[str, str], float] = {}
        self._windows: dict[tuple[str, str], tuple[float, float]] = {}

    @property
    def size(self) -> int:
        """How many keys are kept, of each kind at most as many as there is room for."""
        return len(self._rates) + len(self._windows)

    def __call__(self, checks: Sequence[Check]) -> list[Verdict]:
        now = time.time() * 1_000_000
        return [self._rate(check, now) if check.limit.kind == "rate" else self._window(check, now) for check in checks]

    def _rate(self, check: Check, now: float) -> Verdict:
        limit, key = check.limit, (check.limit.name, check.whose)
        tat = max(self._rates.pop(key, 0.0), now)
        after = tat + min(check.cost, limit.most) * limit.interval_us
        wait = after - limit.most * limit.interval_us - now
        if wait > 0:
            after = tat
        self._make_room(self._rates)
        self._rates[key] = after
        remaining = int(limit.most - (after - now) / limit.interval_us)
        return Verdict(wait <= 0, limit.most, remaining, (after - now) / 1e6, max(wait, 0) / 1e6, False)

    def _window(self, check: Check, now: float) -> Verdict:
        limit, key = check.limit, (check.limit.name, check.whose)
        count, ends = self._windows.pop(key, (0.0, 0.0))
        if ends <= now:
            count, ends = 0.0, now + limit.interval_us
        allowed = check.cost <= 0 or count + check.cost <= limit.most
        if allowed:
            count = max(count + check.cost, 0)
        if count > 0:
            self._make_room(self._windows)
            self._windows[key] = (count, ends)
        left = (ends - now) / 1e6
        return Verdict(allowed, limit.most, max(int(limit.most - count), 0), left, 0 if allowed else left, False)

    def _make_room(self, kept: dict[tuple[str, str], Any]) -> None:
        if len(kept) >= self._most:
            del kept[next(iter(kept))]


class RateLimits:
    """Asks Redis, many requests at a time: what comes while a question is under way goes into the next one."""

    def __init__(
        self,
        redis_url: str,
        answer_timeout_s: float = ANSWER_TIMEOUT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._script = Script(redis_url, _SCRIPT, timeout_s=answer_timeout_s)
        self._pause_s = answer_timeout_s * PAUSE_TIMEOUTS
        self._local = LocalLimits()
        self._leases: dict[tuple[str, str], _Lease] = {}
        self._waiting: list[tuple[Sequence[Check], asyncio.Future[list[Verdict]]]] = []
        self._asking: asyncio.Task[None] | None = None
        self._paused_until = 0.0
        self.failure: str | None = None
        """Why the limits are this process's own at the moment."""

    @property
    def remembers_since(self) -> float:
        """What was counted before, by `time.monotonic()`, may have been forgotten."""
        return self._script.remembers_since

    async def check(self, *checks: Check) -> list[Verdict]:
        """A verdict for each check; what is allowed is counted."""
        if len(checks) == 1 and checks[0].cost == 1 and checks[0].limit.lease > 1:
            return [await self._leased(checks[0])]
        return await self._checked(*checks)

    async def _leased(self, check: Check) -> Verdict:
        """Whoever was here a moment ago is busy: for him the next requests are counted at once, before any of them is
        let through. What he does not use makes his limit tighter for a moment; what he uses later is in his burst twice."""
        key, now = (check.limit.name, check.whose), self._clock()
        lease = self._leases.get(key)
        if lease is None:
            if len(self._leases) >= MAX_LOCAL:
                del self._leases[next(iter(self._leases))]
            lease = self._leases[key] = _Lease(float("-inf"))
        asked_at, lease.asked_at = lease.asked_at, now
        if lease.asking is not None and lease.waiting < check.limit.lease - 1:
            lease.waiting += 1
            await asyncio.shield(lease.asking)
        if lease.left and lease.verdict is not None and now < lease.until:
            lease.left -= 1
            return lease.verdict._replace(remaining=lease.verdict.remaining + lease.left)
        if now - asked_at > BUSY_S or lease.asking is not None:
            return (await self._checked(check))[0]
        return await self._take_lease(lease, check)

    async def _take_lease(self, lease: _Lease, check: Check) -> Verdict:
        asking = lease.asking = asyncio.get_running_loop().create_future()
        try:
            (verdict,) = await self._checked(check._replace(cost=check.limit.lease))
            more = check.limit.lease - 1
            if verdict.allowed:
                lease.until, lease.verdict, lease.left = self._clock() + LEASE_S, verdict, more
                return verdict._replace(remaining=verdict.remaining + more)
        finally:
            lease.asking, lease.waiting = None, 0
            asking.set_result(None)
        # Nothing was counted, and where there are not so many there may be one.
        if verdict.remaining:
            return (await self._checked(check))[0]
        return verdict._replace(retry_after_s=max(verdict.retry_after_s - more * check.limit.interval_us / 1e6, 0))

    async def _checked(self, *checks: Check) -> list[Verdict]:
        if self._paused_until > self._clock():
            return self._local(checks)
        answer: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()
        self._waiting.append((checks, answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return await answer

    async def check_shared(self, *checks: Check) -> list[Verdict]:
        """A verdict that all gateways agree on, for what must not be taken uncounted. Raises Problem 503."""
        for _ in range(SHARED_TRIES):
            verdicts = await self.check(*checks)
            if all(verdict.is_shared for verdict in verdicts):
                return verdicts
            await asyncio.sleep(self._pause_s)
        raise unavailable("Logins and registrations cannot be counted at the moment.", retry_after_s=2)

    async def readiness(self) -> str | None:
        """None, or that the limits are local; looks whether Redis is back."""
        await self.check()
        return (
            None if self.failure is None else f"degraded: limits are kept by each gateway for itself ({self.failure})"
        )

    async def close(self) -> None:
        if self._asking is not None:
            await self._asking
        self._script.close()

    async def _ask(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                checks = [check for asked, _ in batch for check in asked]
                verdicts = iter(await self._verdicts(checks))
                for asked, answer in batch:
                    mine = [next(verdicts) for _ in asked]
                    if not answer.done():
                        answer.set_result(mine)
        finally:
            self._asking = None

    async def _verdicts(self, checks: Sequence[Check]) -> list[Verdict]:
        try:
            rows = await self._run_script(checks)
        except OSError as error:
            self._paused_until = self._clock() + self._pause_s
            if self.failure is None:
                log.error("rate_limits_are_local", error=repr(error))
            self.failure = type(error).__name__
            return self._local(checks)
        if self.failure is not None:
            log.info("rate_limits_are_shared_again")
            self.failure = None
        return [
            Verdict(bool(rows[at]), check.limit.most, rows[at + 1], rows[at + 2] / 1e6, rows[at + 3] / 1e6)
            for at, check in zip(range(0, len(rows), 4), checks, strict=True)
        ]

    async def _run_script(self, checks: Sequence[Check]) -> list[int]:
        # Redis lets a service touch only keys that begin with its name.
        keys = [f"gateway:rate:{check.limit.name}:{check.whose}" for check in checks]
        numbers: list[str] = []
        for limit, _, cost in checks:
            numbers += (limit.kind, repr(limit.interval_us), str(limit.most), repr(cost))
        return await self._script(keys, numbers)
