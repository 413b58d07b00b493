"""Snapshots of an account that changes while they are read."""

import json
from typing import Any, cast
from uuid import uuid4

from fleet_gateway.answers import Answer
from fleet_gateway.identity import Principal
from fleet_gateway.sockets.snapshots import AccountsOfUsers, Snapshots
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
