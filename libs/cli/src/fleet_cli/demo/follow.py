"""Follows a replay on the socket and shows how far it is."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fleet_sdk.client import FleetClient
from fleet_sdk.problems import ApiError, OutcomeUnknown, SocketClosed, Unreachable
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from .scenario import STEPS, SYMBOLS

_POLL_S = 0.5
_PLAIN_EVERY = 50
_PATIENCE_S = 180.0
"""A step takes a tenth of a second; a fleet of which everything was killed is back after a minute or less."""


class ReplayFailed(Exception):
    """The replay did not come to its end."""


@dataclass(slots=True)
class Seen:
    """What the socket told: orders and trades by id, the latest equity; what a client without a database would know."""

    orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    trades: dict[str, dict[str, Any]] = field(default_factory=dict)
    bars: set[tuple[str, str]] = field(default_factory=set)
    equity: str = "100000"

    def take(self, message: dict[str, Any]) -> None:
        """Applies a message of any channel; a snapshot repeats what an update said, under the same ids."""
        for item in message["data"]:
            match message["channel"]:
                case "order_updates":
                    known = self.orders.get(item["order_id"])
                    if known is None or item["version"] >= known["version"]:
                        self.orders[item["order_id"]] = item
                case "trades":
                    self.trades[item["trade_id"]] = item
                case "portfolio":
                    self.equity = item["portfolio"]["equity"]
                case "market_data" if item["type"] == "bar":
                    self.bars.add((item["symbol"], item["open_at"]))


@asynccontextmanager
async def listening(client: FleetClient, seen: Seen) -> AsyncIterator[None]:
    """Keeps a socket open while the block runs; one that is lost is opened again and takes the snapshots."""
    subscribed = asyncio.Event()
    task = asyncio.create_task(_listen(client, seen, subscribed))
    waiting = asyncio.create_task(subscribed.wait())
    try:
        done, _ = await asyncio.wait({task, waiting}, timeout=15, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            task.result()
        if not subscribed.is_set():
            raise ReplayFailed("the socket did not confirm its subscriptions within 15 s")
        yield
    finally:
        waiting.cancel()
        task.cancel()
        await asyncio.gather(task, waiting, return_exceptions=True)


async def _listen(client: FleetClient, seen: Seen, subscribed: asyncio.Event) -> None:
    while True:
        try:
            async with client.socket() as socket:
                for channel in ("order_updates", "trades", "portfolio"):
                    await socket.subscribe(channel)
                await socket.subscribe("market_data", SYMBOLS)
                subscribed.set()
                async for message in socket:
                    seen.take(message)
        except (SocketClosed, Unreachable, OutcomeUnknown, ApiError) as error:
            if not subscribed.is_set() and isinstance(error, ApiError) and error.status < 500:
                raise
            await asyncio.sleep(_POLL_S)


async def follow(
    client: FleetClient,
    replay_id: str,
    seen: Seen,
    console: Console,
    *,
    poll_s: float = _POLL_S,
    patience_s: float = _PATIENCE_S,
) -> dict[str, Any]:
    """Shows step, orders, fills, equity, rate and time left until the replay has ended; answers its last status.

    Raises ReplayFailed with what it is or was waiting for when it ends otherwise, or for `patience_s` makes no step.
    """
    columns = (
        TextColumn("[bold]replay[/]"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[orders]} orders · {task.fields[fills]} fills · equity {task.fields[equity]}"),
        TextColumn("· {task.fields[rate]:.0f} steps/s ·"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    started = moved = time.monotonic()
    step = printed = 0
    noted = ""
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("replay", total=STEPS, orders=0, fills=0, equity=seen.equity, rate=0.0, note="")
        while True:
            status = await _status(client, replay_id)
            now, note = time.monotonic(), _note(status)
            if status and int(status["step"]) != step:
                step, moved = int(status["step"]), now
            rate = step / max(now - started, 0.001)
            orders, fills, equity = len(seen.orders), len(seen.trades), seen.equity
            progress.update(task, completed=step, orders=orders, fills=fills, equity=equity, rate=rate, note=note)
            if not console.is_terminal and step >= printed + _PLAIN_EVERY:
                printed = step
                left_s = (STEPS - step) / max(rate, 0.001)
                console.print(
                    f"  step {step}/{STEPS} · {orders} orders · {fills} fills · equity {equity}"
                    f" · {rate:.0f} steps/s · {left_s:.0f} s left"
                )
            if not console.is_terminal and note not in ("", noted):
                console.print(f"  {note}", markup=False)
            noted = note
            if status and status["status"] in ("done", "failed", "canceled"):
                break
            if now - moved > patience_s:
                raise ReplayFailed(f"no step for {now - moved:.0f} s after step {step}: {note or 'nothing is said'}")
            await asyncio.sleep(poll_s)
    if status["status"] != "done":
        raise ReplayFailed(f"the replay is {status['status']}: {_why(status)}")
    return status


async def _status(client: FleetClient, replay_id: str) -> dict[str, Any] | None:
    """The replay's status, or None while the fleet does not answer (a service may be restarting)."""
    try:
        return await client.replay(replay_id)
    except (Unreachable, OutcomeUnknown):
        return None
    except ApiError as error:
        if error.status in (429, 502, 503, 504):
            return None
        raise


def _note(status: dict[str, Any] | None) -> str:
    if status is None:
        return "the gateway does not answer"
    if status["status"] == "stalled":
        return f"stalled, waiting for {', '.join(status['waiting_for'])}"
    return ""


def _why(status: dict[str, Any]) -> str:
    """A replay that failed tells its reason and waits for nothing any more."""
    return status["reason"] or ", ".join(status["waiting_for"]) or "no reason given"
