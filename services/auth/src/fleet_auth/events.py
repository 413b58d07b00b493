"""What auth tells the fleet, and the time that takes a telling back."""

from datetime import datetime, timedelta
from uuid import UUID

from fleet_bus import Transaction
from fleet_contracts.auth import SessionRevoked
from fleet_contracts.auth import User as UserMessage
from fleet_contracts.topics import AUTH_SESSIONS, AUTH_USERS

from .domain import User

FORGET_SESSION = "forget_session"
"""Kind of the due row that ends a revocation's place on auth.sessions."""
CLOCK_TOLERANCE = timedelta(seconds=60)
"""A gateway whose clock is behind still takes a token for alive."""


def publish_user(tx: Transaction, user: User) -> None:
    message = UserMessage(user_id=user.user_id, roles=tuple(user.roles), status=user.status, version=user.version)
    tx.publish(AUTH_USERS, str(user.user_id), message)


def publish_revoked(tx: Transaction, session_id: UUID, user_id: UUID, last_token_expires_at: datetime) -> None:
    """Tells that tokens of the session (or API key) count no more, and schedules the tombstone."""
    key = str(session_id)
    message = SessionRevoked(
        session_id=key, user_id=user_id, revoked_at=tx.now, last_token_expires_at=last_token_expires_at
    )
    tx.publish(AUTH_SESSIONS, key, message)
    tx.schedule(FORGET_SESSION, key, 1, "wall", last_token_expires_at + CLOCK_TOLERANCE)


def forget_revoked(tx: Transaction, session_id: str) -> None:
    """The last token is long over: the revocation need not be known any more."""
    tx.publish_tombstone(AUTH_SESSIONS, session_id)
