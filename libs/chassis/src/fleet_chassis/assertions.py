"""Who calls: short-lived EdDSA assertions with which services vouch for themselves and for the user they act for."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from .clock import Clock, SystemClock
from .files import WatchedFile
from .problems import Problem

LIFETIME_S = 60
RENEW_BEFORE_S = 15
"""A cached assertion this close to its end is minted anew, so that none dies on its way."""
LEEWAY_S = 5
"""Clocks of two machines may differ by this much."""
FRESH_FACTOR_S = 300
"""So long a second factor counts as just shown; after a login or a step-up."""
MAX_CACHED = 20_000
"""Sessions times services active within a minute; about 1 kB each."""

NOBODY = UUID(int=0)
"""The user id of a call that a service makes for itself."""

_OWN_CLAIMS = frozenset({"iss", "aud", "iat", "exp"})
_ALGORITHM = "EdDSA"

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, as a service asserts it. `user_id` is NOBODY when the service calls for itself."""

    user_id: UUID
    roles: frozenset[str]
    scopes: frozenset[str]
    session_id: str
    issuer: str
    claims: Mapping[str, object]

    @property
    def symbols(self) -> frozenset[str] | None:
        """Those that the API key may trade which the request was signed with; None: any."""
        claimed = self.claims.get("symbols")
        return None if claimed is None else frozenset(msgspec.convert(claimed, list[str]))

    @property
    def max_order_notional(self) -> Decimal | None:
        """The cap of that API key; None: none."""
        claimed = self.claims.get("max_order_notional")
        return None if claimed is None else Decimal(str(claimed))

    def require_symbols(self, symbols: Iterable[str]) -> None:
        """Refuses, with 403, an API key that may not trade all of them."""
        if self.symbols is not None and (others := set(symbols) - self.symbols):
            raise Problem(403, "restricted_symbol", f"{min(others)} may not be traded.")

    def require_scope(self, scope: str) -> None:
        """Refuses, with 403, a caller whose token or key does not have the scope."""
        if scope not in self.scopes:
            raise Problem(403, "insufficient_scope", f"This needs the scope {scope}.")

    def has_fresh_factor(self, now: datetime) -> bool:
        """Whether the session has shown a second factor within the last five minutes; an API key never has."""
        shown_at = self.claims.get("mfa_at")
        return isinstance(shown_at, int) and now.timestamp() - shown_at <= FRESH_FACTOR_S

    def require_fresh_factor(self, now: datetime) -> None:
        """Refuses, with 403, a caller who has not shown a second factor just now."""
        if not self.has_fresh_factor(now):
            raise mfa_required()


def mfa_required() -> Problem:
    """For who has to show a second factor first."""
    detail = "This needs a second factor shown within five minutes: set one up, or POST /api/v1/auth/mfa/step-up."
    return Problem(403, "mfa_required", detail)


class AssertionSigner:
    """Signs what this service asserts. An assertion is used again, for the same audience and user, until near its end."""

    def __init__(self, service: str, private_key_file: Path, clock: Clock | None = None) -> None:
        key = load_pem_private_key(private_key_file.read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"the private key must be Ed25519, was {type(key).__name__}")
        self._service = service
        self._key = key
        self._clock = clock or SystemClock()
        self._minted: dict[bytes, tuple[float, str]] = {}

    def sign(self, audience: str, user_claims: Mapping[str, object] | None = None) -> str:
        """An assertion for the service `audience`; `user_claims` are sub, roles, scopes, sid and any others."""
        claims = user_claims or {}
        if not _OWN_CLAIMS.isdisjoint(claims):
            raise ValueError(f"iss, aud, iat and exp are the signer's, was {sorted(claims)}")
        key = _encode((audience, claims))
        now = self._clock.now().timestamp()
        minted = self._minted.get(key)
        if minted is not None and minted[0] - now > RENEW_BEFORE_S:
            return minted[1]
        issued = int(now)
        expires = issued + LIFETIME_S
        token = jwt.encode(
            {**msgspec.to_builtins(claims), "iss": self._service, "aud": audience, "iat": issued, "exp": expires},
            self._key,
            _ALGORITHM,
        )
        _remember(self._minted, key, (expires, token))
        return token


class AssertionVerifier:
    """Checks assertions made for this service. A verified one is remembered until it expires."""

    def __init__(self, service: str, public_keys_file: Path, clock: Clock | None = None) -> None:
        self._service = service
        self._keys = WatchedFile(public_keys_file, _parse_keys)
        self._clock = clock or SystemClock()
        self._verified: dict[str, tuple[float, Caller]] = {}
        self._verified_with: Mapping[str, Ed25519PublicKey] | None = None

    def verify(self, token: str) -> Caller:
        """The caller; Problem 401 unless the token is signed by a known service, for this one, and not expired."""
        keys = self._keys.get()
        if keys is not self._verified_with:
            self._verified.clear()
            self._verified_with = keys
        now = self._clock.now().timestamp()
        known = self._verified.get(token)
        if known is not None and known[0] > now:
            return known[1]
        claims = self._decode(token, keys, now)
        caller = _caller_of(claims)
        _remember(self._verified, token, (claims["exp"] + LEEWAY_S, caller))
        return caller

    def verify_header(self, authorization: str | None) -> Caller:
        """The caller named by an `Authorization: Bearer …` header."""
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise unauthenticated("unauthenticated", "This needs an assertion of a service of the fleet.")
        return self.verify(token.strip())

    def _decode(self, token: str, keys: Mapping[str, Ed25519PublicKey], now: float) -> dict[str, Any]:
        try:
            issuer = jwt.decode(token, options={"verify_signature": False}).get("iss")
            key = keys.get(issuer) if isinstance(issuer, str) else None
            if key is None:
                raise unauthenticated("invalid_assertion", "The assertion's issuer is not known.")
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[_ALGORITHM],
                audience=self._service,
                issuer=issuer,
                # Times are checked below, by the clock that was passed in.
                options={
                    "require": ["iss", "aud", "iat", "exp"],
                    "verify_exp": False,
                    "verify_iat": False,
                    "strict_aud": True,
                },
            )
        except jwt.InvalidTokenError as error:
            raise unauthenticated(
                "invalid_assertion", f"The assertion is not valid: {type(error).__name__}."
            ) from error
        issued, expires = claims["iat"], claims["exp"]
        if not (isinstance(issued, int) and isinstance(expires, int) and 0 < expires - issued <= LIFETIME_S):
            raise unauthenticated("invalid_assertion", f"An assertion lives {LIFETIME_S} s at most.")
        if not issued - LEEWAY_S <= now < expires + LEEWAY_S:
            raise unauthenticated("expired_assertion", "The assertion is expired, or not valid yet.")
        return claims


def _remember(cache: dict[Any, Any], key: Any, value: Any) -> None:
    """All entries live equally long, so that the first one put in is the first to expire: it makes room."""
    cache.pop(key, None)
    if len(cache) >= MAX_CACHED:
        del cache[next(iter(cache))]
    cache[key] = value


def _parse_keys(content: bytes) -> Mapping[str, Ed25519PublicKey]:
    keys = {}
    for service, pem in msgspec.json.decode(content, type=dict[str, str]).items():
        key = load_pem_public_key(pem.encode("ascii"))
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError(f"the key of {service} must be Ed25519, was {type(key).__name__}")
        keys[service] = key
    return keys


def _caller_of(claims: Mapping[str, Any]) -> Caller:
    try:
        return Caller(
            user_id=UUID(claims["sub"]) if "sub" in claims else NOBODY,
            roles=frozenset(msgspec.convert(claims.get("roles", []), list[str])),
            scopes=frozenset(msgspec.convert(claims.get("scopes", []), list[str])),
            session_id=msgspec.convert(claims.get("sid", ""), str),
            issuer=claims["iss"],
            claims=claims,
        )
    except (ValueError, AttributeError, msgspec.ValidationError) as error:
        raise unauthenticated("invalid_assertion", "The assertion's claims do not have their shape.") from error


def unauthenticated(code: str, detail: str) -> Problem:
    """401 for a caller whose assertion does not do."""
    return Problem(401, code, detail, headers={"WWW-Authenticate": "Bearer"})
