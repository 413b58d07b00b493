"""halt: stop trading from a shell, with gateway, core-engine, Kafka and Redis down."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer
from fleet_contracts.topics import VENUES
from fleet_contracts.vocabulary import StateScope, TradingStateWord
from rich.table import Table

from fleet_cli.console import DEFAULT_STATE, StateOption, fail, operator, run, show, state_of

_EXAMPLES = {StateScope.SYMBOL: "AAPL/USD", StateScope.ACCOUNT: "4cde6846-6071-5f26-acd4-bbcd7b21b44b"}


def halt(
    reason: Annotated[str, typer.Option(help="Why; it is kept with your user name.")],
    scope: Annotated[StateScope, typer.Option(help="What is stopped.")] = StateScope.SYSTEM,
    target: Annotated[str | None, typer.Option(help="The venue, symbol or account_id.")] = None,
    reduce: Annotated[bool, typer.Option("--reduce", help="Let orders through that reduce a position.")] = False,
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Stop trading: told directly to every process that must obey; exit code 1 if one did not answer.

    Also if there is no such symbol or account: it is told all the same, as who is asked may not know of it yet.

    It holds over restarts. An administrator resumes it: POST /api/v1/risk/kill-switch."""
    from fleet_cli.calls import tell_state

    if (scope is StateScope.SYSTEM) != (target is None):
        fail("--target is given for every scope but system", "fleet halt --scope symbol --target AAPL/USD --reason …")
    target = None if target is None else target_of(scope, target)
    word = TradingStateWord.REDUCING if reduce else TradingStateWord.HALTED
    told, is_known = run(tell_state(state_of(state_dir), scope, target, word, by=f"cli:{operator()}", reason=reason))
    table = Table("instance", "answer", box=None, pad_edge=False)
    for instance, answer in told:
        table.add_row(instance, answer)
    show(table)
    if not is_known:
        fail(
            f"There is no {scope} {target} here: it is told, but nothing that is traded is stopped by it",
            "Look how it is spelled, and say it again",
        )
    raise typer.Exit(0 if told and all(answer == "ok" for _, answer in told) else 1)


def target_of(scope: StateScope, given: str) -> str:
    """As the gates know it. They take any word, and would say `ok` to one that stops nothing."""
    from fleet_chassis.shapes import Symbol
    from pydantic import TypeAdapter, ValidationError

    try:
        if scope is StateScope.SYMBOL:
            return TypeAdapter(Symbol).validate_python(given.upper())
        if scope is StateScope.ACCOUNT:
            return str(UUID(given))
    except (ValidationError, ValueError):
        fail(f"Nothing is stopped: {given!r} is no {scope.value}", f"--target {_EXAMPLES[scope]}")
    if given not in VENUES:
        fail(f"Nothing is stopped: {given!r} is no venue", f"There are: {', '.join(VENUES)}")
    return given
