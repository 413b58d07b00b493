"""A second factor through the gateway: services hear when it was shown, and a wrong code is a failed login."""

import time
from typing import Any

import pyotp


async def test_services_hear_when_a_second_factor_was_shown(fleet: Any) -> None:
    """login → enrol → login in two steps → a service is told; a session without says nothing"""
    user = await fleet.new_user()
    await fleet.call("GET", "/api/v1/portfolio", token=user.token)
    assert "mfa_at" not in fleet.services["trading"].seen[-1].claims
    begun = await fleet.call("POST", "/api/v1/auth/mfa/totp", token=user.token)
    totp = pyotp.TOTP(begun.body["secret"])
    now = int(time.time())
    shown = {"code": totp.at(now)}
    verified = await fleet.call("POST", "/api/v1/auth/mfa/totp/verify", token=user.token, json=shown)
    recovery, *_ = verified.body["recovery_codes"]

    first = await fleet.call("POST", "/api/v1/auth/login", json=user.credentials)
    assert first.body["mfa_required"]
    body = {"mfa_token": first.body["mfa_token"]}
    wrong = await fleet.call("POST", "/api/v1/auth/login/mfa", json=body | {"code": "12345x"})
    assert (wrong.status, wrong.body["code"]) == (401, "invalid_code")
    tokens = await fleet.call("POST", "/api/v1/auth/login/mfa", json=body | {"code": recovery})
    assert tokens.status == 200
    await fleet.call("GET", "/api/v1/portfolio", token=tokens.body["access_token"])
    assert now <= fleet.services["trading"].seen[-1].claims["mfa_at"] <= time.time()
