"""Snapshots of an account that changes while they are read."""

import json
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest
from fleet_gateway.answers import Answer
from fleet_gateway.identity import Principal
from fleet_gateway.sockets.snapshots import MAX_PAGES, PAGE, AccountsOfUsers, Snapshots
from fleet_gateway.upstream import Upstream

USER, ACCOUNT = uuid4(), str(uuid4())
PRINCIPAL = Principal(USER, "session", frozenset({"read"}), float("inf"), {}, str(USER))


class BusyTrading:
    """Of one account, in which something has changed each time that anything is asked of it."""

    def __init__(self) -> None:
        self.version = 0

    async def send(self, _service: str, _method: str, target: str, **_: Any) -> Answer:
        self.version += 1
        told: Any = {"account_id": ACCOUNT, "version": self.version}
        if "portfolio" not in target:
            told = {"data": [{"version": self.version}], "next_cursor": None}
        return Answer(200, [], json.dumps(told).encode())


async def test_what_changes_while_a_portfolio_is_read_comes_as_an_update() -> None:
    trading = BusyTrading()
    snapshots = Snapshots(cast("Upstream", trading), AccountsOfUsers(), lambda: "request")
    snapshot = await snapshots.read("portfolio", PRINCIPAL)
    (told,) = json.loads(snapshot.data)
    # Updates up to this version are dropped: nothing shown may be of before it.
    assert snapshot.versions == {ACCOUNT: told["portfolio"]["version"]}
    assert told["portfolio"]["version"] < min(part["version"] for part in (*told["balances"], *told["positions"]))


class RichTrading:
    """Of one account that has so many open orders and positions, newest first in pages."""

    def __init__(self, count: int) -> None:
        self._count = count

    async def send(self, _service: str, _method: str, target: str, **_: Any) -> Answer:
        url = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        told: Any = {"account_id": ACCOUNT, "version": 7}
        if url.path.endswith("portfolio"):
            return Answer(200, [], json.dumps(told).encode())
        start = int(query.get("cursor", 0))
        end = min(start + int(query.get("limit", 100)), self._count)
        items = [{"order_id": f"o{number}", "version": 1} for number in range(start, end)]
        told = {"data": items, "next_cursor": str(end) if end < self._count else None}
        return Answer(200, [], json.dumps(told).encode())


@pytest.mark.parametrize("channel", ["order_updates", "portfolio"])
@pytest.mark.parametrize("more", [0, 1])
async def test_a_snapshot_that_cannot_hold_all_says_so(channel: str, more: int) -> None:
    """Exactly as many as it holds: the whole, and no mark; one more: the newest, and the mark."""
    most = PAGE * MAX_PAGES
    snapshots = Snapshots(cast("Upstream", RichTrading(most + more)), AccountsOfUsers(), lambda: "request")
    snapshot = await snapshots.read(channel, PRINCIPAL)
    told = json.loads(snapshot.data)
    shown = told if channel == "order_updates" else told[0]["positions"]
    assert [order["order_id"] for order in shown] == [f"o{number}" for number in range(most)]
    assert snapshot.is_truncated is bool(more)
