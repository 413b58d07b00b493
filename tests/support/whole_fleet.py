"""A whole fleet for tests: every service its own process, reached through the gateway as a client would."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import aiohttp
import psutil
import pyotp
from fleet_launcher.admin import run_admin
from fleet_launcher.control import launch, reset, stop_fleet
from fleet_launcher.environment import own_parts
from fleet_launcher.leftovers import SUPERVISOR
from fleet_launcher.options import Feed, FleetOptions
from fleet_launcher.places import SHARED, StateDir
from fleet_launcher.processes import running
from fleet_launcher.services import SERVICES
from fleet_launcher.stack import Stack
from fleet_sdk.client import FleetClient
from fleet_testkit.eventually import eventually

_RATES = {
    # Tests register and trade faster than people do.
    "FLEET_GATEWAY_RATE_REQUESTS": "5000",
    "FLEET_GATEWAY_RATE_BURST": "10000",
    "FLEET_GATEWAY_RATE_REGISTRATIONS": "6000",
    "FLEET_GATEWAY_RATE_FAILED_LOGINS": "6000",
    "FLEET_AUTH_FAILED_LOGINS_ADDRESS": "6000",
}
_ALONE = ("kafka", "postgres", "valkey", SUPERVISOR)


@dataclass(frozen=True)
class User:
    """A registered user, logged in."""

    client: FleetClient
    email: str
    password: str


class WholeFleet:
    """A running fleet in a state folder of its own."""

    def __init__(self, state: StateDir, options: FleetOptions, environment: Mapping[str, str] | None = None) -> None:
        self.state = state
        self.options = options
        self._environment = environment or {}

    @property
    def description(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.state.fleet_json.read_text())
        return content

    @property
    def url(self) -> str:
        url: str = self.description["gateway_url"]
        return url

    def pid(self, name: str, ordinal: int = 0) -> int:
        """The process of a service, of `kafka`, `postgres` or `valkey`, or the `supervisor`."""
        process = running(self.state, name if name in _ALONE else f"{name}-{ordinal}")
        assert process is not None, f"{name} does not run"
        return process.pid

    def instance_url(self, name: str, ordinal: int = 0) -> str:
        url: str = self.description["services"][name]["instances"][ordinal]["url"]
        return url

    @contextlib.contextmanager
    def stopped(self, name: str) -> Iterator[None]:
        """SIGSTOP while the block runs."""
        processes = _family(self.pid(name))
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def kill(self, name: str, ordinal: int = 0) -> None:
        os.kill(self.pid(name, ordinal), signal.SIGKILL)

    def up(self) -> None:
        with own_parts(), _environment(self._environment):
            for event in launch(self.options):
                if event["event"] == "ready":
                    break

    def down(self) -> None:
        stop_fleet(self.state)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`fleet …` on this fleet."""
        arguments = [sys.executable, "-m", "fleet_cli.main", *words, "--state-dir", str(self.state.path)]
        with own_parts():
            return subprocess.run(arguments, capture_output=True, text=True, check=False)

    async def is_ready(self, name: str, ordinal: int = 0) -> bool:
        """Whether this process says so."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            return await _health(session, self.instance_url(name, ordinal) + "/health/ready") == 200

    async def until_ready(self, timeout_s: float = 60) -> None:
        """Until every process says so, e.g. after one was killed."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:

            async def all_ready() -> bool:
                instances = [one for part in self.description["services"].values() for one in part["instances"]]
                statuses = await asyncio.gather(*(_health(session, one["health_url"]) for one in instances))
                assert set(statuses) == {200}, {
                    one["log"]: status for one, status in zip(instances, statuses, strict=True)
                }
                return True

            await eventually(all_ready, timeout_s=timeout_s)

    def verify_books(self) -> None:
        """trading's own check: balanced in every currency, balances the sum of entries, reservations of open orders."""
        verified = run_admin(self.state, "trading", ["verify"])
        assert verified.returncode == 0, verified.stdout + verified.stderr

    def noise(self) -> list[str]:
        """What services and supervisor logged that is not a plain fact: warnings, errors, tracebacks, foreign text."""
        return noise(self.state)

    @contextlib.asynccontextmanager
    async def user(self) -> AsyncIterator[User]:
        """A new user with a paper account of 100,000 USD."""
        email, password = f"user-{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(16)
        async with FleetClient(self.url, timeout_s=30) as client:
            await client.register(email, password)
            await client.login(email, password)
            yield User(client, email, password)

    @contextlib.asynccontextmanager
    async def admin(self) -> AsyncIterator[FleetClient]:
        """A new user with the role admin, who has just shown a second factor."""
        email, password = f"admin-{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(16)
        arguments = ["create-user", "--email", email, "--role", "admin"]
        made = await asyncio.to_thread(run_admin, self.state, "auth", arguments, stdin=password + "\n")
        assert made.returncode == 0, made.stderr
        async with FleetClient(self.url, timeout_s=30) as client:
            await client.login(email, password)
            await show_second_factor(client)
            yield client


async def show_second_factor(client: FleetClient) -> str:
    """Sets one up; for five minutes the session counts as having just shown it. The TOTP secret."""
    begun = await client.request("POST", "/auth/mfa/totp")
    await client.request("POST", "/auth/mfa/totp/verify", {"code": pyotp.TOTP(begun["secret"]).now()})
    await client.refresh()
    secret: str = begun["secret"]
    return secret


async def _health(session: aiohttp.ClientSession, url: str) -> int | str:
    try:
        async with session.get(url) as response:
            return response.status
    except (aiohttp.ClientError, TimeoutError) as error:
        return repr(error)


def noise(state: StateDir) -> list[str]:
    """Every line of the logs of services and supervisor that is not a plain fact."""
    found: list[str] = []
    for name in [service.name for service in SERVICES] + [SUPERVISOR]:
        for log in sorted(state.logs.glob(f"{name}*.log")):
            found += [f"{log.stem}: {line}" for line in log.read_text().splitlines() if not _is_plain(line)]
    return found


def _is_plain(line: str) -> bool:
    try:
        return json.loads(line)["level"] in ("debug", "info")
    except (ValueError, KeyError, TypeError):
        return False


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


@contextlib.contextmanager
def whole_fleet(
    feed: Feed, *, port_offset: int, environment: Mapping[str, str] | None = None, **replicas: int
) -> Iterator[WholeFleet]:
    """A new fleet, taken down with its data afterwards; its logs stay in `.fleet/whole-<port_offset>` until the next."""
    state = StateDir(SHARED / f"whole-{port_offset}")
    options = FleetOptions(state_dir=state.path, feed=feed, port_offset=port_offset, replicas=replicas)
    fleet = WholeFleet(state, options, {**_RATES, **(environment or {})})
    with own_parts():
        reset(state)  # also stops what a killed test run has left
    try:
        fleet.up()
        yield fleet
    finally:
        fleet.down()
        Stack(state.path).delete_data()
        for path in state.path.iterdir():
            if path.is_dir() and path != state.logs:
                shutil.rmtree(path)


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


async def until_status(client: FleetClient, order_id: str, *statuses: str, timeout_s: float = 10) -> dict[str, Any]:
    """The order once it has one of these statuses."""
    deadline = time.monotonic() + timeout_s
    while True:
        order = await client.order(order_id)
        if order["status"] in statuses:
            return order
        if time.monotonic() > deadline:
            raise AssertionError(f"order is {order['status']} after {timeout_s} s, was to be {' or '.join(statuses)}")
        await asyncio.sleep(0.02)


async def until_priced(client: FleetClient, symbol: str, timeout_s: float = 15) -> Decimal:
    """The symbol's last price, once there is one that is not stale."""
    deadline = time.monotonic() + timeout_s
    while True:
        ticker = await client.ticker(symbol)
        if ticker["last"] is not None and not ticker["stale"]:
            return Decimal(ticker["last"])
        if time.monotonic() > deadline:
            raise AssertionError(f"{symbol} has no fresh price after {timeout_s} s: {ticker}")
        await asyncio.sleep(0.05)
