"""How the command speaks: results on stdout, and each failure as one line with what to do, on stderr."""

from __future__ import annotations

import asyncio
import getpass
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.places import SHARED, StateDir
from rich.console import Console
from rich.table import Table
from typer.core import TyperGroup

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

T = TypeVar("T")
_WIDEST = 1000

StateOption = Annotated[
    Path,
    typer.Option("--state-dir", help="The folder of the fleet: its data, keys and logs.", envvar="FLEET_STATE_DIR"),
]
DEFAULT_STATE = SHARED


class FleetGroup(TyperGroup):
    """Turns what can go wrong into one line and exit code 1; anything else is a defect and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        from fleet_sdk.problems import ApiError, OutcomeUnknown, Unreachable

        try:
            return super().invoke(ctx)
        except LaunchFailure as failure:
            fail(failure.problem, failure.remedy)
        except ApiError as refused:
            fail(str(refused))
        except (Unreachable, OutcomeUnknown) as lost:
            fail(str(lost), "See `fleet status`")


def fail(problem: str, remedy: str = "") -> NoReturn:
    """End the command with what went wrong."""
    err.print(f"[bold red]error[/]: {_escaped(problem)}.{' ' + _escaped(remedy) + '.' if remedy else ''}")
    raise typer.Exit(1)


def state_of(folder: Path) -> StateDir:
    return StateDir(folder.resolve())


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def show(table: Table) -> None:
    """Whole, however narrow the terminal: what is listed is there to be copied."""
    Console(highlight=False, width=_WIDEST).print(table)


def operator() -> str:
    """Who is at the shell: the user's name, or his number where a container gives him none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text.rstrip("."))
