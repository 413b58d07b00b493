"""A whole fleet for tests: every service its own process, reached through the gateway as a client would."""

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
from fleet_launcher.control import launch, stop_fleet
from fleet_launcher.options import Feed, FleetOptions
from fleet_launcher.places import StateDir
from fleet_sdk.client import FleetClient

_RATES = {
    # Tests register and trade faster than people do.
    "FLEET_GATEWAY_RATE_REQUESTS": "5000",
    "FLEET_GATEWAY_RATE_BURST": "10000",
    "FLEET_GATEWAY_RATE_REGISTRATIONS": "6000",
    "FLEET_GATEWAY_RATE_FAILED_LOGINS": "6000",
}


@dataclass(frozen=True)
class User:
    """A registered user, logged in."""

    client: FleetClient
    email: str
    password: str


class WholeFleet:
    """A running fleet in a state folder of its own."""

    def __init__(self, state: StateDir, options: FleetOptions) -> None:
        self.state = state
        self.options = options

    @property
    def description(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.state.fleet_json.read_text())
        return content

    @property
    def url(self) -> str:
        url: str = self.description["gateway_url"]
        return url

    def pid(self, name: str, ordinal: int = 0) -> int:
        """The process of a service, or of `kafka` and `postgres`."""
        content = self.description
        part = content.get(name) or content["services"][name]["instances"][ordinal]
        pid: int = part["pid"]
        return pid

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
        for event in launch(self.options):
            if event["event"] == "ready":
                break

    def down(self) -> None:
        stop_fleet(self.state)

    @contextlib.asynccontextmanager
    async def user(self) -> AsyncIterator[User]:
        """A new user with a paper account of 100,000 USD."""
        email, password = f"user-{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(16)
        async with FleetClient(self.url, timeout_s=30) as client:
            await client.register(email, password)
            await client.login(email, password)
            yield User(client, email, password)


def _family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


@contextlib.contextmanager
def whole_fleet(feed: Feed, *, port_offset: int, **replicas: int) -> Iterator[WholeFleet]:
    """Starts a fleet in a new folder, and takes it down with its data afterwards; logs of a failed run are kept."""
    folder = Path(tempfile.mkdtemp(prefix="fleet-test-"))
    options = FleetOptions(state_dir=folder, feed=feed, port_offset=port_offset, replicas=replicas)
    fleet = WholeFleet(StateDir(folder), options)
    before = {name: os.environ.get(name) for name in _RATES}
    os.environ.update(_RATES)
    try:
        fleet.up()
        yield fleet
    finally:
        fleet.down()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)


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
