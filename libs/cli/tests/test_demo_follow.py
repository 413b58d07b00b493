"""Following a replay that does not go as it should: said in a pipe too, and not waited for without end."""

from __future__ import annotations

import io
from collections.abc import Iterable
from itertools import chain, repeat
from typing import Any

import pytest
from fleet_cli.demo.follow import ReplayFailed, Seen, follow
from fleet_sdk.client import FleetClient
from fleet_testkit.http import served
from rich.console import Console
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def running(step: int) -> dict[str, Any]:
    return {"status": "running", "step": step, "waiting_for": [], "reason": None}


def stalled(*waiting_for: str) -> dict[str, Any]:
    return {"status": "stalled", "step": 50, "waiting_for": list(waiting_for), "reason": None}


async def followed(statuses: Iterable[dict[str, Any] | None], *, patience_s: float = 60) -> str:
    """What is printed where each look finds the next of these; None is a gateway that finds nobody behind it."""
    found, console = iter(statuses), Console(file=io.StringIO(), width=200)

    async def replay(request: Request) -> Response:
        status = next(found)
        return JSONResponse(status or {"code": "unavailable"}, 200 if status else 503)

    app = Starlette(routes=[Route("/api/v1/exchanges/paper/replays/one", replay)])
    async with served(app) as url, FleetClient(url) as client:
        status = await follow(client, "one", Seen(), console, poll_s=0.001, patience_s=patience_s)
    assert status["status"] == "done" and isinstance(console.file, io.StringIO)
    return console.file.getvalue()


async def test_what_a_replay_waits_for_is_told_once_each_time_it_changes() -> None:
    asked = [stalled("data: 3 behind"), stalled("data: 3 behind"), stalled("trading: no answer"), None, None]
    lines = (await followed([running(50), *asked, running(60), {**running(504), "status": "done"}])).splitlines()
    assert [line.partition(" · ")[0].strip() for line in lines] == [
        "step 50/504",
        "stalled, waiting for data: 3 behind",
        "stalled, waiting for trading: no answer",
        "the gateway does not answer",
        "step 504/504",
    ]


async def test_a_replay_that_failed_tells_why() -> None:
    with pytest.raises(ReplayFailed, match=r"^the replay is failed: parked: trading 0 key an-account$"):
        await followed([{**running(7), "status": "failed", "reason": "parked: trading 0 key an-account"}])
    with pytest.raises(ReplayFailed, match=r"^the replay is canceled: no reason given$"):
        await followed([{**running(7), "status": "canceled"}])


@pytest.mark.parametrize(
    ("status", "said"), [(stalled("data: 3 behind"), "data: 3 behind"), (None, "the gateway does not answer")]
)
async def test_a_replay_that_makes_no_step_is_given_up_with_what_it_waits_for(
    status: dict[str, Any] | None, said: str
) -> None:
    with pytest.raises(ReplayFailed, match=rf"no step for \d+ s after step 50: .*{said}"):
        await followed(chain([running(50)], repeat(status)), patience_s=0.05)
