"""Every public route × who calls, and × whose it is: generated from what the routes declare and the document tells."""

import asyncio
import contextlib
import json
import re
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
import pytest_asyncio
from fleet_auth.domain import SCOPES
from fleet_chassis.assertions import AssertionSigner
from fleet_chassis.permissions import LOGIN, RoutePermission
from fleet_contracts.vocabulary import Role
from fleet_gateway.routes import PUBLIC
from fleet_launcher.admin import run_admin
from fleet_routes import PUBLIC_ROUTES
from fleet_sdk.client import FleetClient
from fleet_sdk.signing import ApiKey
from fleet_testkit.eventually import eventually
from merged_document import members
from whole_fleet import WholeFleet, show_second_factor, until_priced
from yarl import URL

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

PARAMETERS = {"symbol": "AAPL-USD", "day": "2026-01-05", "action": "stop"}
"""In paths, where they are no ids."""
ENDS_SESSIONS = {("POST", "/api/v1/auth/logout"), ("DELETE", "/api/v1/auth/sessions")}
"""Would be the last that a caller is let in to."""

NOBODY = "nobody"
READING_KEY = "API key that reads"
CALLERS = [NOBODY, *SCOPES, READING_KEY]


@dataclass(frozen=True)
class Answer:
    status: int
    body: Any

    @property
    def code(self) -> str | None:
        return self.body.get("code") if isinstance(self.body, dict) else None


@dataclass
class Caller:
    """Somebody at the gateway; a key signs its requests."""

    url: str
    scopes: tuple[str, ...] = ()
    user_id: UUID | None = None
    headers: dict[str, str] = field(default_factory=dict)
    key: ApiKey | None = None

    async def call(self, method: str, path: str, body: Any = None, base: str | None = None, **more: str) -> Answer:
        url = URL((base or self.url) + path, encoded=True)
        content = b"" if method == "GET" else json.dumps({} if body is None else body).encode()
        headers = self.headers | {"Content-Type": "application/json"} | more
        if self.key is not None and base is None:
            headers |= self.key.headers(method, url.raw_path_qs, content)
        async with aiohttp.request(method, url, data=content, headers=headers) as response:
            text = await response.read()
            is_json = "json" in response.headers.get("Content-Type", "")
            return Answer(response.status, json.loads(text) if text and is_json else text.decode())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def callers(fleet: WholeFleet) -> AsyncIterator[dict[str, Caller]]:
    found = {NOBODY: Caller(fleet.url)}
    async with contextlib.AsyncExitStack() as stack:
        # The administrator first: he gives the others their roles.
        for role in sorted(SCOPES, key=lambda role: role is not Role.ADMIN):
            client = await stack.enter_async_context(FleetClient(fleet.url, timeout_s=30))
            email, password = f"{role}-{secrets.token_hex(6)}@example.com", secrets.token_urlsafe(16)
            if role is Role.ADMIN:
                arguments = ["create-user", "--email", email, "--role", role]
                made = await asyncio.to_thread(run_admin, fleet.state, "auth", arguments, stdin=password + "\n")
                assert made.returncode == 0, made.stderr
            else:
                path = f"/api/v1/users/{(await client.register(email, password))['user_id']}"
                changed = await found[Role.ADMIN].call("PATCH", path, {"roles": [role]})
                assert changed.status == 200, changed.body
            await client.login(email, password)
            if role is Role.ADMIN:
                await show_second_factor(client)
            user_id = UUID((await client.me())["user_id"])
            found[role] = Caller(fleet.url, SCOPES[role], user_id, await client._authorization())
        user = await stack.enter_async_context(fleet.user())
        await show_second_factor(user.client)
        made = await user.client.request("POST", "/auth/api-keys", {"name": "reads", "scopes": ["read"]})
        user_id = UUID((await user.client.me())["user_id"])
        found[READING_KEY] = Caller(fleet.url, ("read",), user_id, key=ApiKey(made["key"], made["secret"]))
        yield found


def refusal(route: RoutePermission, caller: str, scopes: tuple[str, ...]) -> str | None:
    """The code with which this caller is refused; None if he is let in."""
    if route.path.encode() in PUBLIC:
        return None
    if caller == NOBODY:
        return "unauthenticated"
    if route.permission == "any user":
        return None
    if route.permission == LOGIN:
        return "session_required" if caller == READING_KEY else None
    return None if route.permission in scopes else "insufficient_scope"


GUARDS = {"unauthenticated", "insufficient_scope", "session_required", "invalid_assertion"}


def concrete(path: str) -> str:
    """A path of nothing that exists."""
    return re.sub(r"\{(\w+)\}", lambda found: PARAMETERS.get(found[1]) or str(uuid4()), path)


@pytest.mark.parametrize("name", CALLERS)
async def test_each_route_takes_whom_it_declares_and_nobody_else(callers: dict[str, Caller], name: str) -> None:
    """Refused: with that code. Let in: an empty body is judged, or what does not exist looked for; nothing fails."""
    caller = callers[name]
    wrong = []
    for _, route in PUBLIC_ROUTES:
        wanted = refusal(route, name, caller.scopes)
        if wanted is None and (route.method, route.path) in ENDS_SESSIONS:
            continue
        answer = await caller.call(route.method, concrete(route.path))
        if wanted is None:
            is_right = answer.status != 500 and answer.code not in GUARDS
        else:
            is_right = (answer.status, answer.code) == (401 if wanted == "unauthenticated" else 403, wanted)
        if not is_right:
            wrong.append((route.method, route.path, wanted, answer))
    assert not wrong, "\n".join(map(str, wrong))


@pytest.mark.parametrize("name", [name for name in CALLERS if name != NOBODY])
async def test_each_service_refuses_by_itself_whom_its_routes_do_not_take(
    fleet: WholeFleet, callers: dict[str, Caller], name: str
) -> None:
    """The same, with the gateway's word for who it is, and without its own look at the scope."""
    caller, wrong = callers[name], []
    signer = AssertionSigner("gateway", fleet.state.private_key("gateway"))
    claims: dict[str, object] = {"sub": caller.user_id, "roles": [], "scopes": caller.scopes, "sid": "another"}
    if name == READING_KEY:
        claims["api_key_id"] = uuid4()
    for service, route in PUBLIC_ROUTES:
        wanted = refusal(route, name, caller.scopes)
        if wanted is not None:
            assertion = f"Bearer {signer.sign(service, claims)}"
            base = fleet.instance_url(service)
            answer = await caller.call(route.method, concrete(route.path), base=base, Authorization=assertion)
            if (answer.status, answer.code) != (403, wanted):
                wrong.append((service, route, wanted, answer))
    assert not wrong, "\n".join(map(str, wrong))


# -- whose it is ---------------------------------------------------------------------------------------------------

THEIRS, MINE = "(an id of another's)", "(an account of one's own)"
OWNED = {
    "account_id": "/api/v1/accounts/{}/balances",
    "order_id": "/api/v1/orders/{}",
    "strategy_id": "/api/v1/strategies/{}",
    "deployment_id": "/api/v1/deployments/{}",
    "session_id": None,
    "api_key_id": None,
}
"""What belongs to a user, and where he sees it alone."""
ALIASES = {"from_account_id": "account_id", "to_account_id": "account_id", "target": "account_id"}
OF_ALL = {"replay_id", "user_id", "client_order_id", "venue_trade_id", "reconciliation_id"}
"""Ids of what belongs to nobody, is an administrator's, or is the client's own."""
ORDER = {"symbol": "AAPL/USD", "side": "buy", "type": "market", "quantity": "1", "client_order_id": "one"}
DEPLOYMENT = {"symbols": ["AAPL/USD"], "timeframe": "1m", "mode": "paper"}
SENT: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("POST", "/api/v1/orders"): [ORDER | {"account_id": THEIRS}],
    ("POST", "/api/v1/orders/batch"): [{"orders": [ORDER | {"account_id": THEIRS}]}],
    ("POST", "/api/v1/orders/preview"): [ORDER | {"account_id": THEIRS}],
    ("POST", "/api/v1/orders/cancel-after"): [{"timeout_s": 60, "account_id": THEIRS}],
    ("PATCH", "/api/v1/orders/{order_id}"): [{"quantity": "2"}],
    ("POST", "/api/v1/transfers"): [
        {"currency": "USD", "amount": "1", "from_account_id": THEIRS, "to_account_id": MINE},
        {"currency": "USD", "amount": "1", "from_account_id": MINE, "to_account_id": THEIRS},
    ],
    ("PUT", "/api/v1/risk/limits"): [{"scope": "account", "target": THEIRS, "limits": {"max_order_notional": "1"}}],
    ("POST", "/api/v1/risk/kill-switch"): [{"scope": "account", "target": THEIRS, "action": "halt", "reason": "envy"}],
    ("PATCH", "/api/v1/strategies/{strategy_id}"): [{"name": "mine"}],
    ("POST", "/api/v1/deployments"): [
        DEPLOYMENT | {"strategy_id": THEIRS},
        DEPLOYMENT | {"strategy_id": THEIRS, "account_id": THEIRS},
    ],
}
"""Bodies that would be taken, were the ids in them one's own."""

Operation = tuple[str, str, dict[str, Any]]


def owned(name: str) -> str | None:
    name = ALIASES.get(name, name)
    return name if name in OWNED else None


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def document(fleet: WholeFleet) -> dict[str, Any]:
    async with aiohttp.request("GET", f"{fleet.url}/api/v1/openapi.json") as response:
        told: dict[str, Any] = await response.json()
    return told


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def body_members(operation: dict[str, Any], document: dict[str, Any]) -> set[str]:
    content = operation.get("requestBody", {}).get("content", {})
    schemas = document["components"]["schemas"]
    return {name for media in content.values() for name in members(media["schema"], schemas)}


def parameters(operation: dict[str, Any], where: str) -> set[str]:
    return {told["name"] for told in operation.get("parameters", ()) if told["in"] == where}


def test_no_id_of_the_document_is_unheard_of(document: dict[str, Any]) -> None:
    """So that a new one is either owned by somebody, and tried below, or said to be nobody's."""
    for method, path, operation in operations(document):
        sent = body_members(operation, document)
        named = sent | parameters(operation, "path") | parameters(operation, "query")
        unheard = {name for name in named if name.endswith("_id") and owned(name) is None} - OF_ALL
        assert not unheard, (method, path)
        tried = {name for body in SENT.get((method, path), ()) for name in body if owned(name)}
        assert {name for name in sent if owned(name)} <= tried, (method, path)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def theirs(fleet: WholeFleet) -> AsyncIterator[tuple[Caller, dict[str, str]]]:
    """A user who has one of everything, and its ids."""
    async with fleet.user() as user:
        client = user.client
        await show_second_factor(client)
        price = await until_priced(client, "AAPL/USD")
        order = ORDER | {"type": "limit", "limit_price": str(round(price / 2, 2))}
        placed = await client.place_order(order)
        strategy = await client.create_strategy({"name": "theirs", "kind": "builtin", "builtin": "sma_cross"})
        wanted = DEPLOYMENT | {"strategy_id": strategy["strategy_id"], "symbols": ["GOOG/USD"]}
        deployment = await client.create_deployment(wanted)
        key = await client.request("POST", "/auth/api-keys", {"name": "theirs", "scopes": ["read"]})
        sessions = await client.request("GET", "/auth/sessions")
        ids = {
            "account_id": (await client.portfolio())["account_id"],
            "order_id": placed["order_id"],
            "strategy_id": strategy["strategy_id"],
            "deployment_id": deployment["deployment_id"],
            "session_id": sessions["data"][0]["session_id"],
            "api_key_id": key["api_key_id"],
        }
        assert set(ids) == set(OWNED)
        owner = Caller(fleet.url, headers=await client._authorization())

        async def is_executed() -> bool:
            return (await owner.call("GET", f"/api/v1/executions/{ids['order_id']}")).status == 200

        await eventually(is_executed, timeout_s=20)
        yield owner, ids


def filled_in(template: Any, ids: Mapping[str, str], mine: str, name: str = "") -> Any:
    if isinstance(template, dict):
        return {member: filled_in(value, ids, mine, member) for member, value in template.items()}
    if isinstance(template, list):
        return [filled_in(value, ids, mine, name) for value in template]
    if template == THEIRS:
        return ids[ALIASES.get(name, name)]
    return mine if template == MINE else template


def takes_a_trader(operation: dict[str, Any]) -> bool:
    """Or only others, who may see what is not theirs: a stranger is refused before it is looked for, as shown above."""
    return all(set(way.get("accessToken", ())) <= set(SCOPES[Role.TRADER]) for way in operation.get("security", ()))


def told(answer: Answer, ids: Mapping[str, str]) -> tuple[int, str]:
    """All that an answer tells but for the ids asked for and the number of the request."""
    text = re.sub(r'"request_id": "[^"]*"', "", json.dumps(answer.body))
    for name, value in ids.items():
        text = text.replace(value, name)
    return answer.status, text


async def stands(owner: Caller, ids: Mapping[str, str]) -> list[dict[str, Any]]:
    """How what is the owner's stands; the market goes on."""
    found = [await owner.call("GET", path.format(ids[name])) for name, path in OWNED.items() if path]
    assert [answer.status for answer in found] == [200] * len(found)
    return [{name: answer.body.get(name) for name in ("name", "quantity", "status", "state")} for answer in found]


async def test_anothers_is_as_good_as_none(
    callers: dict[str, Caller], theirs: tuple[Caller, dict[str, str]], document: dict[str, Any], fleet: WholeFleet
) -> None:
    """In paths, queries and bodies: the same answer as for an id of nothing, and what is another's stays as it was."""
    owner, ids = theirs
    async with fleet.user() as user:
        stranger = Caller(fleet.url, headers=await user.client._authorization())
        mine = (await user.client.portfolio())["account_id"]
    nothing = {name: str(uuid4()) for name in ids}
    before = await stands(owner, ids)
    tried, wrong = 0, []
    for method, path, operation in operations(document):
        in_path, in_query = (parameters(operation, where) & set(OWNED) for where in ("path", "query"))
        for body in SENT.get((method, path), [None]):
            if (not in_path and not in_query and body is None) or not takes_a_trader(operation):
                continue
            tried += 1
            answers = []
            for asked in (ids, nothing):
                target = path.format_map(PARAMETERS | asked)
                query = "&".join(f"{name}={asked[name]}" for name in sorted(in_query))
                sent = filled_in(body, asked, mine)
                answers.append(await stranger.call(method, f"{target}?{query}" if query else target, sent))
            hers, none = (told(answer, asked) for answer, asked in zip(answers, (ids, nothing), strict=True))
            is_filter = in_query and answers[0].status == 200 and answers[0].body["data"] == []
            is_missing = answers[0].status == 404 or '"status": 404' in hers[1]
            if hers != none or not (is_missing or is_filter):
                wrong.append((method, path, body, answers))
    assert not wrong, "\n".join(map(str, wrong))
    assert tried > 35
    assert await stands(owner, ids) == before
