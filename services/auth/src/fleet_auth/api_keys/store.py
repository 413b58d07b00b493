"""The table of API keys."""

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import asyncpg
from fleet_bus import Transaction

from fleet_auth import events
from fleet_auth.sealing import API_KEY_SECRET, Sealer
from fleet_auth.store import purge

from .domain import SOCKET_LIFETIME, ApiKey, Use

_KEY = """
api_key_id, user_id, name, key, scopes, symbols, max_order_notional, ip_allowlist, expires_at, created_at, last_used_at,
    last_used_address
"""


class ApiKeys:
    """One transaction of libs/bus seen as this table."""

    def __init__(self, tx: Transaction, sealer: Sealer) -> None:
        self.now: datetime = tx.now
        self._tx = tx
        self._connection = tx.connection
        self._sealer = sealer

    async def of_user(self, user_id: UUID) -> list[ApiKey]:
        """Newest first, without those that were revoked."""
        rows = await self._connection.fetch(
            f"""
            SELECT {_KEY} FROM api_keys WHERE user_id = $1 AND revoked_at IS NULL ORDER BY created_at DESC, api_key_id DESC
            """,  # noqa: S608  constants, here and below
            user_id,
        )
        return [_api_key(row) for row in rows]

    async def add(self, key: ApiKey, secret: str) -> None:
        await self._connection.execute(
            """
            INSERT INTO api_keys (api_key_id, user_id, name, key, secret, scopes, symbols, max_order_notional, ip_allowlist,
                expires_at, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
            """,
            key.api_key_id,
            key.user_id,
            key.name,
            key.key,
            self._sealer.seal(secret.encode(), API_KEY_SECRET.place(key.api_key_id)),
            key.scopes,
            key.symbols,
            key.max_order_notional,
            key.ip_allowlist,
            key.expires_at,
            key.created_at,
        )

    async def find(self, key: str) -> tuple[ApiKey, str] | None:
        """The key, with its secret; None if it is unknown or revoked."""
        row = await self._connection.fetchrow(
            f"SELECT secret, {_KEY} FROM api_keys WHERE key = $1 AND revoked_at IS NULL",  # noqa: S608
            key,
        )
        if row is None:
            return None
        found = _api_key(row)
        return found, self._sealer.unseal(row["secret"], API_KEY_SECRET.place(found.api_key_id)).decode()

    async def add_ticket(self, ticket_hash: bytes, api_key_id: UUID, expires_at: datetime) -> None:
        await purge(self._connection, "api_key_tickets", "ticket_hash", "expires_at", self.now)
        await self._connection.execute(
            "INSERT INTO api_key_tickets (ticket_hash, api_key_id, expires_at) VALUES ($1, $2, $3)",
            ticket_hash,
            api_key_id,
            expires_at,
        )

    async def take_ticket(self, ticket_hash: bytes) -> ApiKey | None:
        """The key that a ticket was given to, which is there no more; None if it is over, or the key is revoked."""
        row = await self._connection.fetchrow(
            f"""
            WITH taken AS (DELETE FROM api_key_tickets WHERE ticket_hash = $1 RETURNING api_key_id, expires_at AS ends_at)
            SELECT {_KEY} FROM taken JOIN api_keys USING (api_key_id) WHERE ends_at > $2 AND revoked_at IS NULL
            """,  # noqa: S608
            ticket_hash,
            self.now,
        )
        return None if row is None else _api_key(row)

    async def note_uses(self, uses: Iterable[Use]) -> None:
        """What was noted of a later one stays; whoever else notes them takes them in the same order."""
        await self._connection.executemany(
            """
            UPDATE api_keys SET last_used_at = $2, last_used_address = $3
            WHERE api_key_id = $1 AND (last_used_at IS NULL OR last_used_at < $2)
            """,
            [
                (use.api_key_id, min(use.used_at, self.now), use.address)
                for use in sorted(uses, key=lambda use: use.api_key_id)
            ],
        )

    async def revoke(self, user_id: UUID, api_key_id: UUID) -> str | None:
        """Its name; None if the user has no such key (any more)."""
        name: str | None = await self._connection.fetchval(
            """
            UPDATE api_keys SET revoked_at = $3 WHERE user_id = $1 AND api_key_id = $2 AND revoked_at IS NULL RETURNING name
            """,
            user_id,
            api_key_id,
            self.now,
        )
        if name is not None:
            self._tell_changed(user_id, api_key_id)
        return name

    async def tell_changed(self, user_id: UUID) -> None:
        """The user's keys are not what they were, because he is not: gateways ask for them again."""
        for key in await self.of_user(user_id):
            self._tell_changed(user_id, key.api_key_id)

    def _tell_changed(self, user_id: UUID, api_key_id: UUID) -> None:
        """Gateways forget the key and close its sockets; what they were told just before ends by itself until the tombstone."""
        events.publish_revoked(self._tx, api_key_id, user_id, self.now + SOCKET_LIFETIME)


def _api_key(row: asyncpg.Record) -> ApiKey:
    def bound(name: str) -> tuple[str, ...] | None:
        return None if row[name] is None else tuple(row[name])

    return ApiKey(
        api_key_id=row["api_key_id"],
        user_id=row["user_id"],
        name=row["name"],
        key=row["key"],
        scopes=tuple(row["scopes"]),
        symbols=bound("symbols"),
        max_order_notional=row["max_order_notional"],
        ip_allowlist=bound("ip_allowlist"),
        expires_at=row["expires_at"],
        created_at=row["created_at"],
        last_used_at=row["last_used_at"],
        last_used_address=row["last_used_address"],
    )
