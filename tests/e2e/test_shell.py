"""The command against a whole fleet: what a newcomer pastes, and what an operator does."""

from __future__ import annotations

import asyncio
import html
import json
import os
import re
import subprocess
import sys
from decimal import Decimal

import aiohttp
import pytest
from fleet_cli.first_steps import curl_lines, new_user
from fleet_sdk.client import FleetClient
from fleet_sdk.problems import ApiError
from fleet_testkit.eventually import eventually
from orders_under_way import ENDED, market_order
from whole_fleet import User, WholeFleet, until_priced, until_status

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

EMAIL, PASSWORD = new_user()


def started(running: WholeFleet, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "fleet_cli.main", *words, "--state-dir", str(running.state.path)]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def shell(running: WholeFleet, *words: str, answer: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fleet_cli.main", *words, "--state-dir", str(running.state.path)],
        capture_output=True,
        text=True,
        input=answer,
        env={**os.environ, **environment},
        check=False,
    )


def test_the_five_curl_lines_run_as_pasted(fleet: WholeFleet) -> None:
    """register → login → buy → watch → cancel"""
    script = "\n".join(f"{line}\necho" for line in curl_lines(fleet.url, EMAIL, PASSWORD))
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.splitlines() if line]
    assert len(answers) == 4, done
    registered, placed, watched, canceled = answers
    assert registered["email"] == EMAIL
    assert placed["order_id"] == watched["order_id"]
    assert watched["status"] in {"pending_new", "new"} and watched["limit_price"] == "300"
    assert canceled["order_id"] == watched["order_id"]
    user = {"FLEET_EMAIL": EMAIL, "FLEET_PASSWORD": PASSWORD}
    bought = shell(fleet, "order", "buy", "AAPL/USD", "1", **user)
    assert bought.returncode == 0 and "buy AAPL/USD: filled, filled 1 of 1 at" in bought.stdout, bought
    entry = ("order", "buy", "AAPL/USD", "1", "--limit", "2", "--take-profit", "900", "--stop-loss", "1")
    bracket = shell(fleet, *entry, **user)
    assert bracket.returncode == 0 and "buy AAPL/USD: new, filled 0 of 1" in bracket.stdout, bracket
    trailing = shell(fleet, "order", "sell", "AAPL/USD", "1", "--trail", "50%", **user)
    assert trailing.returncode == 0 and "sell AAPL/USD: new, filled 0 of 1" in trailing.stdout, trailing
    both = shell(fleet, "order", "sell", "AAPL/USD", "1", "--trail", "5", "--stop", "1", **user)
    assert both.returncode == 1 and "one of --stop, --touch and --trail" in both.stderr
    asked = shell(fleet, "order", "buy", "AAPL/USD", "--notional", "1000", "--limit", "2", "--preview", **user)
    assert asked.returncode == 0 and asked.stdout.startswith("would be accepted\ncost: 1000 USD\nfee: 1 USD\n"), asked
    dear = shell(fleet, "order", "buy", "AAPL/USD", "--notional", "1000000", "--preview", **user)
    assert dear.returncode == 1 and dear.stdout.startswith("would be denied: "), dear
    worth = shell(fleet, "order", "buy", "AAPL/USD", "--notional", "1000", "--limit", "2", **user)
    assert worth.returncode == 0 and "buy AAPL/USD: new, filled 0 of 500" in worth.stdout, worth
    worked = shell(fleet, "order", "buy", "AAPL/USD", "2", "--over", "600", "--slices", "2", **user)
    assert worked.stdout.startswith("buy AAPL/USD: ") and " of 2" in worked.stdout, worked
    halved = shell(fleet, "order", "buy", "AAPL/USD", "2", "--over", "600", **user)
    assert halved.returncode == 1 and "--slices" in halved.stderr
    refused = shell(fleet, "order", "sell", "AAPL/USD", "2", **user)
    assert refused.returncode == 1 and refused.stderr.startswith("error: ")
    books = shell(fleet, "ledger", "verify")
    assert books.returncode == 0 and "the books hold" in books.stdout, books


async def test_the_lines_of_the_landing_page_run_as_pasted(fleet: WholeFleet, user: User) -> None:
    """register → login → buy → orders → portfolio"""
    await until_priced(user.client, "AAPL/USD")
    async with aiohttp.ClientSession() as session, session.get(fleet.url) as answer:
        shown = re.search("<pre><code>(.*)</code></pre>", await answer.text(), re.DOTALL)
    assert shown is not None
    script = html.unescape(re.sub("<[^>]+>", "", shown[1])).replace("http://localhost:8000", fleet.url)
    done = await asyncio.to_thread(subprocess.run, ["bash", "-c", script], capture_output=True, text=True, check=True)
    answers, rest = [], done.stdout.lstrip()
    while rest:
        told, end = json.JSONDecoder().raw_decode(rest)
        answers.append(told)
        rest = rest[end:].lstrip()
    registered, bought, orders, portfolio = answers
    assert registered["email"] == "ada@example.com"
    assert [order["order_id"] for order in orders["data"]] == [bought["order_id"]] and bought["quantity"] == "10"
    assert Decimal(portfolio["buying_power"]) < 100_000


@pytest.mark.long
def test_a_session_is_kept_until_it_ends(fleet: WholeFleet) -> None:
    """log in → order without password → a copied token is shown twice → log in again → log out"""
    order, sessions = ("order", "buy", "AAPL/USD", "1"), fleet.state.path / "sessions.json"
    email, password = new_user()
    asyncio.run(_registered(fleet.url, email, password))

    def kept() -> dict[str, str]:
        told: dict[str, str] = json.loads(sessions.read_text())[fleet.url]
        return told

    asked = shell(fleet, *order, "--email", email, answer=f"{password}\n")
    assert asked.returncode == 0 and f"Password of {email}" in asked.stdout, asked
    assert sessions.stat().st_mode & 0o777 == 0o600
    first = kept()
    assert first["email"] == email and password not in sessions.read_text()
    several = [started(fleet, *order) for _ in range(2)]
    assert [one.wait() for one in several] == [0, 0], "at the same time, with nothing asked"
    second = kept()
    assert second["refresh_token"] != first["refresh_token"]
    sessions.write_text(json.dumps({fleet.url: first}))
    again = shell(fleet, *order, answer=f"{password}\n")
    assert again.returncode == 0 and f"The session of {email} has ended" in again.stderr, again

    email, password = new_user()
    asyncio.run(_registered(fleet.url, email, password))
    other = shell(fleet, *order, "--email", email, "--password", password)
    assert other.returncode == 0 and kept()["email"] == email
    assert shell(fleet, "logout").stdout == f"{email} is logged out\n"
    assert shell(fleet, "logout").stdout == "nobody was logged in\n"
    assert shell(fleet, *order).returncode != 0, "nobody is there to be asked"


async def _registered(url: str, email: str, password: str) -> None:
    async with FleetClient(url) as client:
        await client.register(email, password)


def test_status_tells_all_processes_and_restart_drains_one(fleet: WholeFleet) -> None:
    before = fleet.pid("execution")
    done = shell(fleet, "restart", "execution")
    assert done.returncode == 0 and "execution-0 is ready again" in done.stdout, done
    assert fleet.pid("execution") != before
    told = shell(fleet, "status")
    assert told.returncode == 0, told
    for part in ("supervisor", "kafka", "postgres", "redis", "trading-0", "gateway-0", fleet.url):
        assert part in told.stdout
    assert "postgres:" not in told.stdout  # no password
    assert "already runs" in shell(fleet, "up").stderr


def test_an_admin_is_made_with_a_password_that_is_shown_once(fleet: WholeFleet) -> None:
    words = ("users", "create", "--email", "root@example.com", "--role", "admin")
    made = shell(fleet, *words, "--generate")
    assert made.returncode == 0, made
    assert json.loads(made.stdout)["roles"] == ["admin"] and len(json.loads(made.stdout)["password"]) > 16
    assert shell(fleet, *words, answer="another-good-password\n").returncode == 1


def test_a_symbol_is_halted_from_the_shell(fleet: WholeFleet) -> None:
    words = ("halt", "--reason", "a test", "--scope", "symbol")
    assert "--target is given" in shell(fleet, *words).stderr
    halted = shell(fleet, *words, "--target", "FB/USD")
    assert halted.returncode == 0, halted
    assert [line.split() for line in halted.stdout.splitlines()[1:]] == [
        [gate, "ok"] for gate in ("trading-0", "execution-0", "exchange-connector-0", "matching-engine-0")
    ]


async def test_what_the_shell_restricts_is_restricted_and_no_more_until_it_is_released(
    fleet: WholeFleet, user: User, other_user: User
) -> None:
    """halt --scope account, --scope venue, --reduce: of each what it restricts is refused with its code, the rest taken →
    an administrator resumes all three → everything is taken again"""
    await until_priced(user.client, "IBM/USD")
    for one in (user, other_user):
        assert await bought(one) == "filled"
    (account,) = await user.client.accounts()
    account_id, said = str(account["account_id"]), set[tuple[str, str | None]]()
    try:
        said.add(await restricted(fleet, "account", account_id))
        assert await bought(user) == await bought(user, side="sell") == "market_halted"
        assert await bought(other_user) == "filled"
        said.add(await restricted(fleet, "venue", "internal"))
        assert await bought(other_user, **RESTS) == "market_halted"
        assert await bought(other_user) == "filled"
        said.add(await restricted(fleet, "system", None, "--reduce"))
        assert await bought(other_user) == "market_reducing"
        assert await bought(other_user, side="sell") == "filled"
        assert await bought(user, side="sell") == "market_halted", "the stricter of two holds"
    finally:
        async with fleet.admin() as admin:
            await eventually(lambda: are_known(admin, said), timeout_s=30)
            for scope, target in said:
                body = {"scope": scope, "target": target, "action": "resume", "reason": "a test"}
                await admin.request("POST", "/risk/kill-switch", body)
    assert await bought(user) == await bought(other_user) == "filled"
    assert await bought(other_user, **RESTS) == "new"
    await other_user.client.request("DELETE", "/orders")
    # By itself, with nothing beside it: what an account holds is sold, and nothing bought.
    await restricted(fleet, "account", account_id, "--reduce")
    assert await bought(user) == "market_reducing"
    assert await bought(user, side="sell") == await bought(other_user) == "filled"


RESTS = {"venue": "internal", "type": "limit", "limit_price": "{below}"}


async def restricted(fleet: WholeFleet, scope: str, target: str | None, *words: str) -> tuple[str, str | None]:
    of = ("--scope", scope) if target is None else ("--scope", scope, "--target", target)
    halted = await asyncio.to_thread(shell, fleet, "halt", "--reason", "a test", *of, *words)
    assert halted.returncode == 0, halted
    assert {line.split()[1] for line in halted.stdout.splitlines()[1:]} == {"ok"}, halted
    return scope, target


async def bought(user: User, **changes: str) -> str:
    """How it went: a status once the market has answered, or the code of the refusal."""
    below = (await until_priced(user.client, "IBM/USD") * Decimal("0.97")).quantize(Decimal("0.01"))
    body = market_order("IBM/USD") | {name: value.format(below=below) for name, value in changes.items()}
    try:
        placed = await user.client.place_order(body)
    except ApiError as refused:
        return refused.code
    ended = await until_status(user.client, placed["order_id"], "new", *ENDED)
    if ended["status"] == "new" and body["type"] == "market":
        ended = await until_status(user.client, placed["order_id"], *ENDED)
    return str(ended["status"])


async def are_known(admin: FleetClient, said: set[tuple[str, str | None]]) -> bool:
    """Whether core-engine has found with the gates what the shell told them."""
    status = await admin.request("GET", "/system/status")
    return said <= {(one["scope"], one["target"]) for one in status["states"] if one["state"] != "active"}


@pytest.mark.long
def test_nothing_is_parked_and_databases_are_up_to_date(fleet: WholeFleet) -> None:
    listed = shell(fleet, "parked", "list")
    assert listed.stdout == "nothing is parked\n", listed
    skipped = shell(fleet, "parked", "skip", "trading", "reports", "execution.reports", "k", "--reason", "a test")
    assert skipped.returncode == 1 and "Nothing is set aside" in skipped.stderr
    assert "up to date" in shell(fleet, "migrate").stdout
    rest = shell(fleet, "rest")  # the simulated market moves all the time
    assert (rest.returncode == 0) == (rest.stdout == "at rest\n"), rest
    assert rest.returncode in {0, 1} and rest.stdout and not rest.stderr, rest
