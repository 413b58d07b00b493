"""`fleet halt` against trading as it runs: a target that there is not is said to be none."""

from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from fleet_command import command, fleet_of


@pytest.mark.parametrize("scope", ["symbol", "account"])
async def test_a_halt_of_what_there_is_not_says_that_nothing_is_stopped(fleet: Any, tmp_path: Path, scope: str) -> None:
    """one that there is → ok; one letter changed → told as well, and said to stop nothing"""
    user: UUID = fleet.a_user()
    await fleet.call("GET", "/api/v1/accounts", user=user)
    there, not_there = ("AAPL/USD", "APPL/USD") if scope == "symbol" else (fleet.account_of(user), uuid4())
    state = fleet_of(tmp_path, fleet.settings.private_key_file.parent, "trading", fleet.url)
    halt = ("halt", "--reduce", "--reason", "a test", "--scope", scope, "--target")
    status, told, wrong = await command(state, *halt, str(there))
    assert (status, told.split()[2:], wrong) == (0, ["trading-0", "ok"], "")
    status, told, wrong = await command(state, *halt, str(not_there))
    assert (status, told.split()[2:]) == (1, ["trading-0", "ok"])
    assert wrong.startswith(f"error: There is no {scope} {not_there} here: it is told, but nothing that is traded")
