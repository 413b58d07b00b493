"""What a newcomer can paste after `fleet up`."""

from __future__ import annotations

import json
import secrets

from fleet_launcher.options import Feed

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
        f"ORDER=$(curl -sS {api}/orders {bearer} {_body(_ORDER)} | tee /dev/stderr | {_field('order_id')})",
        f"curl -sS {api}/orders/$ORDER {bearer}",
        f"curl -sS -X DELETE {api}/orders/$ORDER {bearer}",
    ]


def first_steps(gateway_url: str, feed: Feed) -> str:
    """What is printed when the fleet is ready."""
    where = f"\n[bold]{gateway_url}[/]   API: [bold]{gateway_url}/docs[/]\n"
    if feed == "replay":
        return where + (
            "The market stands still until a replay is started: POST /api/v1/exchanges/paper/replays. "
            "[bold]fleet demo[/] shows one. Stop with [bold]fleet down[/].\n"
        )
    lines = "\n".join(curl_lines(gateway_url, *new_user()))
    return where + (
        "The market is SIMULATED. Register, log in, buy, watch, cancel:\n\n"
        f"{lines.replace('[', chr(92) + '[')}\n\n"
        "A market order fills at once: [bold]fleet order buy AAPL/USD 1[/]. Stop with [bold]fleet down[/].\n"
    )


def _body(content: dict[str, str]) -> str:
    return f"-H 'Content-Type: application/json' -d '{json.dumps(content, separators=(',', ':'))}'"


def _field(name: str) -> str:
    return f"""sed 's/.*"{name}":"\\([^"]*\\)".*/\\1/'"""
