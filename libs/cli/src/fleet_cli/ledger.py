"""ledger: the books of all accounts, checked, and what is no trade booked by hand.

What talks to the services is imported where it is used: half a second that the other commands need not wait.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from uuid import UUID, uuid5

import typer
from fleet_launcher.admin import verdict_of
from rich.table import Table

from fleet_cli.console import DEFAULT_STATE, StateOption, operator, out, run, show, state_of

ledger = typer.Typer(no_args_is_help=True, help="The books of all accounts.")


class Kind(StrEnum):
    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    FEE = "fee"
    FUNDING = "funding"
    DIVIDEND = "dividend"
    CORRECTION = "correction"


@ledger.command("verify")
def ledger_verify(state_dir: StateOption = DEFAULT_STATE) -> None:
    """Hold all books against themselves, from the first entry on; exit code 1 and the differences, if there are any."""
    verdict = verdict_of(state_of(state_dir), "trading", "verify", what="The books")
    table = Table("currency", "debits", "credits", box=None, pad_edge=False)
    for total in verdict["totals"]:
        table.add_row(total["currency"], total["debits"], total["credits"])
    show(table)
    out.print(", ".join(f"{count} {what}" for what, count in verdict["counts"].items()))
    for problem in verdict["problems"]:
        out.print(problem, soft_wrap=True)
    out.print("the books hold" if verdict["ok"] else f"{len(verdict['problems'])} differences")
    raise typer.Exit(0 if verdict["ok"] else 1)


# Or an amount below zero would be taken for an option.
@ledger.command("book", context_settings={"ignore_unknown_options": True})
def ledger_book(
    account: Annotated[UUID, typer.Argument(help="Its account_id.")],
    kind: Annotated[Kind, typer.Argument(help="What has happened; only a withdrawal may be refused.")],
    amount: Annotated[str, typer.Argument(help="Signed: below zero it is taken from the account.")],
    *,
    reference: Annotated[
        str, typer.Option(help="Its source, kept with the entry. Of one account and kind it books once.")
    ],
    currency: Annotated[
        str, typer.Option(help="The account's base currency, or an asset that is traded for it.")
    ] = "USD",
    unit_cost: Annotated[
        str | None, typer.Option(help="Of an asset that comes in: what one of it cost, in the base currency.")
    ] = None,
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Book what is no trade: a deposit, a withdrawal, a fee, a correction. Nothing is asked; it is kept with your user name."""
    from fleet_cli.calls import answer_of

    body = {
        # The same words again are the same entry, also where the answer to the first was lost.
        "transaction_id": str(uuid5(account, f"{kind.value} {currency} {reference}")),
        "kind": kind.value,
        "currency": currency,
        "amount": amount,
        "source": reference,
        "by": operator(),
    }
    if unit_cost is not None:
        body["unit_cost"] = unit_cost
    path = f"/internal/accounts/{account}/entries"
    again = "See `fleet status`, and say the same again: it is booked once"
    entry = run(answer_of(state_of(state_dir), "trading", "POST", path, body, remedy=again))
    if entry["is_replay"]:
        out.print("booked before, nothing has changed:")
    table = Table("at", "kind", "amount", "currency", "reference", "transaction", box=None, pad_edge=False)
    table.add_row(*(str(entry[name]) for name in ("at", "kind", "amount", "currency", "source", "transaction_id")))
    show(table)
