"""Users, sessions and refresh tokens: what is allowed, and what a token shown to us means."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Self
from uuid import UUID

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from fleet_contracts.vocabulary import Role

# Nothing is sent to the address here, and a house installation may well live under `.local` or `.test`.
SPECIAL_USE_DOMAIN_NAMES.clear()


_TRADER_SCOPES = ("read", "trade", "strategy", "transfer")
SCOPES: dict[Role, tuple[str, ...]] = {
    Role.TRADER: _TRADER_SCOPES,
    Role.VIEWER: ("read",),
    Role.COMPLIANCE: ("read", "audit"),
    Role.ADMIN: (*_TRADER_SCOPES, "admin", "audit"),
}


class UserStatus(StrEnum):
    ACTIVE = "active"
    DISABLED = "disabled"


class RevokedReason(StrEnum):
    LOGOUT = "logout"
    REUSE = "reuse"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    USER_CHANGED = "user_changed"
    """His roles or status are others now: what was handed out before says what is no longer so."""


class EmailTaken(Exception):
    """Another user has this address."""


class UserUnknown(Exception):
    """There is no such user."""


class LastAdministrator(Exception):
    """An administrator does not take the role or the access from himself: nobody might be left who could give it back."""


class FactorNeeded(Exception):
    """Who lets somebody do more shows a second factor first; to take something away none is needed."""


class WrongCredentials(Exception):
    """No such user, or not this password; which of the two is not told."""


class UserDisabled(Exception):
    """The user may not come in, whatever is shown."""


class IdempotencyKeyReused(Exception):
    """The same Idempotency-Key came with another body."""


class RefreshRefusal(StrEnum):
    """Why a refresh token gives no new tokens; the words are the API's codes."""

    UNKNOWN = "refresh_token_unknown"
    EXPIRED = "refresh_token_expired"
    REUSED = "refresh_token_reused"
    SESSION_REVOKED = "session_revoked"
    USER_DISABLED = "user_disabled"


def normalise_email(text: str) -> str:
    """The address in the one spelling we keep. Raises ValueError."""
    try:
        return validate_email(text.strip(), check_deliverability=False).normalized.lower()
    except EmailNotValidError as error:
        raise ValueError(str(error)) from error


def scopes_of(roles: Iterable[Role]) -> list[str]:
    """What these roles may do, sorted."""
    return sorted({scope for role in roles for scope in SCOPES[role]})


def hash_token(token: str) -> bytes:
    """What is kept of a refresh token."""
    return hashlib.sha256(token.encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    user_id: UUID
    email: str
    display_name: str | None
    roles: tuple[Role, ...]
    status: UserStatus
    version: int
    created_at: datetime
    mfa_enabled: bool = False
    password_version: int = 1
    """Which of his passwords it is: another one, another number."""
    is_password_short: bool = False
    """It counts beside a second factor only."""

    @property
    def is_active(self) -> bool:
        return self.status is UserStatus.ACTIVE

    def may_more_than(self, before: Self) -> bool:
        """Whether it opens anything that it did not as it was."""
        opened = set(scopes_of(before.roles)) if before.is_active else set()
        return self.is_active and not opened.issuperset(scopes_of(self.roles))


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from: the address the gateway sees (of IPv6 the /64), and what the client calls itself."""

    address: str | None = None
    user_agent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One login. Every access token names it; revoking it ends them all."""

    session_id: UUID
    user_id: UUID
    began_at: datetime
    ends_at: datetime
    """No refresh token and no step-up prolongs it: then the user logs in again."""
    last_token_expires_at: datetime
    revoked_at: datetime | None = None
    mfa_at: datetime | None = None
    """When a second factor was last shown in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshToken:
    """A refresh token as it is kept, with its session and user as they stand now."""

    token_hash: bytes
    expires_at: datetime
    used_at: datetime | None
    session: Session
    user: User

    def refusal(self, now: datetime) -> RefreshRefusal | None:
        """Why this token gives nothing at `now`; None if it gives new ones.

        A used one is told first: it means theft, even when it has expired since.
        """
        if self.session.revoked_at is not None:
            return RefreshRefusal.SESSION_REVOKED
        if self.used_at is not None:
            return RefreshRefusal.REUSED
        if self.expires_at <= now:
            return RefreshRefusal.EXPIRED
        if not self.user.is_active:
            return RefreshRefusal.USER_DISABLED
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What a ticket for a socket stands for: its session and user as they stand now, and the scopes it was given."""

    session: Session
    user: User
    scopes: tuple[str, ...]
    expires_at: datetime

    def is_good(self, now: datetime) -> bool:
        return now < self.expires_at and self.session.revoked_at is None and self.user.is_active
