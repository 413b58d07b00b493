"""What an API key is, and what it may do."""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from fleet_auth.domain import User, scopes_of

MOST_KEYS = 50
"""Of a user: more than programs he runs."""
KNOWN_FOR_S = 60
"""So long a gateway keeps what it was told of a key."""
SOCKET_LIFETIME = timedelta(minutes=5)
"""So long a socket lives that a key has opened, as with a login; a revocation is told for as long."""


class TooManyKeys(Exception):
    """The user has as many keys as he may have."""


class ScopeNotHeld(Exception):
    """A key may not do what its user, as he is logged in, may not."""

    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        self.scope = scope


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """`key` names it, in public; None of a bound: any symbol, any notional, from anywhere, for ever."""

    api_key_id: UUID
    user_id: UUID
    name: str
    key: str
    scopes: tuple[str, ...]
    symbols: tuple[str, ...] | None
    max_order_notional: Decimal | None
    ip_allowlist: tuple[str, ...] | None
    expires_at: datetime | None
    created_at: datetime
    last_used_at: datetime | None = None
    last_used_address: str | None = None

    def scopes_for(self, user: User) -> list[str]:
        """Never more than its user's roles let him do today."""
        return sorted(set(self.scopes) & set(scopes_of(user.roles)))

    def is_good(self, user: User, now: datetime) -> bool:
        return user.is_active and (self.expires_at is None or now < self.expires_at)

    def socket_ends_at(self, now: datetime) -> datetime:
        """Of one that is opened now."""
        ends_at = now + SOCKET_LIFETIME
        return ends_at if self.expires_at is None else min(ends_at, self.expires_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """That a request came with a signature of the key which was found right."""

    api_key_id: UUID
    used_at: datetime
    address: str


def check_scopes(asked: Iterable[str], held: Iterable[str]) -> None:
    """Raises ScopeNotHeld."""
    for scope in sorted(set(asked) - set(held)):
        raise ScopeNotHeld(scope)


def new_key() -> str:
    """What a request names itself by: 120 random bits, so that none is met by chance."""
    return "fk_" + secrets.token_urlsafe(15)
