"""Orders through the whole fleet: cost by process, what it sustains, how long a client waits for the fill."""

import asyncio
import contextlib
import json
import math
import secrets
import statistics
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from whole_fleet import WholeFleet, until_priced

from bench import ages, profile
from bench.cpu import Cpu, memory_mb, processes_of, stores_of, us_each
from bench.wire import Wire

SYMBOL = "MSFT/USD"
BUY = {"symbol": SYMBOL, "side": "buy", "type": "market", "quantity": "1", "time_in_force": "gtc"}
USERS = 100
PROBES = 5
SINGLE, IN_BATCHES = "single, 600/s", "batches of 100, 2000/s"
_DRAIN_S = 20.0
_BEYOND_S = 20.0
"""For the loads that two cores are not expected to take whole."""
_PROFILED_S = 20.0
_ENDED = ("filled", "canceled", "expired", "rejected")


@dataclass(slots=True)
class Account:
    """A client of the bench with its token."""

    headers: dict[str, str]

    @property
    def lines(self) -> str:
        return f"Authorization: {self.headers['Authorization']}\r\nContent-Type: application/json\r\n"


@dataclass(frozen=True, slots=True)
class Clients:
    """Who trades, and the ways to the gateway: orders go over the wire, which costs less."""

    session: aiohttp.ClientSession
    wire: Wire
    accounts: list[Account]


@dataclass(slots=True)
class Load:
    """What one load saw. Times in milliseconds."""

    accept_ms: list[float] = field(default_factory=list)
    fill_ms: list[float] = field(default_factory=list)
    accepted: int = 0
    refused: dict[str, int] = field(default_factory=dict)

    def refuse(self, code: str) -> None:
        self.refused[code] = self.refused.get(code, 0) + 1


def percentile(values: list[float], percent: float) -> float | None:
    """The value below which so many percent lie; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, math.ceil(len(ordered) * percent / 100) - 1)], 2)


async def make_accounts(session: aiohttp.ClientSession, count: int) -> list[Account]:
    """Registers and logs in; the paper accounts open with the first look at the portfolio."""
    limit = asyncio.Semaphore(4)

    async def make() -> Account:
        async with limit:
            body = {"email": f"bench-{secrets.token_hex(8)}@example.com", "password": secrets.token_urlsafe(16)}
            async with session.post("/api/v1/auth/register", json=body) as response:
                response.raise_for_status()
            async with session.post("/api/v1/auth/login", json=body) as response:
                response.raise_for_status()
                token = (await response.json())["access_token"]
            headers = {"Authorization": f"Bearer {token}"}
            async with session.get("/api/v1/portfolio", headers=headers) as response:
                response.raise_for_status()
            return Account(headers)

    return list(await asyncio.gather(*(make() for _ in range(count))))


@contextlib.asynccontextmanager
async def probe(
    session: aiohttp.ClientSession, account: Account, sent: dict[str, float], load: Load
) -> AsyncIterator[None]:
    """Listens on the socket and notes when an order sent by this account is told filled."""
    async with session.ws_connect("/ws", headers=account.headers) as socket:
        await socket.send_str(json.dumps({"method": "subscribe", "params": {"channel": "order_updates"}, "req_id": 1}))

        async def listen() -> None:
            async for message in socket:
                arrived = time.perf_counter()
                content = json.loads(message.data)
                if content.get("channel") != "order_updates":
                    continue
                for order in content["data"]:
                    started = sent.get(order["client_order_id"])
                    if started is None or order["status"] not in _ENDED:
                        continue
                    del sent[order["client_order_id"]]
                    if order["status"] == "filled":
                        load.fill_ms.append((arrived - started) * 1000)
                    else:  # such as `too_late`: accepted, and not sent in time by a path that is too slow
                        load.refuse(order["reason"]["code"])

        task = asyncio.create_task(listen())
        try:
            yield
            deadline = time.monotonic() + _DRAIN_S
            while sent and time.monotonic() < deadline:
                await asyncio.sleep(0.01)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def drive(clients: Clients, *, rate: float, seconds: float, batch: int = 1, users: int = USERS) -> Load:
    """An open loop: a request leaves when its time has come, whether or not earlier ones were answered.

    `rate` counts orders. The last accounts are probes whose fills are timed on their sockets; it is over when the last of
    these is told, so that what waits behind the others' orders is in the figures too."""
    load = Load()
    accounts = clients.accounts[:users]
    sent: dict[str, float] = {}
    requests = int(rate * seconds / batch)
    tasks: set[asyncio.Task[None]] = set()
    async with contextlib.AsyncExitStack() as stack:
        for account in accounts[-PROBES:]:
            await stack.enter_async_context(probe(clients.session, account, sent, load))
        begun = time.perf_counter()
        for n in range(requests):
            due = begun + n * batch / rate
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            account = accounts[n % len(accounts)]
            is_probe = n % len(accounts) >= len(accounts) - PROBES
            task = asyncio.create_task(_send(clients.wire, account, load, batch, sent if is_probe else None))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
    return load


async def _send(wire: Wire, account: Account, load: Load, batch: int, sent: dict[str, float] | None) -> None:
    bodies = [{**BUY, "client_order_id": secrets.token_hex(8)} for _ in range(batch)]
    path, body = ("/api/v1/orders", bodies[0]) if batch == 1 else ("/api/v1/orders/batch", {"orders": bodies})
    started = time.perf_counter()
    if sent is not None:
        sent[str(bodies[0]["client_order_id"])] = started
    try:
        status, content = await wire.post(path, account.lines, json.dumps(body).encode())
    except (OSError, EOFError):  # a gateway so starved that its connections time out
        load.refuse("connection_lost")
        if sent is not None:  # whether it is filled nobody can tell
            sent.pop(str(bodies[0]["client_order_id"]), None)
        return
    answer: Any = json.loads(content)
    load.accept_ms.append((time.perf_counter() - started) * 1000)
    answers = [{"status": status, "problem": answer}] if batch == 1 else answer
    if status >= 400:
        answers = [{"status": status, "problem": answer}] * batch
    for one in answers:
        if one["status"] == 201:
            load.accepted += 1
        else:
            load.refuse(one["problem"]["code"])
    if sent is not None and answers[0]["status"] != 201:
        sent.pop(str(bodies[0]["client_order_id"]), None)


def describe(load: Load, cpu: dict[str, float], *, loader_s: float, seconds: float) -> dict[str, Any]:
    """The figures of one load: microseconds of CPU per order by process, times, refusals."""
    return {
        "accepted": load.accepted,
        "accepted_per_s": round(load.accepted / seconds, 1),
        "refused": load.refused,
        "accept_p50_ms": percentile(load.accept_ms, 50),
        "accept_p95_ms": percentile(load.accept_ms, 95),
        "fill_p50_ms": percentile(load.fill_ms, 50),
        "fill_p95_ms": percentile(load.fill_ms, 95),
        "fill_max_ms": percentile(load.fill_ms, 100),
        "cpu_us_per_order": us_each(cpu, load.accepted),
        "cpu_us_per_order_total": round(sum(cpu.values()) / max(load.accepted, 1) * 1e6),
        "loader_cpu_us_per_order": round(loader_s / max(load.accepted, 1) * 1e6),
    }


async def measure(fleet: WholeFleet, *, sustained_s: float, is_profiled: bool = False) -> dict[str, Any]:
    """All loads, one after the other, on one fleet; the profiled ones by themselves, as looking costs CPU too."""
    found: dict[str, Any] = {}
    address = urlsplit(fleet.url)
    wire = Wire(address.hostname or "", address.port or 80, most=200)
    async with aiohttp.ClientSession(fleet.url) as session, wire:
        clients = Clients(session, wire, await make_accounts(session, USERS))
        await _until_trading(fleet)
        await drive(clients, rate=50, seconds=3)
        plan = (
            ("at 10/s", 10, 10.0, 1, PROBES),
            ("at 100/s", 100, 15.0, 1, USERS),
            (SINGLE, 600, sustained_s, 1, USERS),
            (IN_BATCHES, 2000, sustained_s, 100, USERS),
            ("single, 1200/s", 1200, min(sustained_s, _BEYOND_S), 1, USERS),
            ("batches of 100, 4000/s", 4000, min(sustained_s, _BEYOND_S), 100, USERS),
        )
        pids = processes_of(fleet.description)
        idle = Cpu(pids)
        await asyncio.sleep(5)
        found["idle_cpu_percent_of_a_core"] = round(sum(idle.used().values()) / 5 * 100, 1)
        for name, rate, seconds, batch, users in plan:
            cpu = Cpu(pids)
            started, loader = time.monotonic(), time.process_time()
            async with ages.watched(session, fleet.description) as waited:
                load = await drive(clients, rate=rate, seconds=seconds, batch=batch, users=users)
            loader_s = time.process_time() - loader
            found[name] = describe(load, cpu.used(), loader_s=loader_s, seconds=time.monotonic() - started)
            found[name] |= {"asked_per_s": rate} | waited.told()
        found["memory_mb"] = memory_mb(pids)
        found["memory_mb_total"] = round(sum(found["memory_mb"].values()), 1)
        if is_profiled:
            try:
                found["profile"] = {
                    name: await _profiled(fleet, clients, rate=rate, batch=batch)
                    for name, rate, batch in ((SINGLE, 300, 1), (IN_BATCHES, 1000, 100))
                }
            except* OSError as refused:  # the system forbids to look
                found["profile_absent"] = str(refused.exceptions[0])
    return found


async def _profiled(fleet: WholeFleet, clients: Clients, *, rate: float, batch: int) -> dict[str, Any]:
    """Where each service's microseconds of an order go; slower than the sustained load, so that little is refused."""
    pids = processes_of(fleet.description)
    cpu = Cpu(pids)
    services = {name: pid for name, pid in pids.items() if name not in stores_of(fleet.description)}
    async with asyncio.TaskGroup() as both:
        driving = both.create_task(drive(clients, rate=rate, seconds=_PROFILED_S, batch=batch))
        sampling = both.create_task(profile.sample(services, _PROFILED_S))
    used, stacks = us_each(cpu.used(), driving.result().accepted), sampling.result()
    return {name: profile.table(stacks[name], used[name]) for name in services}


async def _until_trading(fleet: WholeFleet) -> None:
    async with fleet.user() as user:
        await until_priced(user.client, SYMBOL)


def median(values: list[float]) -> float:
    return round(statistics.median(values), 2)
