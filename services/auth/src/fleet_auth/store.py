"""auth's tables."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import asyncpg
from fleet_bus import Transaction
from fleet_chassis.database import Database
from fleet_contracts.audit import Change
from fleet_contracts.vocabulary import Role

from . import events
from .audit.store import AuditLog
from .domain import Client, RefreshToken, RevokedReason, Session, Ticket, User, UserStatus
from .settings import AuthSettings

_PURGED = 20
"""Rows past their time that one request takes away: more than it adds, so that the tables do not grow."""

_USER = """
u.user_id, u.email, u.display_name, u.roles, u.status, u.version, u.created_at, u.password_version, u.is_password_short,
EXISTS (SELECT 1 FROM totp WHERE totp.user_id = u.user_id AND confirmed_at IS NOT NULL) AS mfa_enabled
"""
_SESSION = "s.session_id, s.created_at AS began_at, s.ends_at, s.last_token_expires_at, s.revoked_at, s.mfa_at"
LIVING = """
s.user_id = $1 AND s.revoked_at IS NULL AND (s.last_token_expires_at > $2 OR EXISTS (
    SELECT FROM refresh_tokens t WHERE t.session_id = s.session_id AND t.used_at IS NULL AND t.expires_at > $2
))
"""
"""Which sessions `s` of the user $1 may still have a token alive at $2."""
_REMEMBERED = timedelta(days=1)
"""After the end of a session: longer than its last access token lives."""
# Two for each that is added, so that the tables do not grow; each may have thousands of refresh tokens.
_FORGET_SESSIONS = """
WITH over AS (SELECT session_id FROM sessions WHERE ends_at <= $1 LIMIT 2 FOR UPDATE SKIP LOCKED),
tokens AS (DELETE FROM refresh_tokens WHERE session_id IN (SELECT session_id FROM over)),
tickets AS (DELETE FROM ws_tickets WHERE session_id IN (SELECT session_id FROM over))
DELETE FROM sessions WHERE session_id IN (SELECT session_id FROM over)
"""


def operators_database(settings: AuthSettings) -> Database:
    """For what an operator has done at the machine: that PostgreSQL does not answer, he is told at once."""
    return Database(settings.database_url, application_name="auth-admin", max_size=1, start_timeout_s=0)


class PostgresUnitOfWork:
    """One transaction of libs/bus seen as auth's tables."""

    def __init__(self, tx: Transaction) -> None:
        self.tx = tx
        self._connection = tx.connection

    @property
    def now(self) -> datetime:
        return self.tx.now

    async def lock(self, ids: Sequence[str]) -> None:
        """Nothing to lock: a due row of auth changes no row of its own."""

    async def flush(self) -> None:
        """Nothing is held back."""

    async def user(self, user_id: UUID) -> User | None:
        row = await self._connection.fetchrow(f"SELECT {_USER} FROM users u WHERE user_id = $1", user_id)  # noqa: S608
        return None if row is None else _user(row)

    async def locked_user(self, user_id: UUID) -> User | None:
        row = await self._connection.fetchrow(
            f"SELECT {_USER} FROM users u WHERE user_id = $1 FOR NO KEY UPDATE",  # noqa: S608
            user_id,
        )
        return None if row is None else _user(row)

    async def change_user(self, user: User) -> None:
        await self._connection.execute(
            "UPDATE users SET roles = $2, status = $3, version = $4 WHERE user_id = $1",
            user.user_id,
            list(user.roles),
            user.status,
            user.version,
        )

    async def living_sessions(self, user_id: UUID) -> Sequence[Session]:
        rows = await self._connection.fetch(
            f"""
            SELECT s.user_id, {_SESSION} FROM sessions s WHERE {LIVING}
            ORDER BY s.session_id DESC FOR NO KEY UPDATE OF s
            """,  # noqa: S608
            user_id,
            self.now,
        )
        return [_session(row) for row in rows]

    async def credentials(self, email: str) -> tuple[User, str] | None:
        row = await self._connection.fetchrow(
            f"SELECT {_USER}, u.password_hash FROM users u WHERE email = $1",  # noqa: S608
            email,
        )
        return None if row is None else (_user(row), row["password_hash"])

    async def add_user(self, user: User, password_hash: str) -> bool:
        added = await self._connection.fetchval(
            """
            INSERT INTO users (user_id, email, display_name, password_hash, roles, status, version, created_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (email) DO NOTHING RETURNING true
            """,
            user.user_id,
            user.email,
            user.display_name,
            password_hash,
            list(user.roles),
            user.status,
            user.version,
            user.created_at,
        )
        return bool(added)

    async def set_password_hash(self, user_id: UUID, password_hash: str) -> None:
        await self._connection.execute("UPDATE users SET password_hash = $2 WHERE user_id = $1", user_id, password_hash)

    async def set_password(self, user_id: UUID, password_hash: str, *, is_short: bool) -> None:
        await self._connection.execute(
            """
            UPDATE users SET password_hash = $2, password_version = password_version + 1, is_password_short = $3
            WHERE user_id = $1
            """,
            user_id,
            password_hash,
            is_short,
        )
        await self._connection.execute("DELETE FROM mfa_challenges WHERE user_id = $1", user_id)

    async def add_session(self, session: Session, client: Client) -> None:
        await self._connection.execute(
            """
            INSERT INTO sessions (
                session_id, user_id, created_at, ends_at, last_token_expires_at, mfa_at, address, user_agent
            ) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
            """,
            session.session_id,
            session.user_id,
            session.began_at,
            session.ends_at,
            session.last_token_expires_at,
            session.mfa_at,
            client.address,
            client.user_agent,
        )
        await self._connection.execute(_FORGET_SESSIONS, self.now - _REMEMBERED)

    async def locked_session(self, session_id: UUID) -> Session | None:
        row = await self._connection.fetchrow(
            f"SELECT s.user_id, {_SESSION} FROM sessions s WHERE session_id = $1 FOR NO KEY UPDATE",  # noqa: S608
            session_id,
        )
        return None if row is None else _session(row)

    async def prolong_session(self, session_id: UUID, last_token_expires_at: datetime) -> None:
        await self._connection.execute(
            "UPDATE sessions SET last_token_expires_at = $2, last_used_at = $3 WHERE session_id = $1",
            session_id,
            last_token_expires_at,
            self.now,
        )

    async def prolong_living_session(self, session_id: UUID, last_token_expires_at: datetime) -> bool:
        return bool(
            await self._connection.fetchval(
                """
                UPDATE sessions SET last_token_expires_at = GREATEST(last_token_expires_at, $2)
                WHERE session_id = $1 AND revoked_at IS NULL AND ends_at > $3 RETURNING true
                """,
                session_id,
                last_token_expires_at,
                self.now,
            )
        )

    async def revoke_session(self, session: Session, reason: RevokedReason) -> None:
        await self._connection.execute(
            "UPDATE sessions SET revoked_at = $2, revoked_reason = $3 WHERE session_id = $1",
            session.session_id,
            self.now,
            reason,
        )
        events.publish_revoked(self.tx, session.session_id, session.user_id, session.last_token_expires_at)

    async def add_refresh_token(self, token_hash: bytes, session: Session, expires_at: datetime) -> None:
        await self._connection.execute(
            "DELETE FROM refresh_tokens WHERE session_id = $1 AND expires_at <= $2", session.session_id, self.now
        )
        await self._connection.execute(
            "INSERT INTO refresh_tokens (token_hash, session_id, expires_at) VALUES ($1, $2, $3)",
            token_hash,
            session.session_id,
            min(expires_at, session.ends_at),
        )

    async def locked_refresh_token(self, token_hash: bytes) -> RefreshToken | None:
        # The session is locked first and the token read after it: of two requests with one token the second
        # must see what the first has done.
        session_id = await self._connection.fetchval(
            "SELECT session_id FROM refresh_tokens WHERE token_hash = $1", token_hash
        )
        if session_id is None or await self.locked_session(session_id) is None:
            return None
        row = await self._connection.fetchrow(
            f"""
            SELECT t.expires_at, t.used_at, {_SESSION}, {_USER}
            FROM refresh_tokens t JOIN sessions s USING (session_id) JOIN users u USING (user_id)
            WHERE t.token_hash = $1
            """,  # noqa: S608
            token_hash,
        )
        if row is None:
            return None
        return RefreshToken(
            token_hash=token_hash,
            expires_at=row["expires_at"],
            used_at=row["used_at"],
            session=_session(row),
            user=_user(row),
        )

    async def use_refresh_token(self, token: RefreshToken) -> None:
        await self._connection.execute(
            "UPDATE refresh_tokens SET used_at = $2 WHERE token_hash = $1", token.token_hash, self.now
        )

    async def add_ticket(
        self, ticket_hash: bytes, session_id: UUID, scopes: Sequence[str], expires_at: datetime
    ) -> None:
        await purge(self._connection, "ws_tickets", "ticket_hash", "expires_at", self.now)
        await self._connection.execute(
            "INSERT INTO ws_tickets (ticket_hash, session_id, scopes, expires_at) VALUES ($1, $2, $3, $4)",
            ticket_hash,
            session_id,
            list(scopes),
            expires_at,
        )

    async def take_ticket(self, ticket_hash: bytes) -> Ticket | None:
        row = await self._connection.fetchrow(
            f"""
            WITH taken AS (DELETE FROM ws_tickets WHERE ticket_hash = $1 RETURNING session_id, scopes, expires_at)
            SELECT taken.scopes, taken.expires_at, {_SESSION}, {_USER}
            FROM taken JOIN sessions s USING (session_id) JOIN users u USING (user_id)
            """,  # noqa: S608
            ticket_hash,
        )
        if row is None:
            return None
        return Ticket(session=_session(row), user=_user(row), scopes=tuple(row["scopes"]), expires_at=row["expires_at"])

    async def answered(self, operation: str, key: str) -> tuple[bytes, Mapping[str, object]] | None:
        row = await self._connection.fetchrow(
            "SELECT fingerprint, answer FROM idempotency_keys WHERE operation = $1 AND key = $2 AND expires_at > $3",
            operation,
            key,
            self.now,
        )
        return None if row is None else (row["fingerprint"], row["answer"])

    async def remember_answer(
        self, operation: str, key: str, fingerprint: bytes, answer: Mapping[str, object], keep: timedelta
    ) -> bool:
        await purge(self._connection, "idempotency_keys", "operation, key", "expires_at", self.now)
        added = await self._connection.fetchval(
            """
            INSERT INTO idempotency_keys (operation, key, fingerprint, answer, expires_at) VALUES ($1, $2, $3, $4, $5)
            ON CONFLICT (operation, key) DO UPDATE
                SET fingerprint = excluded.fingerprint, answer = excluded.answer, expires_at = excluded.expires_at
                WHERE idempotency_keys.expires_at <= $6
            RETURNING true
            """,
            operation,
            key,
            fingerprint,
            answer,
            self.now + keep,
            self.now,
        )
        return bool(added)

    def publish_user(self, user: User) -> None:
        events.publish_user(self.tx, user)

    async def note(self, action: str, target: str, *changes: Change, actor: str) -> None:
        await AuditLog(self._connection, self.now).note(action, target, *changes, actor=actor)


async def purge(connection: asyncpg.Connection, table: str, key: str, column: str, now: datetime) -> None:
    """Takes away some rows whose time, in this column, is over; `key`: the columns of the primary key."""
    await connection.execute(
        f"""
        DELETE FROM {table} WHERE ({key}) IN (
            SELECT {key} FROM {table} WHERE {column} <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED
        )
        """,  # noqa: S608  constants
        now,
        _PURGED,
    )


async def users_page(connection: asyncpg.Connection, *, before: tuple[datetime, UUID] | None, limit: int) -> list[User]:
    """Users, the newest first."""
    rows = await connection.fetch(
        f"""
        SELECT {_USER} FROM users u WHERE $1::timestamptz IS NULL OR (created_at, user_id) < ($1, $2)
        ORDER BY created_at DESC, user_id DESC LIMIT $3
        """,  # noqa: S608
        *(before or (None, None)),
        limit,
    )
    return [_user(row) for row in rows]


def _user(row: asyncpg.Record) -> User:
    return User(
        user_id=row["user_id"],
        email=row["email"],
        display_name=row["display_name"],
        roles=tuple(Role(role) for role in row["roles"]),
        status=UserStatus(row["status"]),
        version=row["version"],
        created_at=row["created_at"],
        mfa_enabled=row["mfa_enabled"],
        password_version=row["password_version"],
        is_password_short=row["is_password_short"],
    )


def _session(row: asyncpg.Record) -> Session:
    return Session(
        session_id=row["session_id"],
        user_id=row["user_id"],
        began_at=row["began_at"],
        ends_at=row["ends_at"],
        last_token_expires_at=row["last_token_expires_at"],
        revoked_at=row["revoked_at"],
        mfa_at=row["mfa_at"],
    )
