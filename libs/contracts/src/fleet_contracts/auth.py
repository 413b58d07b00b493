"""What auth says: users, and which sessions are revoked."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from .message import Message


class AuthMessage(Message, frozen=True, kw_only=True):
    owner: ClassVar[str] = "auth"


class User(AuthMessage, frozen=True, kw_only=True):
    user_id: UUID
    roles: tuple[str, ...]
    status: str
    version: int


class SessionRevoked(AuthMessage, frozen=True, kw_only=True):
    """Tokens of this session count no more. A tombstone follows after `last_token_expires_at`."""

    session_id: str
    user_id: UUID
    revoked_at: datetime
    last_token_expires_at: datetime
