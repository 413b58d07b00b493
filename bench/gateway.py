"""The gateway beside what stands behind it: the same requests straight to a service, through the gateway, and through a
proxy of FastAPI and httpx; then market data to 2,000 sockets.

The service only answers (bench/gateway_upstream.py): beside one that also asks its database every gateway looks better."""

import asyncio
import contextlib
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import aiohttp
import jwt
from counting_service import BUS_MIGRATIONS, ProcessSettings
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from defined_instruments import instrument
from fleet_bus import Bus
from fleet_bus.admin import create_topics
from fleet_chassis.assertions import AssertionSigner
from fleet_chassis.database import Database
from fleet_chassis.health import Health
from fleet_contracts.exchange_connector import Quote
from fleet_contracts.topics import DATA_INSTRUMENTS, EXCHANGE_CONNECTOR_MARKET_DATA, TOPICS
from fleet_launcher.keys import ensure_keys
from fleet_launcher.places import StateDir
from fleet_launcher.stack import Endpoints
from fleet_testkit.databases import TestDatabases
from fleet_testkit.stack import test_stack
from jwt.algorithms import OKPAlgorithm

from bench.book_peers import SOURCES, Absent, own_python
from bench.cpu import Cpu, memory_mb, us_each
from bench.orders import percentile

ROUNDS, ROUND_S, CLIENTS = 3, 1.5, 8
QUIET_TURNS, QUIET_EVERY_S = 200, 0.02
SOCKETS, UPDATES_PER_S, SOCKETS_S = 2_000, 5, 8
SYMBOLS = [f"B{n}/USD" for n in range(20)]
_PEER = ("fastapi==0.165.0", "httpx==0.28.1", "uvicorn[standard]==0.54.0")
_ORDER = {"symbol": SYMBOLS[0], "side": "buy", "type": "limit", "quantity": "1", "limit_price": "101.25"}
_ASKED = {
    "reading": ("GET", "/api/v1/portfolio", None),
    "orders": ("POST", "/api/v1/orders", {**_ORDER, "time_in_force": "gtc", "client_order_id": "c-1"}),
}


@dataclass(frozen=True)
class Target:
    """Where requests go, with which token, and the processes that work for them."""

    url: str
    token: Callable[[], str]
    pids: dict[str, int]

    def headers(self) -> dict[str, str]:
        return {"Authorization": "Bearer " + self.token()}


class Users:
    """Tokens as auth would write them, signed with a key of the bench."""

    def __init__(self, key_set: Path) -> None:
        self._key = Ed25519PrivateKey.generate()
        public = OKPAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        key_set.write_text(json.dumps({"keys": [{**public, "kid": "bench", "alg": "EdDSA", "use": "sig"}]}))

    @staticmethod
    def claims() -> dict[str, Any]:
        return {"sub": str(uuid4()), "sid": secrets.token_hex(8), "roles": ["trader"], "scopes": ["read", "trade"]}

    def token(self, claims: Mapping[str, Any]) -> str:
        now = int(time.time())
        whole = {**claims, "iss": "auth", "aud": "tradefleet", "iat": now, "exp": now + 600}
        return jwt.encode(whole, self._key, "EdDSA", {"kid": "bench", "typ": "at+jwt"})


def measure(say: Callable[[str], None], *, peers: bool = True) -> dict[str, Any]:
    """Requests a second of CPU, milliseconds, kilobytes; medians of the rounds."""
    peer: list[str] = []
    if peers:
        try:
            peer = [own_python("httpx-proxy", *_PEER), str(SOURCES / "httpx_proxy.py")]
        except Absent as failure:
            say(f"absent: httpx proxy: {failure}")
    with test_stack() as endpoints, TemporaryDirectory() as folder:
        state = StateDir(Path(folder))
        state.keys.mkdir()
        ensure_keys(state, ["gateway", "trading"])
        return asyncio.run(_measure(endpoints, state, peer))


async def _measure(endpoints: Endpoints, state: StateDir, peer: list[str]) -> dict[str, Any]:
    folder, prefix = state.path, f"bench-{secrets.token_hex(4)}."
    users, instances = Users(folder / "key-set.json"), folder / "instances.json"
    await create_topics(endpoints.kafka_url, TOPICS, prefix=prefix)
    ports = free_ports(3)
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    listed = [{"name": name, "ordinal": 0, "url": urls[0]} for name in ("auth", "trading")]
    instances.write_text(json.dumps({"instances": listed}))

    def environment(service: str, port: int) -> dict[str, str]:
        return {
            "FLEET_SERVICE": service,
            "FLEET_PORT": str(port),
            "FLEET_KAFKA_URL": endpoints.kafka_url,
            "FLEET_REDIS_URL": endpoints.redis_url,
            "FLEET_TOPIC_PREFIX": prefix,
            "FLEET_INSTANCES": str(instances),
            "FLEET_PRIVATE_KEY_FILE": str(state.private_key(service)),
            "FLEET_PUBLIC_KEYS_FILE": str(state.public_keys),
            "FLEET_BENCH_KEY_SET": str(folder / "key-set.json"),
            "FLEET_GATEWAY_RATE_REQUESTS": "1000000",
            "FLEET_GATEWAY_RATE_BURST": "1000000",
            "FLEET_GATEWAY_SOCKETS_PER_ADDRESS": str(SOCKETS),
        }

    commands: dict[str, tuple[list[str], Mapping[str, str]]] = {
        "service": ([sys.executable, "-m", "bench.gateway_upstream"], environment("trading", ports[0])),
        "gateway": ([sys.executable, "-m", "fleet_gateway"], environment("gateway", ports[1])),
    }
    if peer:
        commands["httpx proxy"] = ([*peer, str(ports[2]), urls[0]], {})
    async with contextlib.AsyncExitStack() as stack:
        pids = {name: stack.enter_context(_process(folder, name, *how)) for name, how in commands.items()}
        session = await stack.enter_async_context(aiohttp.ClientSession())
        for name, url in zip(pids, urls, strict=False):
            await _until_answering(session, url + "/health/ready", folder / f"{name}.log")
        claims = users.claims()
        signer, token = AssertionSigner("gateway", state.private_key("gateway")), users.token(claims)
        targets: dict[str, Target] = {}
        for name, url, authorization in (
            ("service", urls[0], lambda: signer.sign("trading", claims)),
            ("gateway", urls[1], lambda: token),
            ("httpx proxy", urls[2], lambda: signer.sign("trading", claims)),
        ):
            if name in pids:
                targets[name] = Target(url, authorization, {one: pids[one] for one in (name, "service")})
        found: dict[str, Any] = {
            name: await requests_by_turns(session, targets, *asked) for name, asked in _ASKED.items()
        }
        found["at 50/s"] = await _quiet(session, targets)
        found["sockets"] = await _sockets(endpoints, prefix, ports[1], pids["gateway"], users)
        return found


async def requests_by_turns(
    session: aiohttp.ClientSession, targets: Mapping[str, Target], method: str, path: str, body: object
) -> dict[str, Any]:
    """Some clients who ask again as soon as they are answered; each target in turn."""
    each: dict[str, list[dict[str, int]]] = {name: [] for name in targets}
    for _ in range(ROUNDS):
        for name, target in targets.items():
            cpu, ends, headers = Cpu(target.pids), time.monotonic() + ROUND_S, target.headers()
            asked = (
                _ask(session, method, target.url + path, body=body, headers=headers, ends=ends) for _ in range(CLIENTS)
            )
            count = sum(await asyncio.gather(*asked))
            each[name].append(us_each(cpu.used(), count))
    cpu_us = {
        name: {process: round(statistics.median(one[process] for one in rounds)) for process in rounds[0]}
        for name, rounds in each.items()
    }
    per_cpu_s = {name: round(1e6 / sum(used.values())) for name, used in cpu_us.items()}
    found = {"cpu_us_each": cpu_us, "per_cpu_second": per_cpu_s}
    found["gateway_to_alone"] = round(per_cpu_s["gateway"] / per_cpu_s["service"], 2)
    if "httpx proxy" in targets:
        found["gateway_to_httpx_proxy"] = round(per_cpu_s["gateway"] / per_cpu_s["httpx proxy"], 2)
        of_each = {name: cpu_us[name][name] for name in ("gateway", "httpx proxy")}
        found["without_the_service"] = round(of_each["httpx proxy"] / of_each["gateway"], 2)
    return found


async def _ask(
    session: aiohttp.ClientSession, method: str, url: str, *, body: object, headers: Mapping[str, str], ends: float
) -> int:
    """How often until then."""
    asked = 0
    while time.monotonic() < ends:
        async with session.request(method, url, json=body, headers=headers) as answer:
            answer.raise_for_status()
            await answer.read()
        asked += 1
    return asked


async def _quiet(session: aiohttp.ClientSession, targets: Mapping[str, Target]) -> dict[str, Any]:
    """One request at a time, to each target by turns."""
    took_ms: dict[str, list[float]] = {name: [] for name in targets}
    headers = {name: target.headers() for name, target in targets.items()}
    for _ in range(QUIET_TURNS):
        for name, target in targets.items():
            await asyncio.sleep(QUIET_EVERY_S / len(targets))
            began = time.perf_counter()
            async with session.get(target.url + "/api/v1/portfolio", headers=headers[name]) as answer:
                answer.raise_for_status()
                await answer.read()
            took_ms[name].append((time.perf_counter() - began) * 1000)
    p50 = {name: statistics.median(took) for name, took in took_ms.items()}
    return {
        "p50_ms": {name: round(value, 2) for name, value in p50.items()},
        "p95_ms": {name: percentile(took, 95) for name, took in took_ms.items()},
        "added_p50_ms": {name: round(p50[name] - p50["service"], 2) for name in p50 if name != "service"},
    }


async def _sockets(endpoints: Endpoints, prefix: str, port: int, gateway: int, users: Users) -> dict[str, Any]:
    """Quotes from Kafka to every socket: of twenty symbols by turns, then of one that all of them follow at once."""
    databases = TestDatabases(endpoints.postgres_url)
    connector = Bus(ProcessSettings("exchange-connector", endpoints.kafka_url, prefix), None)
    found: dict[str, Any] = {"sockets": SOCKETS, "updates_per_s_each": UPDATES_PER_S}
    try:
        url = await databases.make([BUS_MIGRATIONS])
        async with Database(url, application_name="bench") as database:
            data = Bus(ProcessSettings("data", endpoints.kafka_url, prefix), database)
            async with data.running(Health()), data.transaction() as tx:
                for symbol in SYMBOLS:
                    tx.publish(DATA_INSTRUMENTS, symbol, instrument(symbol))
        tokens = [users.token(users.claims()) for _ in range(SOCKETS)]
        async with connector.direct(EXCHANGE_CONNECTOR_MARKET_DATA, 1) as producer:
            for name, symbols in (("twenty symbols", SYMBOLS), ("one symbol", SYMBOLS[:1])):
                before = memory_mb({"gateway": gateway})["gateway"]
                followed = [symbols[n % len(symbols)] for n in range(SOCKETS)]
                async with _clients({"port": port, "tokens": tokens, "symbols": followed}) as told:
                    grown = memory_mb({"gateway": gateway})["gateway"] - before
                    cpu, updates = Cpu({"gateway": gateway}), SOCKETS_S * UPDATES_PER_S * len(symbols)
                    begun = time.monotonic()
                    for n in range(updates):
                        if (wait := begun + n / UPDATES_PER_S / len(symbols) - time.monotonic()) > 0:
                            await asyncio.sleep(wait)
                        quote = _quote(symbols[n % len(symbols)])
                        await producer.send([(quote.symbol, quote)], market_at=quote.market_at)
                    await asyncio.sleep(1)
                    sent = updates * SOCKETS // len(symbols)
                    found[name] = {"sent": sent, "gateway_cpu_us_each": us_each(cpu.used(), sent)["gateway"]}
                found[name] |= told
                # The first have also grown what stays for those that come later.
                found.setdefault("memory_kb_each", round(grown * 1000 / SOCKETS, 1))
        return found
    finally:
        await databases.drop_all()


@contextlib.asynccontextmanager
async def _clients(told: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """All sockets, in a process of their own; what they saw is there when the block has ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "bench.gateway_sockets"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    found: dict[str, Any] = {}
    try:
        process.stdin.write(json.dumps(told).encode() + b"\n")
        assert await asyncio.wait_for(process.stdout.readline(), 30) == b"ready\n"
        yield found
        process.stdin.write(b"\n")
        found |= json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@contextlib.contextmanager
def _process(folder: Path, name: str, command: list[str], environment: Mapping[str, str]) -> Iterator[int]:
    with (folder / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log)  # noqa: S603
        try:
            yield process.pid
        finally:
            process.terminate()
            process.wait()


async def _until_answering(session: aiohttp.ClientSession, url: str, log: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(aiohttp.ClientError):
            async with session.get(url) as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise RuntimeError(f"{url} does not answer 200:\n{await asyncio.to_thread(log.read_text)}")


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _quote(symbol: str) -> Quote:
    bid, size = Decimal("100.1"), Decimal(200)
    now = datetime.now(UTC)
    ask = Decimal("100.2")
    return Quote(symbol=symbol, venue="paper", bid=bid, bid_size=size, ask=ask, ask_size=size, market_at=now)
