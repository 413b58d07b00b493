"""parked, rest, users, audit, auth, mail: what an operator does to a running fleet.

What talks to the services is imported where it is used: half a second that the other commands need not wait.
"""

from __future__ import annotations

import json
from typing import Annotated

import typer
from fleet_contracts.vocabulary import Role
from fleet_launcher.admin import run_admin, verdict_of
from fleet_launcher.control import description
from fleet_launcher.migrating import migrate as migrate_all
from fleet_launcher.services import SERVICES
from rich.table import Table

from fleet_cli.console import DEFAULT_STATE, StateOption, fail, operator, out, run, show, state_of

parked = typer.Typer(
    no_args_is_help=True,
    help="Messages that a service could not handle: they are set aside, with what comes behind them of the same key.",
)
audit = typer.Typer(no_args_is_help=True, help="What administrators and operators did.")
auth = typer.Typer(no_args_is_help=True, help="The keys that protect what auth keeps.")
users = typer.Typer(
    no_args_is_help=True, help="Make users of any role, the first administrator too; lost second factors."
)

# A key's messages are handled one by one: ten thousand may take longer than the command waits, and the service goes on.
_AT_WORK = "It may be at work on them still: see `fleet parked list`"

ServiceArgument = Annotated[str, typer.Argument(help="The service that set the key aside.")]
ListedArgument = Annotated[str, typer.Argument(help="As `fleet parked list` shows it.")]


@parked.command("list")
def parked_list(state_dir: StateOption = DEFAULT_STATE) -> None:
    """Show every key that is set aside, in all services, and why; exit code 1 if a service did not answer."""
    from fleet_cli.calls import parked_keys

    rows, silent = run(parked_keys(state_of(state_dir)))
    table = Table("service", "subscription", "topic", "key", "messages", "reason", box=None, pad_edge=False)
    for name, row in rows:
        reason = f"not yet: {row['reason']}" if row["is_not_yet"] else row["reason"]
        table.add_row(name, row["subscription"], row["topic"], row["key"], str(row["messages"]), reason)
    if rows:
        show(table)
    elif not silent:
        out.print("nothing is parked")
    if silent:
        fail("; ".join(silent), "What is parked there is not shown")


@parked.command("replay")
def parked_replay(
    service_name: ServiceArgument,
    subscription: ListedArgument,
    topic: ListedArgument,
    key: ListedArgument,
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Hand a key's messages to the service again, in order; it is kept with your user name."""
    from fleet_cli.calls import answer_of

    body = {"subscription": subscription, "topic": topic, "key": key, "by": operator()}
    asked = answer_of(state_of(state_dir), service_name, "POST", "/internal/parked/replay", body, remedy=_AT_WORK)
    released = run(asked)["is_released"]
    out.print("released" if released else "its first message failed again; see `fleet parked list`")
    raise typer.Exit(0 if released else 1)


@parked.command("skip")
def parked_skip(
    service_name: ServiceArgument,
    subscription: ListedArgument,
    topic: ListedArgument,
    key: ListedArgument,
    *,
    reason: Annotated[str, typer.Option(help="Why; it is kept with your user name.")],
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Drop a key's first message for ever and hand the rest to the service."""
    from fleet_cli.calls import answer_of

    body = {"subscription": subscription, "topic": topic, "key": key, "reason": reason, "by": operator()}
    remedy = f"{_AT_WORK} first, for another skip drops the next message"
    asked = answer_of(state_of(state_dir), service_name, "POST", "/internal/parked/skip", body, remedy=remedy)
    released = run(asked)["is_released"]
    out.print("released" if released else "skipped; the next message of the key failed too, see `fleet parked list`")


def rest(
    wait: Annotated[bool, typer.Option("--wait", help="Wait until nothing is.")] = False,
    timeout_s: Annotated[float, typer.Option(help="How long --wait waits at most.")] = 60.0,
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Tell whether any message or timer is still on its way between the services; exit code 1 and which, if so."""
    from fleet_cli.calls import observe_rest

    verdict = run(observe_rest(state_of(state_dir), timeout_s if wait else 0.0))
    if verdict.at_rest:
        out.print("at rest")
        return
    for line in (*verdict.waiting_for, *verdict.parked):
        out.print(line)
    raise typer.Exit(1)


def migrate(state_dir: StateOption = DEFAULT_STATE) -> None:
    """Apply new migrations to the databases of the running fleet; `fleet up` does it by itself."""
    state = state_of(state_dir)
    services = description(state)["services"]
    applied = run(migrate_all(state, SERVICES, {name: entry["database_url"] for name, entry in services.items()}))
    for name, revisions in applied.items():
        out.print(f"{name:<24}{', '.join(revisions) or 'up to date'}")


@users.command("create")
def users_create(
    email: Annotated[str, typer.Option(help="The user's address.")],
    role: Annotated[list[Role], typer.Option(help="May be given again.")],
    name: Annotated[str | None, typer.Option(help="What to call the user.")] = None,
    generate: Annotated[bool, typer.Option("--generate", help="Make a password and print it, once.")] = False,
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Make a user of any role; the password is asked for, read from stdin, or made with --generate."""
    arguments = ["create-user", "--email", email, *(word for one in role for word in ("--role", one))]
    arguments += ["--name", name] if name else []
    arguments += ["--generate"] if generate else []
    raise typer.Exit(run_admin(state_of(state_dir), "auth", arguments, capture=False).returncode)


@users.command("reset-mfa")
def users_reset_mfa(
    email: Annotated[str, typer.Option(help="The user's address.")],
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Take the second factor of a user away who has lost it and its recovery codes. Be sure who asks."""
    arguments = ["reset-mfa", "--email", email]
    raise typer.Exit(run_admin(state_of(state_dir), "auth", arguments, capture=False).returncode)


@audit.command("verify")
def audit_verify(state_dir: StateOption = DEFAULT_STATE) -> None:
    """Hold the audit log against its hashes and the signature of each day; exit code 1 and the first entry that differs."""
    verdict = verdict_of(state_of(state_dir), "auth", "verify-audit", what="The audit log")
    out.print(f"{verdict['entries']} entries, {verdict['digests']} digests, signed up to {verdict['signed_through']}")
    for problem in verdict["problems"]:
        out.print(problem, soft_wrap=True)
    if late := verdict["signed_late"]:
        out.print(
            f"{len(late)} days were signed late, the last {late[-1]}: auth was down, or signed anew", soft_wrap=True
        )
    out.print("the log holds" if verdict["ok"] else "the log does not hold")
    raise typer.Exit(0 if verdict["ok"] else 1)


@auth.command("rotate-keys")
def rotate_keys(state_dir: StateOption = DEFAULT_STATE) -> None:
    """Have a new key sign access tokens; tokens of the one before stay good until they end."""
    raise typer.Exit(run_admin(state_of(state_dir), "auth", ["rotate-keys"], capture=False).returncode)


@auth.command("rotate-field-keys")
def rotate_field_keys(
    keep_file: Annotated[bool, typer.Option("--keep-file", help="The file has its new current key already.")] = False,
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Seal what auth keeps secret anew under a new key; the one before stays readable until the next rotation."""
    arguments = ["rotate-field-keys", *(["--keep-file"] if keep_file else [])]
    raise typer.Exit(run_admin(state_of(state_dir), "auth", arguments, capture=False).returncode)


def mail(state_dir: StateOption = DEFAULT_STATE) -> None:
    """Show the mail that this fleet has sent: on one's own machine it goes into a file."""
    sent = state_of(state_dir).mail
    if not sent.exists():
        out.print("no mail was sent")
        return
    for line in sent.read_text().splitlines():
        one = json.loads(line)
        out.print(f"to {one['to']}: {one['subject']}\n\n{one['text']}", markup=False, soft_wrap=True)
