"""Access tokens (EdDSA JWTs) and random ones."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import jwt

from .domain import Session, User, scopes_of
from .signing import SigningKeys

ISSUER = "auth"
AUDIENCE = "tradefleet"


@dataclass(frozen=True, slots=True)
class TokenLifetimes:
    """`session`: from a login to the next, whatever is refreshed."""

    access: timedelta
    refresh: timedelta
    session: timedelta


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
