"""The `fleet` command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from fleet_launcher.places import SHARED

from fleet_cli import fleet
from fleet_cli.bench import bench
from fleet_cli.console import FleetGroup, out
from fleet_cli.doctor import doctor
from fleet_cli.halt import halt
from fleet_cli.ledger import ledger
from fleet_cli.mass_cancel import mass_cancel
from fleet_cli.operate import audit, auth, mail, migrate, parked, rest, users
from fleet_cli.orders import logout, order
from fleet_cli.venues import venues

app = typer.Typer(
    name="fleet",
    cls=FleetGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Tradefleet: a fleet of services for algorithmic trading, on this machine.",
)
for command in (
    fleet.up,
    fleet.down,
    fleet.status,
    fleet.logs,
    fleet.restart,
    fleet.reset,
    doctor,
    rest,
    halt,
    mass_cancel,
    order,
    logout,
    migrate,
    mail,
):
    app.command()(command)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave its fleet running.")] = False,
    port_offset: Annotated[int, typer.Option(help="Added to port 8000.")] = 700,
    state_dir: Annotated[Path, typer.Option(help="The demo's own folder; its data is emptied first.")] = SHARED
    / "demo",
) -> None:
    """Replay two years of real bars through a whole fleet and check the books to the last digit; a minute or two."""
    from fleet_cli.demo import run

    raise typer.Exit(run(out, state_dir=state_dir, port_offset=port_offset, keep=keep))


app.add_typer(users, name="users")
app.add_typer(auth, name="auth")
app.add_typer(audit, name="audit")
app.add_typer(ledger, name="ledger")
app.add_typer(parked, name="parked")
app.add_typer(venues, name="venues")
app.add_typer(bench, name="bench")


if __name__ == "__main__":
    app()
