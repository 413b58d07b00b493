"""A user of the gateway who makes API keys and signs with them."""

import time
from dataclasses import dataclass
from typing import Any

import pyotp
from fleet_sdk.signing import ApiKey

PORTFOLIO = "/api/v1/portfolio"


@dataclass
class Signer:
    """A user with a fresh second factor, who makes keys and signs with them."""

    fleet: Any
    token: str
    user_id: str

    async def key(self, **fields: Any) -> tuple[ApiKey, str]:
        body = {"name": "bot", "scopes": ["read", "trade"]} | fields
        made = await self.fleet.call("POST", "/api/v1/auth/api-keys", token=self.token, json=body)
        assert made.status == 201, made.body
        return ApiKey(made.body["key"], made.body["secret"]), made.body["api_key_id"]

    async def send(
        self, key: ApiKey, method: str = "GET", path: str = PORTFOLIO, body: bytes = b"", **changes: str | None
    ) -> Any:
        """`changes` are headers to be sent instead."""
        return await self.repeat(key.headers(method, path, body), method, path, body, **changes)

    async def repeat(
        self, signed: dict[str, str], method: str, path: str, body: bytes = b"", **changes: str | None
    ) -> Any:
        headers = signed | {name.replace("_", "-"): value for name, value in changes.items() if value is not None}
        headers |= {"Content-Type": "application/json"} if body else {}
        return await self.fleet.call(method, path, headers=headers, data=body or None)


async def new_signer(fleet: Any) -> Signer:
    user = await fleet.new_user()
    begun = await fleet.call("POST", "/api/v1/auth/mfa/totp", token=user.token)
    code = {"code": pyotp.TOTP(begun.body["secret"]).at(int(time.time()))}
    codes = await fleet.call("POST", "/api/v1/auth/mfa/totp/verify", token=user.token, json=code)
    recovery = {"code": codes.body["recovery_codes"][0]}
    fresh = await fleet.call("POST", "/api/v1/auth/mfa/step-up", token=user.token, json=recovery)
    return Signer(fleet, fresh.body["access_token"], user.user_id)


def refused(reply: Any) -> tuple[int, str]:
    return reply.status, reply.body["code"]
