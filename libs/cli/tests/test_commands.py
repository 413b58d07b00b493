"""The command where no fleet runs."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from fleet_cli.calls import parked_keys
from fleet_cli.console import show
from fleet_cli.doctor import disk, jars, port, python
from fleet_cli.first_steps import curl_lines
from fleet_cli.main import app
from fleet_launcher.failure import LaunchFailure
from fleet_launcher.keys import COMMAND_KEY, ensure_keys
from fleet_launcher.leftovers import LOCK
from fleet_launcher.places import StateDir
from fleet_launcher.postgres import user_namespace_works
from fleet_launcher.processes import record
from fleet_launcher.services import SERVICES
from fleet_testkit.http import served
from rich.table import Table
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from typer.testing import CliRunner, Result

BOOK = ["ledger", "book", "00000000-0000-4000-8000-000000000001", "fee", "-3", "--reference", "a test"]


def fleet(*words: str, state: Path, answer: str = "") -> Result:
    return CliRunner().invoke(app, [*words, "--state-dir", str(state)], input=answer)


@pytest.mark.parametrize(
    "words",
    [["status"], ["rest"], ["parked", "list"], ["ledger", "verify"], BOOK, ["audit", "verify"], ["restart", "trading"]],
)
def test_what_needs_a_fleet_says_that_none_runs(words: list[str], tmp_path: Path) -> None:
    done = fleet(*words, state=tmp_path)
    assert done.exit_code == 1
    assert done.stderr == f"error: No fleet runs in {tmp_path}. Start one with `fleet up`.\n"


def test_down_is_content_with_nothing_and_reset_asks(tmp_path: Path) -> None:
    assert fleet("down", state=tmp_path / "none").stdout == "no fleet was running\n"
    (tmp_path / "kafka").mkdir()
    (tmp_path / "jars").mkdir()
    StateDir(tmp_path).mail.touch()
    refused = fleet("reset", state=tmp_path, answer="n\n")
    assert refused.exit_code == 1 and "Nothing was deleted" in refused.stderr
    assert (tmp_path / "kafka").exists()
    assert fleet("reset", state=tmp_path, answer="y\n").exit_code == 0
    assert not (tmp_path / "kafka").exists() and not StateDir(tmp_path).mail.exists() and (tmp_path / "jars").exists()


@pytest.mark.parametrize("torn", ["", '{"kafka": {"boots'])
def test_a_torn_description_is_one_line_and_keeps_nobody_from_stopping_what_runs(torn: str, tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.prepare()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as trading:
        record(state, "trading-0", trading.pid)
        state.fleet_json.write_text(torn)
        told = fleet("status", state=tmp_path)
        assert told.exit_code == 1 and told.stderr.count("\n") == 1
        assert told.stderr.startswith(f"error: {state.fleet_json} is torn") and "`fleet down`" in told.stderr
        assert fleet("down", state=tmp_path).stdout.startswith("stopped in") and trading.poll() is not None
    state.fleet_json.write_text(torn)
    assert "No fleet runs" in fleet("status", state=tmp_path).stderr


def test_status_of_a_fleet_without_supervisor_and_kafka_says_so(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.prepare()
    ensure_keys(state, [])
    described = {"kafka": {"bootstrap": "127.0.0.1:1"}, "postgres": {"url": "postgresql://me:secret@127.0.0.1:2/x"}}
    state.keep("fleet.json", {**described, "redis": {"url": "redis://other:3"}, "services": {}})
    record(state, "postgres", os.getpid())
    (state.run / "kafka.json").write_text('{"pid": 1, "started": "another boot 1000"}')
    done = fleet("status", state=tmp_path)
    assert done.exit_code == 1
    told = {line.split()[0]: line.rstrip() for line in done.stdout.splitlines()}
    assert "was killed" in told["supervisor"] and "is down: `fleet logs kafka`" in told["kafka"]
    assert told["postgres"].split()[-2:] == ["127.0.0.1:2/x", "yes"] and told["redis"].endswith("given by URL")
    with state.locked(LOCK, timeout_s=0):  # as a supervisor that lives
        assert fleet("status", state=tmp_path).exit_code == 1
        record(state, "kafka", os.getpid())
        assert fleet("status", state=tmp_path).exit_code == 0


def test_nothing_is_stopped_that_nobody_would_start_again(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.prepare()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as trading:
        record(state, "trading-0", trading.pid)
        instance = {"ordinal": 0, "pid": trading.pid, "url": "http://127.0.0.1:1", "health_url": "http://127.0.0.1:1"}
        state.keep("fleet.json", {"services": {"trading": {"instances": [instance]}}})
        done = fleet("restart", "trading", state=tmp_path)
        assert (done.exit_code, trading.poll()) == (1, None)
        assert done.stderr.startswith("error: The supervisor was killed")
        trading.communicate(b"\n")


async def test_who_cannot_tell_what_is_parked_hides_nothing_of_the_others(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.prepare()
    ensure_keys(state, [COMMAND_KEY])
    record(state, "auth-0", os.getpid())
    state.keep("fleet.json", {"services": {}})

    async def told(request: Request) -> Response:
        if request.path_params["name"] == "auth":
            return JSONResponse({"detail": "The database is away."}, 503)
        return JSONResponse({"data": [{"key": request.path_params["name"]}]})

    async with served(Starlette(routes=[Route("/{name}/internal/parked", told)])) as url:
        services = [known.name for known in SERVICES if known.has_database]
        instances = [{"name": name, "ordinal": 0, "url": f"{url}/{name}"} for name in services]
        state.keep("instances.json", {"instances": instances})
        rows, silent = await parked_keys(state)
    assert rows == [(name, {"key": name}) for name in services if name != "auth"]
    assert silent == ["auth: The database is away."]


def test_a_service_that_cannot_be_asked_is_one_line(tmp_path: Path) -> None:
    state = StateDir(tmp_path)
    state.prepare()
    ensure_keys(state, [COMMAND_KEY])
    record(state, "trading-0", os.getpid())
    nowhere = {"url": "kafka://me:secret@127.0.0.1:1"}
    state.keep("fleet.json", {"services": {}, "kafka": nowhere, "postgres": nowhere, "redis": nowhere})
    state.keep("options.json", {"feed": "simulated"})
    state.keep("instances.json", {"instances": [{"name": "trading", "ordinal": 0, "url": "http://127.0.0.1:1"}]})
    booked, verified = fleet(*BOOK, state=tmp_path), fleet("ledger", "verify", state=tmp_path)
    assert booked.exit_code == verified.exit_code == 1
    assert booked.stderr.startswith("error: trading-0") and "say the same again" in booked.stderr
    assert verified.stderr.startswith("error: The books could not be read. "), verified.stderr
    assert booked.stderr.count("\n") == verified.stderr.count("\n") == 1
    assert not booked.stdout and not verified.stdout
    key = ["trading", "trading.users", "auth.users", "a user"]
    replayed = fleet("parked", "replay", *key, state=tmp_path)
    skipped = fleet("parked", "skip", *key, "--reason", "a test", state=tmp_path)
    for done in (replayed, skipped):  # of very many messages it is not done when the command has waited long enough
        assert done.exit_code == 1 and done.stderr.count("\n") == 1
        assert done.stderr.startswith("error: trading-0") and "see `fleet parked list`" in done.stderr
    assert "another skip drops the next message" in skipped.stderr
    looked = fleet("rest", state=tmp_path)
    assert looked.exit_code == 1
    assert looked.stderr.startswith("error: Kafka does not answer") and looked.stderr.count("\n") == 1, looked.stderr


def test_what_is_listed_is_whole_however_narrow_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["execution.reports", "exchange-connector.market-data", "d" * 60, "a reason of several words " * 5]
    table = Table(*(str(number) for number in range(4)), box=None)
    table.add_row(*words)
    show(table)
    assert capsys.readouterr().out.splitlines()[1].split() == " ".join(words).split()


@pytest.mark.parametrize(
    ("scope", "target", "remedy"),
    [("symbol", "aapl", "--target AAPL/USD"), ("account", "mine", "--target "), ("venue", "papr", "paper, internal")],
)
def test_a_halt_of_what_cannot_be_is_no_halt(scope: str, target: str, remedy: str, tmp_path: Path) -> None:
    done = fleet("halt", "--reason", "a test", "--scope", scope, "--target", target, state=tmp_path)
    assert done.exit_code == 1
    assert done.stderr.startswith(f"error: Nothing is stopped: '{target}' is no {scope}. ") and remedy in done.stderr


def test_the_command_does_not_wait_for_what_it_does_not_use() -> None:
    program = "import sys, fleet_cli.main; print(*(name for name in ('fleet_bus', 'fastapi', 'aiohttp') if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_who_has_no_name_is_a_number() -> None:
    if not user_namespace_works():
        pytest.skip("only a user namespace makes a user without a name")
    command = ["env", "-u", "LOGNAME", "-u", "USER", "-u", "LNAME", "-u", "USERNAME", "unshare", "--user"]
    program = "from fleet_cli.console import operator; print(operator())"
    done = subprocess.run(
        [*command, "--map-user=54321", sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.stdout == "uid-54321\n", done


def test_wrong_words_are_one_line(tmp_path: Path) -> None:
    done = fleet("up", "--replicas", "trading", state=tmp_path)
    assert done.exit_code == 1
    assert done.stderr == "error: 'trading' does not say how many replicas. Write it as trading=2.\n"
    for size in ((), ("1", "--notional", "1000")):
        done = fleet("order", "buy", "AAPL/USD", *size, state=tmp_path)
        assert done.exit_code == 1 and "a quantity or --notional, one of the two" in done.stderr
    done = fleet("logs", "tradng", state=tmp_path)
    assert done.exit_code == 1 and "There is no log of 'tradng'" in done.stderr


def test_the_curl_lines_show_every_answer_also_where_all_goes_into_a_file(tmp_path: Path) -> None:
    curl, told = tmp_path / "curl", tmp_path / "told"
    curl.write_text("""#!/bin/sh\necho '{"order_id":"o-1","access_token":"t-1","asked":"'"$2"'"}'\n""")
    curl.chmod(0o755)
    script = "\n".join(curl_lines("http://g", "ada@example.com", "a password"))
    with told.open("w") as file:
        subprocess.run(
            ["sh", "-c", script], env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, stdout=file, stderr=file, check=True
        )
    asked = [json.loads(line)["asked"].removeprefix("http://g/api/v1") for line in told.read_text().splitlines()]
    assert asked == ["/auth/register", "/orders", "/orders/o-1", "-X"]


def test_the_curl_lines_are_plain_shell() -> None:
    lines = curl_lines("http://127.0.0.1:8000", "ada@example.com", "a password")
    assert len(lines) == 5
    for line in lines:
        assert shlex.split(line)  # quotes are balanced
        assert subprocess.run(["sh", "-n", "-c", line], check=False).returncode == 0
    answer = '{"access_token":"abc.def","refresh_token":"x","expires_in":300}'
    pipe = lines[1].rsplit(" | ", 1)[1].removesuffix(")")
    assert (
        subprocess.run(["sh", "-c", pipe], input=answer, capture_output=True, text=True, check=True).stdout == "abc.def"
    )


def test_doctor_names_what_stands_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(LaunchFailure, match=r"Python is 3\.10\. Install"):
        python((3, 10))
    with pytest.raises(LaunchFailure, match="Run `make setup`"):
        jars(tmp_path)
    assert "GB free" in disk(StateDir(tmp_path / "not" / "yet"))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(LaunchFailure, match="--port-offset"):
            port(StateDir(tmp_path), taken.getsockname()[1] - 8000)
