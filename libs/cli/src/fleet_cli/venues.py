"""venues: what we and a venue differ in, and taking its word for it.

What talks to the services is imported where it is used: half a second that the other commands need not wait.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import typer
from fleet_launcher.places import StateDir
from rich.table import Table

from fleet_cli.console import DEFAULT_STATE, StateOption, fail, operator, out, run, show, state_of

venues = typer.Typer(
    no_args_is_help=True,
    help="Where a venue and we differ, no new order of the symbol goes there until that is settled.",
)
_TIMEOUT_S = 30.0


@venues.command("differences")
def venues_differences(state_dir: StateOption = DEFAULT_STATE) -> None:
    """Show what comparing with the venues could not mend; exit code 1 if there is anything."""
    found: list[dict[str, Any]] = run(_call(state_of(state_dir), "GET", "unresolved"))
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
    body = {"reason": reason, "by": operator()}
    settled: dict[str, Any] = run(_call(state_of(state_dir), "POST", f"{reconciliation}/accept", body))
    out.print(f"accepted; {settled['venue']} is asked anew about {settled['symbol']}, see `fleet venues differences`")


async def _call(state: StateDir, method: str, what: str, body: dict[str, str] | None = None) -> Any:
    from fleet_chassis.calls import CallFailed

    from fleet_cli.calls import service_client

    async with service_client(state) as client:
        path = f"/internal/reconciliations/{what}"
        try:
            answer = await client.request("execution", 0, method, path, json=body, timeout_s=_TIMEOUT_S)
        except CallFailed as failed:
            fail(str(failed), "See `fleet status`")
    if not answer.is_success:
        problem = answer.decode(dict)
        fail(f"execution: {problem.get('detail') or problem.get('title')}")
    return answer.decode(object)
