"""mass-cancel: an operator takes open orders out of the books of the internal venue."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from fleet_contracts.vocabulary import StateScope
from fleet_launcher.places import StateDir
from rich.table import Table

from fleet_cli.console import DEFAULT_STATE, StateOption, fail, operator, run, show, state_of
from fleet_cli.halt import target_of

_VENUE = "matching-engine"
_TIMEOUT_S = 30.0
"""An instance answers when its books have begun with it; what ends at the time goes before, a slice a second at the most."""


def mass_cancel(
    reason: Annotated[str, typer.Option(help="Why; it is kept with your user name.")],
    symbol: Annotated[str | None, typer.Option(help="The orders of this symbol.")] = None,
    account: Annotated[str | None, typer.Option(help="The orders of this account_id.")] = None,
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Cancel what is open on the venue internal, of a symbol, of an account, or of both together; new orders are taken.

    Every instance of matching-engine is told, each for the books that it keeps; exit code 1 if one did not answer, if
    nobody keeps some of the books at the time, or if the symbol is not traded there. To say it again does no harm. To stop
    trading: fleet halt."""
    if symbol is None and account is None:
        fail("Nothing is canceled: neither a symbol nor an account is named", "--symbol AAPL/USD or --account …")
    symbol = None if symbol is None else target_of(StateScope.SYMBOL, symbol)
    account = None if account is None else target_of(StateScope.ACCOUNT, account)
    body = {"symbol": symbol, "account_id": account, "by": operator(), "reason": reason}
    told, is_known = run(_tell(state_of(state_dir), body))
    table = Table("instance", "answer", "partitions", box=None, pad_edge=False)
    for instance, answer, partitions in told:
        table.add_row(instance, answer, ", ".join(map(str, partitions)))
    show(table)
    missed = sorted(_wanted(symbol) - {number for _, _, partitions in told for number in partitions})
    if missed:
        fail(
            f"Nobody has done it for partition{'s' * (len(missed) > 1)} {', '.join(map(str, missed))} of the books",
            "They are being taken over, or their owner did not answer: see `fleet status`, then say it again",
        )
    if not is_known:
        fail(
            f"The venue internal does not trade {symbol}: nothing is canceled",
            "Look how it is spelled, and say it again",
        )
    raise typer.Exit(0 if all(answer == "ok" for _, answer, _ in told) else 1)


async def _tell(state: StateDir, body: dict[str, Any]) -> tuple[list[tuple[str, str, list[int]]], bool]:
    """(instance, `ok` or what went wrong, the partitions on which it was done), and whether the symbol is traded there as
    far as they can tell."""
    from fleet_gate import Gates

    from fleet_cli.calls import service_client

    async with service_client(state) as client:
        answers = await Gates(client, (_VENUE,), timeout_s=_TIMEOUT_S).tell("/internal/mass-cancel", body)
    done = [(told, {} if answer is None else answer.decode(dict)) for told, answer in answers]
    rows = [
        (
            told.instance,
            told.result if told.detail is None else f"{told.result}: {told.detail}",
            answer.get("partitions", []),
        )
        for told, answer in done
    ]
    return rows, all(answer.get("is_known") is not False for _, answer in done)


def _wanted(symbol: str | None) -> set[int]:
    from fleet_contracts.partitioning import partition
    from fleet_contracts.topics import VENUE_INTERNAL_COMMANDS

    count = VENUE_INTERNAL_COMMANDS.partitions
    return set(range(count)) if symbol is None else {partition(symbol, count)}
