"""The table `confirmations`."""

from uuid import UUID

import asyncpg
from fleet_bus import Transaction

from fleet_auth.store import purge

from .domain import Confirmation, Purpose

SEND_CONFIRMATION = "send_confirmation"
"""Kind of the due row behind each confirmation."""


class Confirmations:
    """In one transaction."""

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._connection = tx.connection

    async def add(self, confirmation: Confirmation) -> None:
        """Keeps it and has its mail sent."""
        await purge(self._connection, "confirmations", "confirmation_id", "expires_at", self._tx.now)
        await self._connection.execute(
            """
            INSERT INTO confirmations (confirmation_id, purpose, email, password_hash, display_name, expires_at)
            VALUES ($1, $2, $3, $4, $5, $6)
            """,
            confirmation.confirmation_id,
            confirmation.purpose,
            confirmation.email,
            confirmation.password_hash,
            confirmation.display_name,
            confirmation.expires_at,
        )
        self._tx.schedule(SEND_CONFIRMATION, str(confirmation.confirmation_id), 1, "wall", self._tx.now)

    async def get(self, confirmation_id: UUID) -> Confirmation | None:
        return _confirmation(
            await self._connection.fetchrow("SELECT * FROM confirmations WHERE confirmation_id = $1", confirmation_id)
        )

    async def set_token(self, confirmation_id: UUID, token_hash: bytes) -> None:
        await self._connection.execute(
            "UPDATE confirmations SET token_hash = $2 WHERE confirmation_id = $1", confirmation_id, token_hash
        )

    async def waiting(self, token_hash: bytes, purpose: Purpose) -> Confirmation | None:
        return _confirmation(
            await self._connection.fetchrow(
                "SELECT * FROM confirmations WHERE token_hash = $1 AND purpose = $2 AND expires_at > $3",
                token_hash,
                purpose,
                self._tx.now,
            )
        )

    async def take(self, token_hash: bytes, purpose: Purpose) -> Confirmation | None:
        """The confirmation, which is there no more, nor are others of its purpose for the address."""
        found = await self.waiting(token_hash, purpose)
        if found is None or found.confirmation_id not in await self.forget(found.email, purpose):
            return None
        return found

    async def forget(self, email: str, purpose: Purpose) -> set[UUID]:
        """Which there were, taken in one order: two that each hold a row the other wants would wait for each other."""
        rows = await self._connection.fetch(
            """
            DELETE FROM confirmations WHERE confirmation_id IN (
                SELECT confirmation_id FROM confirmations WHERE email = $1 AND purpose = $2
                ORDER BY confirmation_id FOR UPDATE
            ) RETURNING confirmation_id
            """,
            email,
            purpose,
        )
        return {row["confirmation_id"] for row in rows}


def _confirmation(row: asyncpg.Record | None) -> Confirmation | None:
    if row is None:
        return None
    return Confirmation(
        confirmation_id=row["confirmation_id"],
        purpose=Purpose(row["purpose"]),
        email=row["email"],
        password_hash=row["password_hash"],
        display_name=row["display_name"],
        expires_at=row["expires_at"],
    )
