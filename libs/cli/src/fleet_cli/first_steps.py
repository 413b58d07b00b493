"""What a newcomer can paste after `fleet up`."""

from __future__ import annotations

import json
import secrets
import shlex
import shutil

from fleet_launcher.options import Feed
from fleet_launcher.places import SHARED, StateDir
from rich.markup import escape

# Far below the market, so that there is something left to watch and to cancel.
_ORDER = {"symbol": "AAPL/USD", "side": "buy", "type": "limit", "quantity": "1", "limit_price": "300"}


def new_user() -> tuple[str, str]:
    """An address and a password for the lines below, other ones each time, so that they run after every start."""
    return f"ada-{secrets.token_hex(3)}@example.com", secrets.token_urlsafe(12)


def curl_lines(gateway_url: str, email: str, password: str) -> list[str]:
    """Register, login, buy, watch, cancel: plain sh and curl, to be run in this order in one shell."""
    api = f"{gateway_url}/api/v1"
    login = _body({"email": email, "password": password})
    bearer = '-H "Authorization: Bearer $TOKEN"'
    return [
        f"curl -sS {api}/auth/register {login}",
        f"TOKEN=$(curl -sS {api}/auth/login {login} | {_field('access_token')})",
        f'BOUGHT=$(curl -sS {api}/orders {bearer} {_body(_ORDER)}); echo "$BOUGHT"; '
        f'ORDER=$(echo "$BOUGHT" | {_field("order_id")})',
        f"curl -sS {api}/orders/$ORDER {bearer}",
        f"curl -sS -X DELETE {api}/orders/$ORDER {bearer}",
    ]


def first_steps(state: StateDir, gateway_url: str, feed: Feed) -> str:
    """What is printed when the fleet is ready."""
    fleet = "fleet" if shutil.which("fleet") else ".venv/bin/fleet"
    where_it_lies = "" if state.path == SHARED.resolve() else f" --state-dir {shlex.quote(str(state.path))}"

    def command(words: str) -> str:
        return f"[bold]{escape(f'{fleet} {words}{where_it_lies}')}[/]"

    where = f"\n[bold]{gateway_url}[/]   API: [bold]{gateway_url}/docs[/]\n"
    if feed == "replay":
        return where + (
            "The market stands still until a replay is started: POST /api/v1/exchanges/paper/replays. "
            f"[bold]{fleet} demo[/] shows one. Stop with {command('down')}.\n"
        )
    email, password = new_user()
    lines = "\n".join(curl_lines(gateway_url, email, password))
    return where + (
        "The market is SIMULATED. Register, log in, buy, watch, cancel:\n\n"
        f"{escape(lines)}\n\n"
        f"A market order fills at once: {command(f'order buy AAPL/USD 1 --email {email}')}\n"
        f"It asks once for the password of the lines above. Stop with {command('down')}.\n"
    )


def _body(content: dict[str, str]) -> str:
    return f"-H 'Content-Type: application/json' -d '{json.dumps(content, separators=(',', ':'))}'"


def _field(name: str) -> str:
    return f"""sed 's/.*"{name}":"\\([^"]*\\)".*/\\1/'"""
