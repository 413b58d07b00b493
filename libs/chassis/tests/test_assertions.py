"""Who is believed, for how long, and who is not."""

import base64
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fleet_chassis.assertions import NOBODY, AssertionSigner, AssertionVerifier
from fleet_chassis.problems import Problem
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually

USER = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
CLAIMS = {"sub": str(USER), "roles": ["trader"], "scopes": ["read", "trade"], "sid": "s1"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def gateway(keyring: Any, clock: FakeClock) -> AssertionSigner:
    return AssertionSigner("gateway", keyring.folder / "gateway.pem", clock)


@pytest.fixture
def verifier(keyring: Any, clock: FakeClock) -> AssertionVerifier:
    return AssertionVerifier("trading", keyring.public_keys_file, clock)


def refused_as(verifier: AssertionVerifier, token: str) -> str:
    with pytest.raises(Problem) as raised:
        verifier.verify(token)
    assert raised.value.status == 401
    return raised.value.code


def test_a_user_is_known_by_the_gateways_word(gateway: AssertionSigner, verifier: AssertionVerifier) -> None:
    caller = verifier.verify(gateway.sign("trading", CLAIMS | {"account_id": "a1"}))
    assert (caller.user_id, caller.issuer, caller.session_id) == (USER, "gateway", "s1")
    assert caller.roles == {"trader"}
    assert caller.scopes == {"read", "trade"}
    assert caller.claims["account_id"] == "a1"
    caller.require_scope("trade")
    with pytest.raises(Problem) as raised:
        caller.require_scope("admin")
    assert (raised.value.status, raised.value.code) == (403, "insufficient_scope")


def test_a_service_may_speak_for_itself(keyring: Any, verifier: AssertionVerifier, clock: FakeClock) -> None:
    signer = AssertionSigner("core-engine", keyring.folder / "core-engine.pem", clock)
    caller = verifier.verify(signer.sign("trading"))
    assert (caller.user_id, caller.issuer, caller.scopes) == (NOBODY, "core-engine", frozenset())


def test_an_assertion_is_used_again_until_near_its_end(gateway: AssertionSigner, clock: FakeClock) -> None:
    first = gateway.sign("trading", CLAIMS)
    assert gateway.sign("trading", CLAIMS) == first
    assert gateway.sign("data", CLAIMS) != first
    assert gateway.sign("trading", CLAIMS | {"sid": "s2"}) != first
    clock.advance(seconds=50)
    assert gateway.sign("trading", CLAIMS) != first


def test_an_assertion_expires_even_when_it_was_verified_before(
    gateway: AssertionSigner, verifier: AssertionVerifier, clock: FakeClock
) -> None:
    token = gateway.sign("trading", CLAIMS)
    verifier.verify(token)
    clock.advance(seconds=59)
    verifier.verify(token)
    clock.advance(timedelta(seconds=10))
    assert refused_as(verifier, token) == "expired_assertion"


def test_one_made_for_another_service_is_refused(gateway: AssertionSigner, verifier: AssertionVerifier) -> None:
    assert refused_as(verifier, gateway.sign("data", CLAIMS)) == "invalid_assertion"


def test_one_signed_by_a_stranger_is_refused(keyring: Any, verifier: AssertionVerifier, clock: FakeClock) -> None:
    stranger = keyring.add("stranger", is_known=False)
    assert refused_as(verifier, AssertionSigner("stranger", stranger, clock).sign("trading", CLAIMS))
    # Known by name, but with a key that is not the name's.
    assert refused_as(verifier, AssertionSigner("gateway", stranger, clock).sign("trading", CLAIMS))


def payload(clock: FakeClock, **changes: object) -> dict[str, object]:
    now = int(clock.now().timestamp())
    return {"iss": "gateway", "aud": "trading", "iat": now, "exp": now + 60, **CLAIMS} | changes


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": 10**12},
        {"exp": "soon"},
        {"exp": None},
        {"iat": 10**12, "exp": 10**12 + 60},
        {"aud": ["trading", "data"]},
        {"sub": "somebody"},
        {"sub": 5},
        {"roles": "admin"},
        {"scopes": [1]},
        {"sid": 7},
    ],
)
def test_claims_without_their_shape_are_refused(
    keyring: Any, verifier: AssertionVerifier, clock: FakeClock, changes: dict[str, object]
) -> None:
    key: Any = load_pem_private_key((keyring.folder / "gateway.pem").read_bytes(), None)
    assert refused_as(verifier, jwt.encode(payload(clock, **changes), key, "EdDSA"))


def test_other_algorithms_are_refused(keyring: Any, verifier: AssertionVerifier, clock: FakeClock) -> None:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    unsigned = f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(payload(clock))}."
    assert refused_as(verifier, unsigned) == "invalid_assertion"
    symmetric = jwt.encode(payload(clock), "k" * 64, "HS256")
    assert refused_as(verifier, symmetric) == "invalid_assertion"


@pytest.mark.parametrize("header", [None, "", "Basic abc", "Bearer", "Bearer ", "Bearer a.b.c", "Bearer \x00"])
def test_no_assertion_is_401(verifier: AssertionVerifier, header: str | None) -> None:
    with pytest.raises(Problem) as raised:
        verifier.verify_header(header)
    assert raised.value.status == 401


async def test_a_new_key_is_taken_and_the_old_one_dropped(
    keyring: Any, gateway: AssertionSigner, verifier: AssertionVerifier, clock: FakeClock
) -> None:
    old = gateway.sign("trading", CLAIMS)
    verifier.verify(old)
    keyring.public_keys_file.write_text("{half")
    verifier.verify(old)
    new = AssertionSigner("gateway", keyring.add("gateway"), clock).sign("trading", CLAIMS)

    def is_taken() -> bool:
        try:
            return verifier.verify(new).user_id == USER
        except Problem:
            return False

    await eventually(is_taken, timeout_s=5)
    assert refused_as(verifier, old) == "invalid_assertion"
