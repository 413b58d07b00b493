"""API keys: made with a fresh second factor, told once, kept sealed, and told to the gateway alone."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import jwt
import pytest
from fleet_bus import Bus
from fleet_chassis.assertions import AssertionSigner
from fleet_chassis.health import Health
from fleet_contracts.auth import SessionRevoked
from fleet_contracts.topics import AUTH_SESSIONS
from fleet_testkit.eventually import eventually

PATH = "/api-keys"


class Owner:
    """A trader whose session has shown a second factor just now."""

    def __init__(self, auth: Any, claims: dict[str, Any]) -> None:
        self.auth, self.claims = auth, claims

    @classmethod
    async def new(cls, auth: Any) -> "Owner":
        token = (await auth.logged_in(await auth.registered()))["access_token"]
        decoded = jwt.decode(token, options={"verify_signature": False})
        return cls(auth, {name: decoded[name] for name in ("sub", "sid", "roles", "scopes")})

    async def call(self, method: str, path: str, *, factor_age_s: int | None = 0, json: Any = None) -> Any:
        shown = {} if factor_age_s is None else {"mfa_at": int(self.auth.clock.now().timestamp()) - factor_age_s}
        return await self.auth.call(method, path, json=json, user=self.claims | shown)

    async def key(self, **fields: Any) -> dict[str, Any]:
        reply = await self.call("POST", PATH, json={"name": "bot", "scopes": ["read"]} | fields)
        assert reply.status == 201, reply.body
        told: dict[str, Any] = reply.body
        return told


async def lookup(auth: Any, key: str, issuer: AssertionSigner | None = None) -> Any:
    headers = {"Authorization": f"Bearer {(issuer or auth.signer).sign('auth')}"}
    url = f"{auth.url}/internal/api-keys/lookup"
    async with auth.http.post(url, json={"key": key}, headers=headers) as response:
        return response.status, await response.json()


async def statement(auth: Any, text: str, *arguments: Any) -> Any:
    connection = await asyncpg.connect(auth.settings.database_url.get_secret_value())
    try:
        return await connection.fetch(text, *arguments)
    finally:
        await connection.close()


async def test_a_key_is_told_once_and_kept_sealed(auth: Any) -> None:
    owner = await Owner.new(auth)
    bounds = {
        "symbols": ["BTC-USD", "AAPL/USD"],
        "max_order_notional": "1000.50",
        "ip_allowlist": ["10.0.0.0/8", "2001:db8::/32"],
        "expires_at": (auth.clock.now() + timedelta(days=1)).isoformat(),
    }
    made = await owner.key(scopes=["trade", "read"], **bounds)
    assert made["scopes"] == ["read", "trade"]
    assert made["symbols"] == ["AAPL/USD", "BTC/USD"]
    assert made["max_order_notional"] == "1000.50"
    listed = (await owner.call("GET", PATH, factor_age_s=None)).body["data"]
    assert [one["api_key_id"] for one in listed] == [made["api_key_id"]]
    assert listed[0] == {name: value for name, value in made.items() if name != "secret"}
    (row,) = await statement(auth, "SELECT secret FROM api_keys WHERE api_key_id = $1", UUID(made["api_key_id"]))
    assert made["secret"].encode() not in row["secret"]
    status, told = await lookup(auth, made["key"])
    assert (status, told["secret"], told["user_id"]) == (200, made["secret"], owner.claims["sub"])
    assert (await owner.call("GET", PATH)).body["data"][0]["last_used_at"] is None, "asked for is not used"
    assert (await (await Owner.new(auth)).call("GET", PATH)).body["data"] == []


@pytest.mark.parametrize("factor_age_s", [None, 301])
async def test_a_key_takes_a_fresh_second_factor(auth: Any, factor_age_s: int | None) -> None:
    owner = await Owner.new(auth)
    body = {"name": "bot", "scopes": ["read"]}
    reply = await owner.call("POST", PATH, json=body, factor_age_s=factor_age_s)
    assert (reply.status, reply.body["code"]) == (403, "mfa_required")
    assert (await owner.call("GET", PATH)).body["data"] == []


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"scopes": ["admin"]}, 403, "insufficient_scope"),
        ({"scopes": []}, 422, "invalid_request"),
        ({"scopes": ["everything"]}, 422, "invalid_request"),
        ({"ip_allowlist": ["10.0.0.1/8"]}, 422, "invalid_request"),
        ({"ip_allowlist": [True]}, 422, "invalid_request"),
        ({"ip_allowlist": [5]}, 422, "invalid_request"),
        ({"expires_at": "2001-01-01T00:00:00Z"}, 422, "invalid_request"),
        ({"max_order_notional": "0"}, 422, "invalid_request"),
        ({"symbols": []}, 422, "invalid_request"),
        ({"user_id": "someone"}, 422, "invalid_request"),
        ({"secret": "mine"}, 422, "invalid_request"),
    ],
)
async def test_what_no_key_may_be(auth: Any, fields: dict[str, Any], status: int, code: str) -> None:
    reply = await (await Owner.new(auth)).call("POST", PATH, json={"name": "bot", "scopes": ["read"]} | fields)
    assert (reply.status, reply.body["code"]) == (status, code), reply.body


async def test_a_key_makes_no_key_and_ends_no_session(auth: Any) -> None:
    owner = await Owner.new(auth)
    made = await owner.key()
    owner.claims |= {"sid": made["api_key_id"], "api_key_id": made["api_key_id"]}
    body = {"name": "bot", "scopes": ["read"]}
    for method, path in (("POST", PATH), ("GET", PATH), ("POST", "/logout")):
        reply = await owner.call(method, path, json=body if path == PATH and method == "POST" else None)
        assert (reply.status, reply.body["code"]) == (403, "session_required"), path


async def test_a_revoked_key_is_unknown_and_gateways_hear_it(auth: Any) -> None:
    """made → revoked by somebody else: 404 → revoked → unknown, told with its id → taken back"""
    owner = await Owner.new(auth)
    made = await owner.key()
    path = f"{PATH}/{made['api_key_id']}"
    assert (await (await Owner.new(auth)).call("DELETE", path)).status == 404
    bus = Bus(auth.settings.model_copy(update={"service": "gateway"}), None)
    sessions = bus.table(AUTH_SESSIONS, SessionRevoked)
    async with bus.running(Health()):
        assert (await owner.call("DELETE", path, factor_age_s=None)).status == 204
        assert (await owner.call("DELETE", path)).status == 404
        assert (await lookup(auth, made["key"]))[0] == 404
        told = await eventually(lambda: sessions.get(made["api_key_id"]))
        assert told is not None
        assert str(told.user_id) == owner.claims["sub"]
        # As long as a socket may live that the key has opened.
        auth.clock.advance(seconds=301)
        assert sessions.get(made["api_key_id"]) is not None
        auth.clock.advance(seconds=60)
        await eventually(lambda: sessions.get(made["api_key_id"]) is None, 10)


async def test_a_ticket_of_a_key_stands_for_the_key_once_and_while_it_counts(auth: Any) -> None:
    """redeemed: the key as it is today → again: 404 → too late: 404 → the key revoked, or its user disabled: 404"""
    owner = await Owner.new(auth)
    ends_at = auth.clock.now() + timedelta(seconds=200)
    made = await owner.key(scopes=["read", "trade"], symbols=["AAPL/USD"], expires_at=ends_at.isoformat())
    user, key_id = dict(owner.claims), made["api_key_id"]
    owner.claims |= {"sid": key_id, "api_key_id": key_id, "scopes": ["read", "trade"]}

    async def ticket() -> str:
        given = await owner.call("POST", "/ws-tickets", factor_age_s=None)
        assert (given.status, given.body["expires_in"]) == (201, 30)
        return str(given.body["ticket"])

    async def redeem(shown: str) -> Any:
        return await auth.call("POST", "/internal/ws-tickets/redeem", json={"ticket": shown}, prefix="")

    shown = await ticket()
    kept = await statement(auth, "SELECT ticket_hash FROM api_key_tickets")
    assert shown.encode() not in [row["ticket_hash"] for row in kept]
    told = (await redeem(shown)).body
    assert told == {"api_key": told["api_key"], "exp": ends_at.timestamp(), "told_at": told["told_at"]}
    _, known = await lookup(auth, made["key"])
    assert known == told["api_key"] | {"secret": made["secret"], "known_for_s": 60}
    assert (await redeem(shown)).status == 404
    late = await ticket()
    auth.clock.advance(seconds=31)
    assert (await redeem(late)).status == 404
    unused = await ticket()
    await statement(auth, "UPDATE users SET status = 'disabled' WHERE user_id = $1", UUID(user["sub"]))
    assert (await redeem(unused)).status == 404
    await statement(auth, "UPDATE users SET status = 'active' WHERE user_id = $1", UUID(user["sub"]))
    unused, owner.claims = await ticket(), user
    assert (await owner.call("DELETE", f"{PATH}/{key_id}", factor_age_s=None)).status == 204
    assert (await redeem(unused)).status == 404


async def test_a_key_does_what_its_user_may_today_and_nothing_once_it_has_expired(auth: Any) -> None:
    owner = await Owner.new(auth)
    made = await owner.key(scopes=["read", "trade"], expires_at=(auth.clock.now() + timedelta(seconds=60)).isoformat())
    user_id = UUID(owner.claims["sub"])
    await statement(auth, "UPDATE users SET roles = '{viewer}' WHERE user_id = $1", user_id)
    assert (await lookup(auth, made["key"]))[1]["scopes"] == ["read"]
    await statement(auth, "UPDATE users SET status = 'disabled' WHERE user_id = $1", user_id)
    assert (await lookup(auth, made["key"]))[0] == 404
    await statement(auth, "UPDATE users SET status = 'active' WHERE user_id = $1", user_id)
    auth.clock.advance(seconds=60)
    assert (await lookup(auth, made["key"]))[0] == 404


async def test_only_the_gateway_is_told_of_keys(auth: Any, auth_keys: Any) -> None:
    made = await (await Owner.new(auth)).key()
    status, _ = await lookup(auth, made["key"], AssertionSigner("trading", auth_keys / "trading.pem"))
    assert status == 403


async def test_the_last_use_is_the_last_that_was_told(auth: Any, auth_keys: Any) -> None:
    owner = await Owner.new(auth)
    made, other = await owner.key(), await owner.key()
    now = auth.clock.now()

    async def tell(at: datetime, address: str, by: str = "gateway") -> int:
        signer = AssertionSigner(by, auth_keys / f"{by}.pem")
        body = {"uses": [{"api_key_id": made["api_key_id"], "used_at": at.isoformat(), "address": address}]}
        headers = {"Authorization": f"Bearer {signer.sign('auth')}"}
        async with auth.http.post(f"{auth.url}/internal/api-keys/used", json=body, headers=headers) as response:
            return int(response.status)

    async def seen(key: dict[str, Any]) -> tuple[Any, Any]:
        listed = {one["api_key_id"]: one for one in (await owner.call("GET", PATH)).body["data"]}
        return tuple(listed[key["api_key_id"]][name] for name in ("last_used_at", "last_used_address"))

    assert await tell(now, "10.0.0.1", by="trading") == 403
    assert await seen(made) == (None, None)
    assert await tell(now - timedelta(seconds=5), "10.0.0.1") == 204
    assert await tell(now - timedelta(seconds=9), "10.0.0.2") == 204, "by another gateway, which was slower"
    at, address = await seen(made)
    assert (datetime.fromisoformat(at), address) == (now - timedelta(seconds=5), "10.0.0.1")
    assert await tell(now + timedelta(hours=1), "10.0.0.3") == 204, "its clock is ahead"
    at, address = await seen(made)
    assert (datetime.fromisoformat(at), address) == (now, "10.0.0.3")
    assert await seen(other) == (None, None)


async def test_the_owner_is_told_of_keys_made_and_revoked_up_to_twenty_an_hour(auth: Any) -> None:
    owner = await Owner.new(auth)
    email = (await owner.call("GET", "/me")).body["email"]
    for number in range(21):
        key = await owner.key(name=f"desk {number}")
    assert (await owner.call("DELETE", f"{PATH}/{key['api_key_id']}")).status == 204, "another event has its own twenty"
    await auth.mailed(email, 21)
    texts = " ".join(mail["text"] for mail in auth.mails(email))
    assert "An API key was made: desk 19," in texts and "An API key was revoked: desk 20," in texts
    assert "An API key was made: desk 20" not in texts
    auth.clock.advance(seconds=3601)
    await owner.key(name="next day")
    assert "An API key was made: next day," in (await auth.mailed(email, 22))["text"]
