"""up, down, status, logs, restart, reset: a fleet's life."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import psutil
import typer
from fleet_launcher import control
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.leftovers import SUPERVISOR
from fleet_launcher.options import Event, Feed, FleetOptions, parse_replicas
from fleet_launcher.places import StateDir
from fleet_launcher.processes import ended, record_of, running
from rich.table import Table

from fleet_cli.console import DEFAULT_STATE, StateOption, fail, out, run, show, state_of
from fleet_cli.first_steps import first_steps

if TYPE_CHECKING:
    from fleet_contracts.rest import RestPart

_UNWATCHED = "was killed: what dies stays down; `fleet up` starts all anew"


def up(
    feed: Annotated[
        Feed, typer.Option(help="simulated (a living market) or replay (history in lockstep).")
    ] = "simulated",
    attach: Annotated[bool, typer.Option("--attach", help="Stay in the foreground; Ctrl-C takes it down.")] = False,
    replicas: Annotated[
        list[str] | None, typer.Option(help="Run a service more than once: trading=2; may be given again.")
    ] = None,
    port_offset: Annotated[int, typer.Option(help="Added to the gateway's port 8000, for a second fleet.")] = 0,
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Start the fleet and return when all of it is ready, with the URL and commands to try."""
    options = FleetOptions(
        state_dir.resolve(),
        feed=feed,
        port_offset=port_offset,
        replicas=parse_replicas(replicas or []),
    )
    state = StateDir(options.state_dir)
    if attach:
        _attached(options)
        return
    tell(control.launch(options))
    out.print(first_steps(state, control.description(state)["gateway_url"], feed))


def tell(events: Iterable[Event]) -> None:
    """Print each step of a start with the time it took."""
    for event in events:
        match event["event"]:
            case "part":
                out.print(f"  {event['name']:<24}{event['seconds']:>6.1f} s")
            case "line":
                out.print(f"  [dim]{event['text']}[/]")
            case "ready":
                out.print(f"[bold green]ready[/] in {event['seconds']:.1f} s")


def _attached(options: FleetOptions) -> None:
    from fleet_launcher.supervisor import Supervisor

    def report(event: Event) -> None:
        tell([event])
        if event["event"] == "ready":
            state = StateDir(options.state_dir)
            out.print(first_steps(state, control.description(state)["gateway_url"], options.feed))

    asyncio.run(Supervisor(options, report).run())


def down(state_dir: StateOption = DEFAULT_STATE) -> None:
    """Drain and stop the fleet; accounts, orders and the market's history stay."""
    began = time.monotonic()
    if control.stop_fleet(state_of(state_dir)):
        out.print(f"stopped in {time.monotonic() - began:.1f} s")
    else:
        out.print("no fleet was running")


def reset(
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask. With servers given by URL: only with --given-servers.")
    ] = False,
    given_servers: Annotated[
        bool, typer.Option("--given-servers", help="With --yes: delete on servers given by URL, too.")
    ] = False,
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Stop the fleet and delete its data: users, accounts, orders, keys, logs."""
    state = state_of(state_dir)
    elsewhere = control.reset_elsewhere()
    what = "; ".join([f"all users, accounts, orders, keys and logs in {state.path}", *elsewhere])
    # They may be others', or only be named in this shell: a habit must not empty them.
    if yes and elsewhere and not given_servers:
        fail(f"Nothing was deleted: it would be {what}", "Say --given-servers, too, or leave --yes away to be asked")
    if not yes and not typer.confirm(f"Delete {what}?"):
        fail("Nothing was deleted")
    control.reset(state)
    out.print(f"the fleet's data in {state.path} is deleted")


def status(state_dir: StateOption = DEFAULT_STATE) -> None:
    """Show what runs, where, since when, how far it is behind and whether it is ready; exit code 1 unless all of it is."""
    state = state_of(state_dir)
    described = control.description(state)
    from fleet_cli.calls import rest_parts

    unready = run(_unready(described))
    parts = run(rest_parts(state))
    table = Table("part", "pid", "up", "memory", "where", "behind", "parked", "ready", box=None, pad_edge=False)
    wrong = None if control.is_up(state) else _UNWATCHED
    is_ready = wrong is None
    table.add_row(SUPERVISOR, *_process(_pid(state, SUPERVISOR)), "", "", "", wrong or "yes")
    for part, where, name in (
        ("kafka", "bootstrap", "kafka"),
        ("postgres", "url", "postgres"),
        ("redis", "url", "valkey"),
    ):
        pid = _pid(state, name)
        is_given = record_of(state, name) is None  # of a part that was given by URL there is no record
        wrong = None if pid or is_given else f"is down: `fleet logs {name}`"
        is_ready &= wrong is None
        ready = wrong or ("given by URL" if is_given else "yes")
        table.add_row(part, *_process(pid), _without_password(described[part][where]), "", "", ready)
    for name, service in described["services"].items():
        for instance in service["instances"]:
            wrong = _gave_up(name) if instance["gave_up"] else unready[instance["health_url"]]
            is_ready &= wrong is None
            who = f"{name}-{instance['ordinal']}"
            table.add_row(who, *_process(instance["pid"]), instance["url"], *_waiting(parts.get(who)), wrong or "yes")
    show(table)
    if not is_ready:
        raise typer.Exit(1)


def _gave_up(service: str) -> str:
    return f"died too often: `fleet logs {service}`; `fleet restart {service}` tries again"


def _waiting(part: RestPart | None) -> tuple[str, str]:
    """How far the process is behind in the subscription in which it is furthest, and the keys set aside."""
    if part is None:
        return "-", "-"
    if None in part.behind.values():
        return "?", str(len(part.parked))
    name, behind = max(part.behind.items(), key=lambda told: told[1].records if told[1] else 0, default=("", None))
    if behind is None or not behind.records:
        return "0", str(len(part.parked))
    age = "" if behind.seconds is None else f", {behind.seconds:.1f} s"
    return f"{behind.records} in {name.partition('.')[2]}{age}", str(len(part.parked))


async def _unready(described: dict[str, Any]) -> dict[str, str | None]:
    """Of each process's health, by URL, why it is not ready; None where it is."""
    import aiohttp

    urls = [i["health_url"] for service in described["services"].values() for i in service["instances"]]
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as client:

        async def one(url: str) -> str | None:
            try:
                async with client.get(url) as answer:
                    checks = (await answer.json(content_type=None)).get("checks", {})
            except (aiohttp.ClientError, TimeoutError, ValueError):
                return "does not answer"
            if answer.status == 200:
                return None
            return "; ".join(f"{name}: {said}" for name, said in checks.items() if said != "ok") or "no"

        return dict(zip(urls, await asyncio.gather(*map(one, urls)), strict=True))


def _pid(state: StateDir, name: str) -> int | None:
    process = running(state, name)
    return process.pid if process else None


def _process(pid: int | None) -> tuple[str, str, str]:
    if pid is None:
        return "-", "-", "-"
    try:
        process = psutil.Process(pid)
        minutes, seconds = divmod(int(time.time() - process.create_time()), 60)
        return str(pid), f"{minutes}:{seconds:02}", f"{process.memory_info().rss >> 20} MB"
    except psutil.NoSuchProcess:
        return str(pid), "-", "-"


def _without_password(url: str) -> str:
    return url.rsplit("@", 1)[-1]


def logs(
    service: Annotated[
        str, typer.Argument(help="trading, one of its processes (trading-1), kafka, …; without it, all.")
    ] = "",
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as it grows.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", help="How many of the last lines.")] = 100,
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Show the logs of a service, or of kafka, postgres, valkey, migrations, supervisor; of all, if none is named."""
    state = state_of(state_dir)
    found = sorted(state.logs.glob(f"{service}-[0-9]*.log" if service else "*.log"))
    found = found or [file for file in [state.log(service)] if file.exists()]
    if not found and not service:
        fail(f"There are no logs in {state.logs}", "Start a fleet with `fleet up`")
    if not found:
        there = ", ".join(sorted(file.stem for file in state.logs.glob("*.log"))) or "none"
        fail(f"There is no log of {service!r} in {state.logs}", f"There are: {there}")
    command = ["tail", "-n", str(lines), *(["-F"] if follow else []), *map(str, found)]
    with suppress(KeyboardInterrupt):
        raise typer.Exit(subprocess.run(command, check=False).returncode)  # noqa: S603 - files that we found


def restart(
    service: Annotated[str, typer.Argument(help="A service; its processes are restarted one after the other.")],
    state_dir: StateOption = DEFAULT_STATE,
) -> None:
    """Drain a service's processes one by one, kill what hangs, and wait until each is ready again."""
    state = state_of(state_dir)
    instances = control.description(state)["services"].get(service, {}).get("instances")
    if not instances:
        fail(f"No service {service!r} runs", f"There are: {', '.join(control.description(state)['services'])}")
    if not control.is_up(state):
        fail("The supervisor was killed: nobody would start it again", "`fleet up` starts all anew")
    for instance in instances:
        began = time.monotonic()
        _restart(state, service, instance)
        out.print(f"{service}-{instance['ordinal']} is ready again after {time.monotonic() - began:.1f} s")


def _restart(state: StateDir, service: str, instance: dict[str, Any]) -> None:
    from fleet_launcher.instance import READY_TIMEOUT_S

    if instance["pid"] is not None:
        with suppress(psutil.NoSuchProcess):
            _end(f"{service}-{instance['ordinal']}", psutil.Process(instance["pid"]))
    elif supervisor := running(state, SUPERVISOR):
        supervisor.send_signal(signal.SIGHUP)  # it had died too often and was given up
    deadline = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline:
        now = control.description(state)["services"][service]["instances"][instance["ordinal"]]
        if now["pid"] not in {None, instance["pid"]} and run(_is_ready(now["health_url"])):
            return
        time.sleep(0.2)
    raise LaunchFailure(f"{service}-{instance['ordinal']} was not ready again in time", f"See `fleet logs {service}`")


def _end(name: str, process: psutil.Process) -> None:
    """As `fleet down` ends it: asked to drain, and killed when it does not end for that."""
    from fleet_launcher.instance import DRAIN_TIMEOUT_S

    out.print(f"{name} is asked to drain, for {DRAIN_TIMEOUT_S:.0f} s at the most")
    process.terminate()
    if not ended([process], DRAIN_TIMEOUT_S):
        out.print(f"{name} (pid {process.pid}) hangs: killed with SIGKILL")
        process.kill()


async def _is_ready(url: str) -> bool:
    import aiohttp

    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as client, client.get(url) as answer:
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
