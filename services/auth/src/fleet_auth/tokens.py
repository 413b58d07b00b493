"""Access tokens (EdDSA JWTs), refresh tokens, and the keys that sign: made at first start, sealed in the database."""

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import asyncpg
import jwt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from fleet_chassis.logging import get_logger

from .domain import Session, User, scopes_of

ISSUER = "auth"
AUDIENCE = "tradefleet"
_NONCE_BYTES = 12

log = get_logger(__name__)


class Sealer:
    """Seals what must not be read from the database alone, under keys derived from the service's own private key."""

    def __init__(self, private_key_file: Path) -> None:
        key = load_pem_private_key(private_key_file.read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"the private key must be Ed25519, was {type(key).__name__}")
        secret = key.private_bytes_raw()
        self._aead = AESGCM(_derive(secret, b"tradefleet auth signing keys"))
        self._fingerprint_key = _derive(secret, b"tradefleet auth request fingerprints")

    def seal(self, content: bytes, context: str) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._aead.encrypt(nonce, content, context.encode())

    def unseal(self, sealed: bytes, context: str) -> bytes | None:
        """None if it was sealed under another key, or for another context."""
        try:
            return self._aead.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], context.encode())
        except InvalidTag:
            return None

    def fingerprint(self, content: bytes) -> bytes:
        """Tells two contents apart without telling what they are."""
        return hmac.digest(self._fingerprint_key, content, "sha256")


def _derive(secret: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=purpose).derive(secret)


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
        secret = sealer.unseal(row["encrypted_private_key"], row["kid"])
        if secret is not None:
            return SigningKeys(row["kid"], Ed25519PrivateKey.from_private_bytes(secret), jwks)
        # The service's own key was replaced; the public half still verifies what is out.
        log.warning("signing_key_cannot_be_unsealed", kid=row["kid"])
    private_key = Ed25519PrivateKey.generate()
    public_key = private_key.public_key().public_bytes_raw()
    kid = hashlib.sha256(public_key).hexdigest()[:16]
    await connection.execute(
        "INSERT INTO signing_keys (kid, public_key, encrypted_private_key, created_at) VALUES ($1, $2, $3, $4)",
        kid,
        public_key,
        sealer.seal(private_key.private_bytes_raw(), kid),
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
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": str(user.user_id),
        "sid": str(session.session_id),
        "roles": list(user.roles),
        "scopes": scopes_of(user.roles),
        "iat": int(now.timestamp()),
        "exp": int(session.last_token_expires_at.timestamp()),
    }
    return jwt.encode(claims, keys.private_key, "EdDSA", {"kid": keys.kid, "typ": "at+jwt"})
