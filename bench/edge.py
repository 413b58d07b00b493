"""trading through the gateway and alone: what the edge adds to a service that does its work.

bench/gateway.py has a service behind it that only answers, where the edge weighs the most.
"""

from typing import Any

import aiohttp
import jwt
from fleet_chassis.assertions import AssertionSigner
from whole_fleet import WholeFleet, until_priced

from bench.cpu import processes_of
from bench.gateway import Target, requests_by_turns
from bench.orders import SYMBOL, make_accounts

_ORDER = {"symbol": SYMBOL, "side": "buy", "type": "market", "quantity": "1", "time_in_force": "gtc"}
_ASKED = {
    "portfolio": ("GET", "/api/v1/portfolio", None),
    "preview of an order": ("POST", "/api/v1/orders/preview", _ORDER),
}


async def measure(fleet: WholeFleet) -> dict[str, Any]:
    """Requests a second of CPU of all that works for them: trading and PostgreSQL; gateway and Redis as well."""
    async with fleet.user() as user:
        await until_priced(user.client, SYMBOL)
    async with aiohttp.ClientSession(fleet.url) as session:
        (account,) = await make_accounts(session, 1)
    token = account.headers["Authorization"].removeprefix("Bearer ")
    told = jwt.decode(token, options={"verify_signature": False})
    claims = {name: told[name] for name in ("sub", "sid", "roles", "scopes")}
    signer = AssertionSigner("gateway", fleet.state.private_key("gateway"))
    pids = processes_of(fleet.description)
    behind = {name: pids[name] for name in ("trading-0", "postgres")}
    targets = {
        "service": Target(fleet.instance_url("trading"), lambda: signer.sign("trading", claims), behind),
        "gateway": Target(fleet.url, lambda: token, behind | {name: pids[name] for name in ("gateway-0", "redis")}),
    }
    async with aiohttp.ClientSession() as session:
        return {name: await requests_by_turns(session, targets, *asked) for name, asked in _ASKED.items()}
