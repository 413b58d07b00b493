"""Access tokens (EdDSA JWTs), refresh tokens, and the keys that sign: made at first start, sealed in the database."""

import base64
import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fleet_chassis.logging import get_logger

from .domain import Session, User, scopes_of
from .sealing import SIGNING_KEY, CannotUnseal, Sealer

ISSUER = "auth"
AUDIENCE = "tradefleet"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The key that signs, and the public keys of all that may have signed what is still alive."""

    kid: str
    private_key: Ed25519PrivateKey
    jwks: Sequence[dict[str, str]]


async def load_signing_keys(connection: asyncpg.Connection, sealer: Sealer, now: datetime) -> SigningKeys:
    """The keys in the database; makes the first one, inside the caller's transaction, if there is none that signs."""
    # Replicas that start together must agree on one key.
    await connection.execute("LOCK TABLE signing_keys IN SHARE ROW EXCLUSIVE MODE")
    rows = await connection.fetch(
        "SELECT kid, public_key, encrypted_private_key, retired_at FROM signing_keys ORDER BY created_at DESC, kid"
    )
    jwks = [_jwk(row["kid"], row["public_key"]) for row in rows]
    for row in rows:
        if row["retired_at"] is not None:
            continue
        try:
            secret = sealer.unseal(row["encrypted_private_key"], SIGNING_KEY.place(row["kid"]))
        except CannotUnseal:
            # The file of the field keys was lost; the public half still verifies what is out.
            log.warning("signing_key_cannot_be_unsealed", kid=row["kid"])
        else:
            return SigningKeys(row["kid"], Ed25519PrivateKey.from_private_bytes(secret), jwks)
    private_key = Ed25519PrivateKey.generate()
    public_key = private_key.public_key().public_bytes_raw()
    kid = hashlib.sha256(public_key).hexdigest()[:16]
    await connection.execute(
        "INSERT INTO signing_keys (kid, public_key, encrypted_private_key, created_at) VALUES ($1, $2, $3, $4)",
        kid,
        public_key,
        sealer.seal(private_key.private_bytes_raw(), SIGNING_KEY.place(kid)),
        now,
    )
    log.info("signing_key_made", kid=kid)
    return SigningKeys(kid, private_key, [_jwk(kid, public_key), *jwks])


def _jwk(kid: str, public_key: bytes) -> dict[str, str]:
    x = base64.urlsafe_b64encode(public_key).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": kid, "x": x}


@dataclass(frozen=True, slots=True)
class TokenLifetimes:
    access: timedelta
    refresh: timedelta


def new_secret() -> str:
    """256 random bits."""
    return secrets.token_urlsafe(32)


def sign_access_token(keys: SigningKeys, user: User, session: Session, now: datetime) -> str:
    """A token for the gateway, ending with `session.last_token_expires_at`."""
    claims: dict[str, object] = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(user.user_id),
        "sid": str(session.session_id),
        "roles": list(user.roles),
        "scopes": scopes_of(user.roles),
        "iat": int(now.timestamp()),
        "exp": int(session.last_token_expires_at.timestamp()),
    }
    if session.mfa_at is not None:
        claims["mfa_at"] = int(session.mfa_at.timestamp())
    return jwt.encode(claims, keys.private_key, "EdDSA", {"kid": keys.kid, "typ": "at+jwt"})
