"""Forged access tokens: the attacks that verifiers of JWTs have fallen for (RFC 8725), one by one."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fleet_bus import TableView
from fleet_chassis.problems import Problem, unavailable
from fleet_contracts.auth import SessionRevoked
from fleet_gateway.identity import AccessTokens, KeySet
from fleet_testkit.clock import FakeClock
from fleet_testkit.eventually import eventually

NOW = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
KEY, STRANGERS_KEY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
PUBLIC = KEY.public_key()
HEADER = {"alg": "EdDSA", "typ": "at+jwt", "kid": "key-1"}
CLAIMS: dict[str, Any] = {
    "iss": "auth",
    "aud": "tradefleet",
    "sub": str(uuid4()),
    "sid": str(uuid4()),
    "roles": ["trader"],
    "scopes": ["read", "trade"],
    "iat": int(NOW.timestamp()),
    "exp": int(NOW.timestamp()) + 300,
}
Sign = Callable[[bytes], bytes]


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def jwk(key: Ed25519PrivateKey, kid: str) -> dict[str, str]:
    x = b64(key.public_key().public_bytes_raw())
    return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x}


def token(
    header: Mapping[str, Any] | str = HEADER, claims: Mapping[str, Any] | str = CLAIMS, sign: Sign = KEY.sign
) -> str:
    parts = [b64((part if isinstance(part, str) else json.dumps(part)).encode()) for part in (header, claims)]
    return ".".join([*parts, b64(sign(".".join(parts).encode()))])


def hs256(secret: bytes) -> Sign:
    return lambda signed: hmac.digest(secret, signed, hashlib.sha256)


def also(base: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {**base, **more}


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in CLAIMS.items() if key != name}


def twice(members: Mapping[str, Any], name: str, value: Any) -> str:
    """The member once more, before the others: the last one is what most parsers take."""
    return f'{{"{name}": {json.dumps(value)}, {json.dumps(members)[1:]}'


PEM = PUBLIC.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
HS = also(HEADER, alg="HS256")
STRANGERS_JWK = jwk(STRANGERS_KEY, "key-1")
ATTACKS = {
    "alg none": token(also(HEADER, alg="none"), sign=lambda _: b""),
    "alg None": token(also(HEADER, alg="NoNe"), sign=lambda _: b""),
    "alg none, signed": token(also(HEADER, alg="none")),
    "no signature": token(sign=lambda _: b""),
    "HS256 with the public key as PEM": token(HS, sign=hs256(PEM)),
    "HS256 with the public key as PEM, stripped": token(HS, sign=hs256(PEM.strip())),
    "HS256 with the public key as DER": token(
        HS, sign=hs256(PUBLIC.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    ),
    "HS256 with the public key as JWK": token(HS, sign=hs256(json.dumps(jwk(KEY, "key-1")).encode())),
    "HS256 with the raw public key": token(HS, sign=hs256(PUBLIC.public_bytes_raw())),
    "HS256 with nothing": token(HS, sign=hs256(b"")),
    "alg EdDSA, HS256 underneath": token(sign=hs256(PEM)),
    "alg Ed448": token(also(HEADER, alg="Ed448")),
    "alg as a list": token(also(HEADER, alg=["EdDSA"])),
    "no alg": token({"typ": "at+jwt", "kid": "key-1"}),
    "a stranger's key": token(sign=STRANGERS_KEY.sign),
    "kid as a path": token(also(HEADER, kid="../../../../dev/null"), sign=hs256(b"")),
    "kid as SQL": token(also(HEADER, kid="x' UNION SELECT 'secret' --"), sign=hs256(b"secret")),
    "kid as a URL": token(also(HEADER, kid="http://evil.example/jwks.json"), sign=STRANGERS_KEY.sign),
    "kid of 10 kB": token(also(HEADER, kid="k" * 10_240)),
    "kid of 3 kB": token(also(HEADER, kid="k" * 3_000)),
    "kid as a number": token(also(HEADER, kid=1)),
    "kid with a line break": token(also(HEADER, kid="key-1\n")),
    "no kid": token({"alg": "EdDSA", "typ": "at+jwt"}),
    "unknown kid": token(also(HEADER, kid="key-2")),
    "jku": token(also(HEADER, jku="http://evil.example/jwks.json"), sign=STRANGERS_KEY.sign),
    "jku, signed by us": token(also(HEADER, jku="http://evil.example/jwks.json")),
    "x5u": token(also(HEADER, x5u="http://evil.example/cert.pem"), sign=STRANGERS_KEY.sign),
    "x5c": token(also(HEADER, x5c=["MIIB"]), sign=STRANGERS_KEY.sign),
    "jwk": token(also(HEADER, jwk=STRANGERS_JWK), sign=STRANGERS_KEY.sign),
    "crit": token(also(HEADER, crit=["exp"])),
    "crit of what nobody knows": token(also(HEADER, crit=["evil"], evil=True)),
    "b64 false": token(also(HEADER, b64=False, crit=["b64"])),
    "zip": token(also(HEADER, zip="DEF")),
    "typ of an ID token": token(also(HEADER, typ="JWT")),
    "typ of another token of ours": token(also(HEADER, typ="mfa+jwt")),
    "no typ": token({"alg": "EdDSA", "kid": "key-1"}),
    "aud of a service": token(claims=also(CLAIMS, aud="trading")),
    "aud as a list": token(claims=also(CLAIMS, aud=["tradefleet", "other"])),
    "no aud": token(claims=without("aud")),
    "iss of a service": token(claims=also(CLAIMS, iss="gateway")),
    "no iss": token(claims=without("iss")),
    "no sub": token(claims=without("sub")),
    "sub that is no user": token(claims=also(CLAIMS, sub="admin")),
    "no sid": token(claims=without("sid")),
    "no exp": token(claims=without("exp")),
    "exp as text": token(claims=also(CLAIMS, exp="9999999999")),
    "exp as NaN": token(claims=json.dumps(CLAIMS).replace(str(CLAIMS["exp"]), "NaN")),
    "roles as text": token(claims=also(CLAIMS, roles="admin")),
    "scopes as text": token(claims=also(CLAIMS, scopes="admin")),
    "sub twice": token(claims=twice(CLAIMS, "sub", str(uuid4()))),
    "scopes twice": token(claims=twice(CLAIMS, "scopes", ["admin"])),
    "alg twice": token(twice(HEADER, "alg", "none")),
    "kid twice": token(twice(HEADER, "kid", "key-2")),
    "claims as a list": token(claims="[]"),
    "claims 1,000 deep": token(claims="[" * 1_000),
    "header 1,000 deep": token("[" * 1_000),
    "a refresh token": b64(hashlib.sha256(b"refresh").digest()),
    "four parts": token() + ".AAAA",
    "five parts, as if encrypted": token() + ".AAAA.AAAA",
    "two parts": token().rpartition(".")[0],
    "only dots": "..",
    "padded": token() + "==",
    "no ASCII": token() + "é",
    "longer than any": token() + "A" * 10_240,
}


class Revoked:
    """The table of revoked sessions."""

    def __init__(self) -> None:
        self.sessions: set[str] = set()

    def get(self, session_id: str) -> object | None:
        return session_id if session_id in self.sessions else None


class Verifier:
    """AccessTokens over one known key; counts how often auth is asked for its keys."""

    def __init__(self) -> None:
        self.asked, self.revoked, self.clock = 0, Revoked(), FakeClock(NOW)
        self.is_away = False
        self.told = [jwk(KEY, "key-1")]
        self.keys = KeySet(self._jwks)
        self.tokens = AccessTokens(self.keys, cast("TableView[SessionRevoked]", self.revoked), self.clock)

    async def _jwks(self) -> Mapping[str, Any]:
        self.asked += 1
        if self.is_away:
            raise unavailable("auth is away")
        return {"keys": list(self.told)}

    async def code(self, given: str) -> str:
        """`ok`, or the code of the refusal."""
        try:
            await self.tokens.verify(f"Bearer {given}".encode())
        except Problem as problem:
            assert problem.status == 401
            assert (problem.headers or {})["WWW-Authenticate"] == "Bearer"
            return problem.code
        return "ok"


@pytest.fixture
def verifier() -> Verifier:
    return Verifier()


async def test_the_token_that_the_attacks_are_made_of_is_good(verifier: Verifier) -> None:
    assert await verifier.code(token()) == "ok"


@pytest.mark.parametrize("attack", [name for name in ATTACKS if name != "unknown kid"])
async def test_a_forged_token_is_refused(verifier: Verifier, attack: str) -> None:
    assert await verifier.code(token()) == "ok"
    asked = verifier.asked
    assert await verifier.code(ATTACKS[attack]) == "invalid_token"
    # Nothing that only claims to be a key has us ask auth.
    assert verifier.asked == asked


async def test_a_key_nobody_knows_is_asked_for_once(verifier: Verifier) -> None:
    assert await verifier.code(ATTACKS["unknown kid"]) == "invalid_token"
    assert verifier.asked == 1


async def test_a_token_ends(verifier: Verifier) -> None:
    good = token()
    assert await verifier.code(good) == "ok"
    verifier.clock.advance(seconds=304)
    assert await verifier.code(good) == "token_expired"
    assert await verifier.code(token(claims=also(CLAIMS, jti="never seen before"))) == "token_expired"


async def test_a_revoked_session_has_no_token(verifier: Verifier) -> None:
    good = token()
    assert await verifier.code(good) == "ok"
    verifier.revoked.sessions.add(CLAIMS["sid"])
    assert await verifier.code(good) == "session_revoked"


async def test_a_key_that_auth_tells_no_more_verifies_nothing(verifier: Verifier) -> None:
    """Neither what comes nor what was found good before: whoever has a key that was replaced makes tokens of any age."""
    verifier.told.append(jwk(STRANGERS_KEY, "key-2"))
    good, other = token(), token(also(HEADER, kid="key-2"), sign=STRANGERS_KEY.sign)
    assert (await verifier.code(good), await verifier.code(other)) == ("ok", "ok")
    looking = asyncio.create_task(verifier.keys.run(every_s=0.01))
    try:
        del verifier.told[0]
        await eventually(lambda: not verifier.keys.knows("key-1"))
        assert (await verifier.code(good), await verifier.code(other)) == ("invalid_token", "ok")
        assert await verifier.code(token(claims=also(CLAIMS, jti="new"))) == "invalid_token"
        asked, verifier.is_away = verifier.asked, True
        await eventually(lambda: verifier.asked > asked)
        assert await verifier.code(other) == "ok"
    finally:
        looking.cancel()
