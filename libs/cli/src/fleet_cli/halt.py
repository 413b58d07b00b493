"""halt: stop trading from a shell, with gateway, core-engine, Kafka and Redis down."""

from __future__ import annotations

import getpass
from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table

from fleet_cli.console import DEFAULT_STATE, StateOption, fail, out, run, state_of


class Scope(StrEnum):
    SYSTEM = "system"
    VENUE = "venue"
    SYMBOL = "symbol"
    ACCOUNT = "account"


def halt(
    reason: Annotated[str, typer.Option(help="Why; it is kept with your user name.")],
    scope: Annotated[Scope, typer.Option(help="What is stopped.")] = Scope.SYSTEM,
    target: Annotated[str | None, typer.Option(help="The venue, symbol or account_id.")] = None,
    reduce: Annotated[bool, typer.Option("--reduce", help="Let orders through that reduce a position.")] = False,
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Stop trading: told directly to every process that must obey; exit code 1 if one did not answer.

    It holds over restarts. An administrator resumes it: POST /api/v1/risk/kill-switch."""
    from fleet_cli.calls import tell_state

    if (scope is Scope.SYSTEM) != (target is None):
        fail("--target is given for every scope but system", "fleet halt --scope symbol --target AAPL/USD --reason …")
    word = "reducing" if reduce else "halted"
    told = run(tell_state(state_of(state_dir), scope.value, target, word, by=f"cli:{getpass.getuser()}", reason=reason))
    table = Table("instance", "answer", box=None, pad_edge=False)
    for instance, answer in told:
        table.add_row(instance, answer)
    out.print(table)
    raise typer.Exit(0 if told and all(answer == "ok" for _, answer in told) else 1)
