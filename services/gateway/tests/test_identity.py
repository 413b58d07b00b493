"""auth's keys, as the gateway learns them."""

import asyncio
import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fleet_chassis.problems import Problem
from fleet_gateway.identity import KeySet


class Auth:
    """Tells its keys, and counts how often it was asked."""

    def __init__(self) -> None:
        self.keys: list[dict[str, str]] = []
        self.asked = 0

    def make_key(self, kid: str) -> None:
        x = base64.urlsafe_b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw())
        key = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x.rstrip(b"=").decode()}
        self.keys.append(key)

    async def jwks(self) -> dict[str, Any]:
        self.asked += 1
        told = {"keys": list(self.keys)}
        await asyncio.sleep(0)
        return told


async def test_invented_key_ids_do_not_hide_a_new_key() -> None:
    auth = Auth()
    auth.make_key("first")
    keys = KeySet(auth.jwks)
    assert await keys.get("invented") is None
    auth.make_key("second")
    invented = [keys.get(f"invented-{n}") for n in range(50)]
    found = await asyncio.wait_for(asyncio.gather(keys.get("second"), *invented), 10)
    assert found[0] is not None
    assert not any(found[1:])
    assert auth.asked == 2


@pytest.mark.parametrize("told", [{}, {"keys": []}, {"keys": [{"kty": "none"}]}])
async def test_keys_that_are_not_understood_end_nothing(told: dict[str, Any]) -> None:
    """Those that were known stay."""
    auth = Auth()
    auth.make_key("first")
    asked = asyncio.Event()

    async def fetch() -> dict[str, Any]:
        if asked.is_set():
            return told
        return await auth.jwks()

    keys = KeySet(fetch)
    assert await keys.get("first") is not None
    asked.set()
    with pytest.raises(Problem, match="not understood"):
        await keys.refresh()
    assert keys.knows("first")
