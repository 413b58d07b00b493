"""venues: what we and a venue differ in, and taking its word for it.

What talks to the services is imported where it is used: half a second that the other commands need not wait.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import typer
from rich.table import Table

from fleet_cli.console import DEFAULT_STATE, StateOption, operator, out, run, show, state_of

venues = typer.Typer(
    no_args_is_help=True,
    help="Where a venue and we differ, no new order of the symbol goes there until that is settled.",
)
_COMPARISONS = "/internal/reconciliations"


@venues.command("differences")
def venues_differences(state_dir: StateOption = DEFAULT_STATE) -> None:
    """Show what comparing with the venues could not mend; exit code 1 if there is anything."""
    from fleet_cli.calls import answer_of

    found: list[dict[str, Any]] = run(answer_of(state_of(state_dir), "execution", "GET", f"{_COMPARISONS}/unresolved"))
    if not found:
        out.print("nothing is unresolved")
        return
    for one in found:
        last = one["comparison"]
        out.print(f"{last['venue']} {last['symbol']} since {one['since']}: {last['reconciliation_id']}", soft_wrap=True)
        table = Table("kind", "order or account", "detail", box=None, pad_edge=False)
        for left in last["differences"]:
            if not left["is_mended"]:
                table.add_row(left["kind"], left["venue_order_ref"] or left["account_id"], left["detail"])
        show(table)
    raise typer.Exit(1)


@venues.command("accept")
def venues_accept(
    reconciliation: Annotated[UUID, typer.Argument(help="As `fleet venues differences` shows it.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; it is kept with your user name.")],
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Take the venue's word for all that a comparison has left; then the venue is asked anew.

    Orders that it does not have are canceled here, what accounts hold is what it says, fills of unknown orders are passed
    over. What its word cannot settle is refused with what to do there. To say it again does no harm."""
    from fleet_cli.calls import answer_of

    body = {"reason": reason, "by": operator()}
    path = f"{_COMPARISONS}/{reconciliation}/accept"
    settled: dict[str, Any] = run(answer_of(state_of(state_dir), "execution", "POST", path, body))
    out.print(f"accepted; {settled['venue']} is asked anew about {settled['symbol']}, see `fleet venues differences`")
