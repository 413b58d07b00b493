"""For every operation of the interface a request that it takes, about things that are there, and who asks it."""

import json
import re
import secrets
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import aiohttp
import pyotp
from fleet_sdk.client import FleetClient
from fleet_sdk.problems import ApiError
from fleet_testkit.eventually import eventually
from merged_document import operations
from whole_fleet import User, WholeFleet, show_second_factor, until_priced, until_status

Json = dict[str, Any]

SYMBOL = "AAPL/USD"
ASKER = "TOKEN"
"""An administrator, who has shown a second factor just now: no operation refuses him for who he is."""
OF_OTHERS = {
    "POST /api/v1/auth/logout": "TOKEN_OF_WHO_LOGS_OUT",
    "DELETE /api/v1/auth/sessions": "TOKEN_OF_WHO_LEAVES",
    "DELETE /api/v1/auth/sessions/{session_id}": "TOKEN_OF_WHO_HAS_TWO_SESSIONS",
    "POST /api/v1/auth/mfa/totp": "TOKEN_WITHOUT_FACTOR",
    "POST /api/v1/auth/mfa/totp/verify": "TOKEN_WITH_HALF_A_FACTOR",
    "POST /api/v1/auth/mfa/step-up": "TOKEN_WITH_FACTOR",
    "POST /api/v1/auth/mfa/totp/disable": "TOKEN_WITH_FACTOR",
    "POST /api/v1/auth/password": "TOKEN_WITHOUT_FACTOR",
}
"""What ends the session that asks, or needs or takes away what belongs to a person."""

NOT_TAKEN = {
    "POST /api/v1/auth/email/verify": "a fleet that has addresses confirmed lets nobody log in at once: auth "
    "test_confirmations.py",
    "POST /api/v1/exchanges/paper/replays": "the feed is not a replay: test_replay.py",
    "GET /api/v1/exchanges/paper/replays/{replay_id}": "the same",
    "DELETE /api/v1/exchanges/paper/replays/{replay_id}": "the same: exchange-connector test_replays.py",
    "POST /api/v1/executions/reconciliations/{reconciliation_id}/accept": "no venue has forgotten an order: execution "
    "test_accepting.py",
}
"""What no request is good for on a fleet that has just begun, and which test has it taken."""


@dataclass(frozen=True)
class Request:
    """`body` is None where the operation takes none; `{"totp": secret}` in it stands for the code of the moment."""

    path_parameters: dict[str, str]
    body: Json | None = None


@dataclass(frozen=True)
class GoodRequests:
    """`tokens` by the names above; `requests` by operation, `METHOD /path/{template}`; `people`: the ids of those whose tokens
    they are, who are not to be changed while they ask."""

    tokens: dict[str, str]
    requests: dict[str, Request]
    people: list[str]

    async def ask(
        self,
        http: aiohttp.ClientSession,
        operation: str,
        body: Any = None,
        *,
        token: str | None = None,
        path_parameters: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Status and body of what the operation answers to the good request with another body, caller, or id in its path."""
        method, template = operation.split(" ")
        path = template.format_map(self.requests[operation].path_parameters | dict(path_parameters or {}))
        headers = {"Authorization": f"Bearer {token or self.tokens[OF_OTHERS.get(operation, ASKER)]}"}
        async with http.request(method, path, json=body, headers=headers) as answer:
            is_json = answer.content_type.endswith("json")
            return answer.status, await (answer.json() if is_json else answer.text())


def filled(body: Any) -> Any:
    """The body as it is sent at this moment."""
    if isinstance(body, dict):
        return pyotp.TOTP(body["totp"]).now() if set(body) == {"totp"} else {k: filled(v) for k, v in body.items()}
    return [filled(part) for part in body] if isinstance(body, list) else body


async def good_requests(fleet: WholeFleet, document: Json, stack: AsyncExitStack) -> GoodRequests:
    """Makes one of everything that operations are about. An operation that is new gets the example that the document gives
    for its body, and in its path ids by their names."""
    asker = await stack.enter_async_context(fleet.admin())
    people = await _people(fleet, stack)
    ids, bodies = await _things(asker)
    theirs, their_bodies = await _of_people(fleet, people)
    made = {}
    for operation, told in operations(document).items():
        names = re.findall(r"\{(\w+)\}", operation)
        known = ids[""] | ids.get(operation, {}) | theirs.get(operation, {})
        content = told.get("requestBody", {}).get("content", {})
        body = None
        if content:
            body = _example(content["application/json"]) | (bodies | their_bodies).get(operation, {})
        made[operation] = Request({name: known.get(name) or str(uuid4()) for name in names}, body)
    tokens = {ASKER: await _token(asker)} | {name: await _token(user.client) for name, user in people.items()}
    clients = [asker, *(user.client for user in people.values())]
    return GoodRequests(tokens, made, [(await client.me())["user_id"] for client in clients])


def _example(media: Json) -> Json:
    example: Json = media["example"] if "example" in media else next(iter(media["examples"].values()))["value"]
    return example


async def _token(client: FleetClient) -> str:
    return (await client._authorization())["Authorization"].removeprefix("Bearer ")


async def _people(fleet: WholeFleet, stack: AsyncExitStack) -> dict[str, User]:
    return {name: await stack.enter_async_context(fleet.user()) for name in sorted({*OF_OTHERS.values()})}


async def _things(client: FleetClient) -> tuple[dict[str, dict[str, str]], dict[str, Json]]:
    """Ids in paths, by operation (`""`: of all others), and members of bodies that the document's examples lack."""
    price = await until_priced(client, SYMBOL)
    # In an account of their own they are not canceled by who cancels all his orders.
    account, emptied = [
        (await client.request("POST", "/accounts", {"name": name, "kind": "paper"}))["account_id"]
        for name in ("of what is used", "of what is reset")
    ]
    default = (await client.portfolio())["account_id"]

    async def order(**more: Any) -> str:
        wanted = {"symbol": SYMBOL, "side": "buy", "type": "market", "quantity": "1", "account_id": account}
        order_id: str = (await client.place_order(wanted | more))["order_id"]
        return order_id

    async def filled_order() -> tuple[str, str]:
        """The order, and its trade as the venue names it."""
        order_id = await order()
        await until_status(client, order_id, "filled")

        async def fills() -> list[Json]:
            shown = await client.request("GET", f"/executions/{order_id}")
            return [fill for one in shown["venue_orders"] for fill in one["fills"]]

        return order_id, (await eventually(fills))[0]["venue_trade_id"]

    # It rests, and is within the band of prices that a venue takes.
    low = {"type": "limit", "limit_price": str(round(price * Decimal("0.95"), 2))}
    (order_id, trade), (_, other_trade) = await filled_order(), await filled_order()
    worked = await order(quantity="100", algo={"type": "twap", "duration_s": 3600, "slices": 60})
    await until_status(client, worked, "partially_filled")
    # A book is shown once something has happened in it.
    await order(venue="internal", **low)
    await eventually(lambda: _has_book(client))
    strategy, spare = [
        (await client.create_strategy({"name": name, "kind": "builtin", "builtin": "sma_cross"}))["strategy_id"]
        for name in ("used", "spare")
    ]
    wanted = {
        "strategy_id": strategy,
        "symbols": ["GOOG/USD"],
        "timeframe": "1m",
        "mode": "paper",
        "account_id": emptied,
    }
    key = await client.request("POST", "/auth/api-keys", {"name": "Spare", "scopes": ["read"]})
    ids = {
        "": {
            "symbol": SYMBOL.replace("/", "-"),
            "day": datetime.now(UTC).date().isoformat(),
            "action": "pause",
            "account_id": account,
            "order_id": order_id,
            "strategy_id": strategy,
            "deployment_id": (await client.create_deployment(wanted))["deployment_id"],
            "api_key_id": key["api_key_id"],
        },
        "PATCH /api/v1/orders/{order_id}": {"order_id": await order(**low)},
        "DELETE /api/v1/orders/{order_id}": {"order_id": await order(**low)},
        "POST /api/v1/executions/{order_id}/pause": {"order_id": worked},
        "POST /api/v1/executions/{order_id}/resume": {"order_id": worked},
        "POST /api/v1/accounts/{account_id}/reset": {"account_id": emptied},
        "DELETE /api/v1/strategies/{strategy_id}": {"strategy_id": spare},
        "POST /api/v1/exchanges/paper/trades/{venue_trade_id}/bust": {"venue_trade_id": trade},
        "POST /api/v1/exchanges/paper/trades/{venue_trade_id}/correct": {"venue_trade_id": other_trade},
    }
    bodies: dict[str, Json] = {
        "POST /api/v1/orders": low,
        # One order, so that none of a batch is taken where a member of it is not.
        "POST /api/v1/orders/batch": {"orders": [{"symbol": SYMBOL, "side": "buy", "quantity": "1"} | low]},
        "POST /api/v1/deployments": {"strategy_id": strategy},
        # Whoever asks after these is to find a market that moves, and an account that trades.
        "POST /api/v1/exchanges/paper/feed": {"action": "resume"},
        "POST /api/v1/risk/kill-switch": {"target": account, "action": "resume"},
        "PUT /api/v1/risk/limits": {"target": emptied},
        "POST /api/v1/transfers": {"from_account_id": default, "to_account_id": account, "amount": "1"},
        "POST /api/v1/exchanges/paper/trades/{venue_trade_id}/correct": {"price": str(price)},
    }
    return ids, bodies


async def _has_book(client: FleetClient) -> bool:
    try:
        await client.request("GET", f"/markets/{SYMBOL.replace('/', '-')}/order-book")
    except ApiError as error:
        assert error.code == "book_not_ready"
        return False
    return True


async def _of_people(
    fleet: WholeFleet, people: Mapping[str, User]
) -> tuple[dict[str, dict[str, str]], dict[str, Json]]:
    """The same, of what only these people have: tokens, codes and sessions."""
    bare, has_factor = people["TOKEN_WITHOUT_FACTOR"], people["TOKEN_WITH_FACTOR"]
    other = people["TOKEN_WITH_HALF_A_FACTOR"]
    begun = await other.client.request("POST", "/auth/mfa/totp")
    await show_second_factor(has_factor.client)
    codes = (await has_factor.client.request("POST", "/auth/mfa/recovery-codes"))["recovery_codes"]
    first_step = await _login(fleet, has_factor)
    two = people["TOKEN_OF_WHO_HAS_TWO_SESSIONS"]
    await _login(fleet, two)
    sessions = (await two.client.request("GET", "/auth/sessions"))["data"]
    forgetful = people["TOKEN_OF_WHO_LOGS_OUT"]
    await forgetful.client.request("POST", "/auth/password/forgot", {"email": forgetful.email})
    async with fleet.user() as changed:
        user_id = (await changed.client.me())["user_id"]
    ids = {
        "DELETE /api/v1/auth/sessions/{session_id}": {
            "session_id": next(one["session_id"] for one in sessions if not one["is_current"])
        },
        "PATCH /api/v1/users/{user_id}": {"user_id": user_id},
    }
    bodies: dict[str, Json] = {
        "POST /api/v1/auth/register": {"email": f"new-{secrets.token_hex(6)}@example.com", "password": bare.password},
        "POST /api/v1/auth/login": {"email": other.email, "password": other.password},
        "POST /api/v1/auth/login/mfa": {"mfa_token": first_step["mfa_token"], "code": codes[0]},
        "POST /api/v1/auth/mfa/step-up": {"code": codes[1]},
        "POST /api/v1/auth/mfa/totp/disable": {"code": codes[2]},
        "POST /api/v1/auth/mfa/totp/verify": {"code": {"totp": begun["secret"]}},
        "POST /api/v1/auth/password": {
            "current_password": bare.password,
            "new_password": bare.password + bare.password,
        },
        "POST /api/v1/auth/password/forgot": {"email": bare.email},
        "POST /api/v1/auth/password/reset": {
            "token": await eventually(lambda: _mailed(fleet, forgetful)),
            "new_password": bare.password,
        },
        "POST /api/v1/auth/refresh": {"refresh_token": (await _login(fleet, other))["refresh_token"]},
    }
    return ids, bodies


async def _login(fleet: WholeFleet, user: User) -> Json:
    """Another session than that of the user's client."""
    async with FleetClient(fleet.url) as client:
        credentials = {"email": user.email, "password": user.password}
        answer: Json = await client.request("POST", "/auth/login", credentials, authorized=False)
    return answer


async def _mailed(fleet: WholeFleet, user: User) -> str | None:
    """The token of the last mail to the user; None while there is none."""
    if not fleet.state.mail.exists():
        return None
    # What follows the last newline is being written.
    mails = [json.loads(line) for line in fleet.state.mail.read_text().split("\n")[:-1]]
    return next((mail["token"] for mail in reversed(mails) if mail["to"] == user.email and mail["token"]), None)
