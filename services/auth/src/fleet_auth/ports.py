"""What the use cases need of a transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from fleet_contracts.audit import Change

from .domain import Client, RefreshToken, RevokedReason, Session, Ticket, User
from .guessing.domain import Standing


class UnitOfWork(Protocol):
    """One transaction on auth's tables and its outbox."""

    @property
    def now(self) -> datetime: ...

    async def user(self, user_id: UUID) -> User | None: ...

    async def locked_user(self, user_id: UUID) -> User | None: ...

    async def change_user(self, user: User) -> None:
        """Keeps roles, status and version."""
        ...

    async def living_sessions(self, user_id: UUID) -> Sequence[Session]:
        """Those not revoked that may still have a token alive, locked, the newest first."""
        ...

    async def credentials(self, email: str) -> tuple[User, str] | None:
        """The user with this address, and the hash of the password."""
        ...

    async def add_user(self, user: User, password_hash: str) -> bool:
        """False if the address is taken."""
        ...

    async def set_password_hash(self, user_id: UUID, password_hash: str) -> None:
        """The same password under other parameters."""
        ...

    async def set_password(self, user_id: UUID, password_hash: str, *, is_short: bool) -> None:
        """Another one: a login that waits for its code was begun with the one before, and waits no more."""
        ...

    async def add_session(self, session: Session, client: Client) -> None: ...

    async def locked_session(self, session_id: UUID) -> Session | None: ...

    async def prolong_session(self, session_id: UUID, last_token_expires_at: datetime) -> None: ...

    async def prolong_living_session(self, session_id: UUID, last_token_expires_at: datetime) -> bool:
        """At least until then; False if it is revoked or over."""
        ...

    async def revoke_session(self, session: Session, reason: RevokedReason) -> None:
        """Ends the session, tells the fleet, and has the telling taken back once no token of it can be alive."""
        ...

    async def add_refresh_token(self, token_hash: bytes, session: Session, expires_at: datetime) -> None:
        """It ends with the session at the latest."""
        ...

    async def locked_refresh_token(self, token_hash: bytes) -> RefreshToken | None:
        """The token, its session locked."""
        ...

    async def use_refresh_token(self, token: RefreshToken) -> None: ...

    async def add_ticket(
        self, ticket_hash: bytes, session_id: UUID, scopes: Sequence[str], expires_at: datetime
    ) -> None: ...

    async def take_ticket(self, ticket_hash: bytes) -> Ticket | None:
        """The ticket, which is there no more."""
        ...

    async def answered(self, operation: str, key: str) -> tuple[bytes, Mapping[str, object]] | None:
        """The fingerprint and answer of an earlier request with this Idempotency-Key."""
        ...

    async def remember_answer(
        self, operation: str, key: str, fingerprint: bytes, answer: Mapping[str, object], keep: timedelta
    ) -> bool:
        """False if another request with this key came first."""
        ...

    def publish_user(self, user: User) -> None: ...

    async def note(self, action: str, target: str, *changes: Change, actor: str) -> None:
        """Keeps for ever that `actor` did this."""
        ...


class Reputation(Protocol):
    """What is known of addresses beforehand: an operator's lists, or a service that sells such knowledge. It is asked at
    every attempt, so it answers from memory."""

    def standing(self, address: str) -> Standing:
        """Of an address as the gateway tells it: IPv4, or the /64 of an IPv6."""
        ...
