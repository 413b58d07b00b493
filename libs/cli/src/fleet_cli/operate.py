"""parked, rest, users: what an operator does to a running fleet."""

from __future__ import annotations

import getpass
from typing import Annotated, Any

import typer
from fleet_bus.rest import Asked, RestVerdict, observing
from fleet_chassis.calls import CallFailed, ServiceClient
from fleet_contracts.rest import RestPart
from fleet_launcher.admin import run_admin
from fleet_launcher.control import description
from fleet_launcher.environment import topic_prefix
from fleet_launcher.migrating import migrate as migrate_all
from fleet_launcher.places import StateDir
from fleet_launcher.services import SERVICES
from rich.table import Table

from fleet_cli.calls import service_client
from fleet_cli.console import DEFAULT_STATE, StateOption, fail, out, run, state_of

parked = typer.Typer(no_args_is_help=True, help="Messages that a service could not handle, and what came behind them.")
users = typer.Typer(no_args_is_help=True, help="Users, from the operator's side.")

ServiceArgument = Annotated[str, typer.Argument(help="The service that set the key aside.")]
SubscriptionArgument = Annotated[str, typer.Argument(help="As `fleet parked list` shows it.")]


@parked.command("list")
def parked_list(state_dir: StateOption = DEFAULT_STATE) -> None:
    """Every key that is set aside, in all services."""
    rows = run(_parked(state_of(state_dir)))
    if not rows:
        out.print("nothing is parked")
        return
    table = Table("service", "subscription", "topic", "key", "messages", "reason", box=None, pad_edge=False)
    for name, row in rows:
        reason = f"not yet: {row['reason']}" if row["is_not_yet"] else row["reason"]
        table.add_row(name, row["subscription"], row["topic"], row["key"], str(row["messages"]), reason)
    out.print(table)


@parked.command("replay")
def parked_replay(
    service_name: ServiceArgument,
    subscription: SubscriptionArgument,
    topic: str,
    key: str,
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Hand a key's messages to the service again, in order."""
    body = {"subscription": subscription, "topic": topic, "key": key}
    released = run(_release(state_of(state_dir), service_name, "replay", body))
    out.print("released" if released else "its first message failed again; see `fleet parked list`")
    raise typer.Exit(0 if released else 1)


@parked.command("skip")
def parked_skip(
    service_name: ServiceArgument,
    subscription: SubscriptionArgument,
    topic: str,
    key: str,
    *,
    reason: Annotated[str, typer.Option(help="Why; it is kept with your user name.")],
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Drop a key's first message and hand the rest to the service."""
    body = {"subscription": subscription, "topic": topic, "key": key, "reason": reason, "by": getpass.getuser()}
    released = run(_release(state_of(state_dir), service_name, "skip", body))
    out.print("released" if released else "skipped; the next message of the key failed too, see `fleet parked list`")


async def _parked(state: StateDir) -> list[tuple[str, dict[str, Any]]]:
    """Replicas share their database, so the first of each service tells."""
    rows: list[tuple[str, dict[str, Any]]] = []
    async with service_client(state) as client:
        for name in (known.name for known in SERVICES if known.has_database):
            answer = await _call(client, name, "GET", "/internal/parked")
            rows += [(name, row) for row in answer["data"]]
    return rows


async def _release(state: StateDir, name: str, what: str, body: dict[str, str]) -> bool:
    async with service_client(state) as client:
        answer = await _call(client, name, "POST", f"/internal/parked/{what}", body)
    return bool(answer["is_released"])


async def _call(client: ServiceClient, name: str, method: str, path: str, body: Any = None) -> dict[str, Any]:
    try:
        answer = await client.request(name, 0, method, path, json=body, timeout_s=30.0)
    except CallFailed as failed:
        fail(str(failed), "See `fleet status`")
    content: dict[str, Any] = answer.decode(dict)
    if not answer.is_success:
        fail(f"{name}: {content.get('detail') or content.get('title')}")
    return content


def rest(
    wait: Annotated[bool, typer.Option("--wait", help="Until it is at rest.")] = False,
    timeout_s: Annotated[float, typer.Option(help="How long to wait at most.")] = 60.0,
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Whether nothing is on its way in the fleet; exit code 1 and what is, if something is."""
    verdict = run(_rest(state_of(state_dir), timeout_s if wait else 0.0))
    if verdict.at_rest:
        out.print("at rest")
        return
    for line in (*verdict.waiting_for, *verdict.parked):
        out.print(line)
    raise typer.Exit(1)


async def _rest(state: StateDir, timeout_s: float) -> RestVerdict:
    described = description(state)

    async with service_client(state) as client:

        async def ask(process: Asked, wait_ms: int, version: int) -> RestPart:
            path = f"/internal/rest?wait_ms={wait_ms}&version={version}"
            answer = await client.request(process.name, process.ordinal, "GET", path, timeout_s=5.0 + wait_ms / 1000)
            if not answer.is_success:
                raise CallFailed(f"{process.name} answered {answer.status}")
            return answer.decode(RestPart)

        bootstrap = described["kafka"]["bootstrap"]
        async with observing(
            bootstrap, "fleet-rest", ask, client.instances.all, topic_prefix=topic_prefix()
        ) as observer:
            return await observer.wait_at_rest(timeout_s)


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
    role: Annotated[list[str], typer.Option(help="admin, trader, viewer or compliance; may be given again.")],
    name: Annotated[str | None, typer.Option(help="What to call the user.")] = None,
    generate: Annotated[bool, typer.Option("--generate", help="Make a password and print it, once.")] = False,
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Make a user of any role; the password is asked for, read from stdin, or made with --generate."""
    arguments = ["create-user", "--email", email, *(word for one in role for word in ("--role", one))]
    arguments += ["--name", name] if name else []
    arguments += ["--generate"] if generate else []
    raise typer.Exit(run_admin(state_of(state_dir), "auth", arguments, capture=False).returncode)
